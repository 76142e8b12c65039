ALTER TABLE `my-project`.`shop_green`.`raw_log` SET OPTIONS (partition_expiration_days = 31);

CREATE OR REPLACE VIEW `my-project`.`shop_sparrow`.`expired` AS
SELECT stack, `table`, CAST(TIMESTAMP_MICROS(number * 86400000000) AS DATE) AS day, MIN(`first`) AS `first`, MAX(`last`) AS `last`, CAST(SUM(`rows`) AS INT64) AS `rows`, TIMESTAMP_MICROS((number + MAX(keep)) * 86400000000) AS `at`
FROM (
SELECT '' AS stack, '' AS `table`, 0 AS number, 0 AS keep, 0 AS `first`, 0 AS `last`, 0 AS `rows`
FROM UNNEST([1]) AS one
WHERE FALSE
) AS d
GROUP BY stack, `table`, number;

CREATE OR REPLACE VIEW `my-project`.`shop_sparrow`.`expired` AS
SELECT stack, `table`, CAST(TIMESTAMP_MICROS(number * 86400000000) AS DATE) AS day, MIN(`first`) AS `first`, MAX(`last`) AS `last`, CAST(SUM(`rows`) AS INT64) AS `rows`, TIMESTAMP_MICROS((number + MAX(keep)) * 86400000000) AS `at`
FROM (
SELECT stack, 'raw' AS `table`, DIV(`from`, 86400000000) AS number, 31 AS keep, `first`, `last`, `rows`
FROM (
SELECT stack, run, cursorStage AS stage, cursorFirst AS `first`, CASE WHEN request > 0 OR item > 0 OR frame = 0 THEN frame ELSE frame - 1 END AS `last`, cursorRows AS `rows`, cursorFrom AS `from`, cursorTo AS `to`, cursorOdd AS odd
FROM (
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
) AS m
WHERE cursorRows > 0
) AS s
WHERE stack = 'green' AND stage = 'raw' AND DIV(`from`, 86400000000) + 31 <= DIV(UNIX_MICROS(CURRENT_TIMESTAMP()), 86400000000)
UNION ALL
SELECT stack, 'outcomes_log' AS `table`, DIV(`from`, 86400000000) AS number, 91 AS keep, `first`, `last`, `rows`
FROM (
SELECT stack, run, cursorStage AS stage, cursorFirst AS `first`, CASE WHEN request > 0 OR item > 0 OR frame = 0 THEN frame ELSE frame - 1 END AS `last`, cursorRows AS `rows`, cursorFrom AS `from`, cursorTo AS `to`, cursorOdd AS odd
FROM (
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
) AS m
WHERE cursorRows > 0
) AS s
WHERE stack = 'green' AND stage <> 'raw' AND DIV(`from`, 86400000000) + 91 <= DIV(UNIX_MICROS(CURRENT_TIMESTAMP()), 86400000000)
UNION ALL
SELECT stack, 'raw' AS `table`, DIV(`from`, 86400000000) AS number, 31 AS keep, `first`, `last`, `rows`
FROM (
SELECT stack, run, cursorStage AS stage, cursorFirst AS `first`, CASE WHEN request > 0 OR item > 0 OR frame = 0 THEN frame ELSE frame - 1 END AS `last`, cursorRows AS `rows`, cursorFrom AS `from`, cursorTo AS `to`, cursorOdd AS odd
FROM (
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
) AS m
WHERE cursorRows > 0
) AS s
WHERE stack = 'blue' AND stage = 'raw' AND DIV(`from`, 86400000000) + 31 <= DIV(UNIX_MICROS(CURRENT_TIMESTAMP()), 86400000000)
UNION ALL
SELECT stack, 'outcomes_log' AS `table`, DIV(`from`, 86400000000) AS number, 91 AS keep, `first`, `last`, `rows`
FROM (
SELECT stack, run, cursorStage AS stage, cursorFirst AS `first`, CASE WHEN request > 0 OR item > 0 OR frame = 0 THEN frame ELSE frame - 1 END AS `last`, cursorRows AS `rows`, cursorFrom AS `from`, cursorTo AS `to`, cursorOdd AS odd
FROM (
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorRows, cursorFirst, cursorFrom, cursorTo, cursorOdd
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
) AS m
WHERE cursorRows > 0
) AS s
WHERE stack = 'blue' AND stage <> 'raw' AND DIV(`from`, 86400000000) + 91 <= DIV(UNIX_MICROS(CURRENT_TIMESTAMP()), 86400000000)
) AS d
GROUP BY stack, `table`, number;

ALTER TABLE `my-project`.`shop_green`.`raw_log` ADD COLUMN IF NOT EXISTS `eventId` STRING, ADD COLUMN IF NOT EXISTS `timestamp` TIMESTAMP;
