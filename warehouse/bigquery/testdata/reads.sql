SELECT id, first, highest FROM `my-project`.`shop_sparrow`.`journals` ORDER BY first;

SELECT DISTINCT sequence, record FROM `my-project`.`shop_sparrow`.`timeline_log` ORDER BY sequence;

SELECT stack, revision, properties FROM `my-project`.`shop_sparrow`.`normalized_log` ORDER BY revision;

SELECT COALESCE(MAX(cursorEnd), 0) FROM `my-project`.`shop_blue`.`outcomes_log` WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL AND cursorStream = ?;

SELECT run, cursorStage, frame, request, item FROM `my-project`.`shop_blue`.`outcomes_log` WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
QUALIFY ROW_NUMBER() OVER (PARTITION BY run, cursorStage ORDER BY frame DESC, request DESC, item DESC) = 1;
