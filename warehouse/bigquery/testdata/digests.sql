SELECT DISTINCT stage, `first` FROM `my-project`.`shop_green`.`digests` WHERE marks > 0 AND `first` >= ? AND `last` <= ?;

SELECT cursorStage AS stage, DIV(cursorFirst, 1024) AS bucket, CAST(SUM(cursorRows) AS INT64) AS n, MIN(cursorFrom) AS firstTime, MAX(cursorTo) AS lastTime, CAST(COALESCE(SUM(cursorOdd), 0) AS INT64) AS odd, MAX(frame) AS reach
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL AND run = 0 AND cursorRows > 0 AND frame >= ?
GROUP BY cursorStage, bucket;

SELECT cursorStage AS stage, DIV(cursorFirst, 1024) AS bucket, CAST(SUM(cursorRows) AS INT64) AS n, MIN(cursorFrom) AS firstTime, MAX(cursorTo) AS lastTime, CAST(COALESCE(SUM(cursorOdd), 0) AS INT64) AS odd, MAX(frame) AS reach
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL AND run = 0 AND cursorRows > 0 AND frame >= ?
GROUP BY cursorStage, bucket;

SELECT 'raw' AS stage, DIV(frame, 1024) AS bucket, COUNT(*) AS n
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000900000000) AND run = 0 AND frame BETWEEN 3072 AND 5119
GROUP BY stage, bucket;

SELECT stage AS stage, DIV(frame, 1024) AS bucket, COUNT(*) AS n
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE (`timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000900000000) OR `timestamp` IS NULL AND micros IS NOT NULL) AND run = 0 AND frame BETWEEN 5120 AND 6143 AND stage IN ('o\'hara {0}', 'trace')
GROUP BY stage, bucket;

INSERT INTO `my-project`.`shop_green`.`digests` (`stage`, `first`, `last`, `marks`, `event`, `build`, `sink`, `rows`, `digest`, `places`, `unordered`, `unplaced`, `firstFrame`, `lastFrame`, `requests`, `owed`, `idSum`, `badIds`, `went`, `rehearsed`, `unseen`, `retries`, `again`, `attempted`, `lastAt`)
SELECT 'raw', bucket * 1024, bucket * 1024 + 1023, 0, event, build, '', COUNT(*), SUM(digest), SUM(place), COUNTIF(copy > 1), SUM(unplaced),
  MIN(frame), MAX(frame), COUNTIF(item = 0), SUM(CASE WHEN item = 0 THEN GREATEST(items, 1) ELSE 0 END), COALESCE(SUM(tail), CAST(0 AS BIGNUMERIC)), COUNTIF(item = 0 AND tail IS NULL), 0, 0, 0, 0, 0, 0, MAX(received)
FROM (
  SELECT bucket, event, build, frame, item, items, digest, place, copy, tail, received,
    CASE WHEN item = 0 AND items <= 1 THEN CAST(0 AS BIGNUMERIC) ELSE place END
      - CASE WHEN item = 0 AND items > 1 THEN (SELECT SUM((CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, o))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC))) FROM UNNEST(GENERATE_ARRAY(0, LEAST(items, 65536) - 1)) AS o) ELSE CAST(0 AS BIGNUMERIC) END AS unplaced
  FROM (
    SELECT DIV(frame, 1024) AS bucket, COALESCE(event, '') AS event, COALESCE(build, '') AS build, frame, request, item, itemsInRequest AS items, COALESCE(UNIX_MICROS(`timestamp`), micros) AS received,
      (CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, item, eventId, `timestamp`, micros, event, data, dataBytes, itemsInRequest, context))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS digest,
      (CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, item))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS place, ROW_NUMBER() OVER (PARTITION BY frame, request, item ORDER BY run) AS copy,
      CASE WHEN item = 0 THEN CAST(SAFE_CAST('0x' || SUBSTR(eventId, 21, 3) || SUBSTR(eventId, 25, 12) AS INT64) AS BIGNUMERIC) END AS tail
    FROM `my-project`.`shop_green`.`raw_log`
    WHERE `timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000900000000) AND run = 0 AND frame BETWEEN 3072 AND 5119
  ) AS r
) AS s
GROUP BY bucket, event, build
UNION ALL
SELECT s, b * 1024, b * 1024 + 1023, 1, CAST(NULL AS STRING), CAST(NULL AS STRING), CAST(NULL AS STRING), 0, CAST(0 AS BIGNUMERIC), CAST(0 AS BIGNUMERIC), 0, CAST(0 AS BIGNUMERIC), CAST(NULL AS INT64), CAST(NULL AS INT64), 0, 0, CAST(0 AS BIGNUMERIC), 0, 0, 0, 0, 0, 0, 0, CAST(NULL AS INT64)
FROM UNNEST(GENERATE_ARRAY(3, 4)) AS b, UNNEST(['raw']) AS s;

INSERT INTO `my-project`.`shop_blue`.`digests` (`stage`, `first`, `last`, `marks`, `event`, `build`, `sink`, `rows`, `digest`, `places`, `unordered`, `unplaced`, `firstFrame`, `lastFrame`, `requests`, `owed`, `idSum`, `badIds`, `went`, `rehearsed`, `unseen`, `retries`, `again`, `attempted`, `lastAt`)
SELECT stage, bucket * 1024, bucket * 1024 + 1023, 0, event, build, sink, COUNT(*), SUM(mark), SUM(place), COUNTIF(copy > 1), CAST(0 AS BIGNUMERIC),
  MIN(frame), MAX(frame), 0, 0, CAST(0 AS BIGNUMERIC), 0, COUNTIF(digest <> 0), COUNTIF(excused AND digest <> 0), COUNTIF(excused AND digest = 0),
  SUM(CASE WHEN attempts > 1 THEN attempts - 1 ELSE 0 END), COUNTIF(again), COUNTIF(attempts > 0), CAST(NULL AS INT64)
FROM (
  SELECT stage, DIV(frame, 1024) AS bucket, event, build, sink, frame, digest, attempts,
    reason IN ('dry-run', 'not sampled') AS excused, reason IN ('sent again after a crash') AS again,
    (CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, item, event, outcome, CASE WHEN reason = '' OR reason IN ('dry-run', 'not sampled', 'sent again after a crash') THEN '' ELSE REGEXP_EXTRACT(reason, '^[^:]*') END, digest))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS mark, (CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, item))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS place,
    ROW_NUMBER() OVER (PARTITION BY stage, frame, request, item ORDER BY run) AS copy
  FROM `my-project`.`shop_blue`.`outcomes_log`
  WHERE (`timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000900000000) OR `timestamp` IS NULL AND micros IS NOT NULL) AND run = 0 AND frame BETWEEN 5120 AND 6143 AND stage IN ('o\'hara {0}', 'trace') AND revision = 0
) AS r
GROUP BY stage, bucket, event, build, sink
UNION ALL
SELECT s, b * 1024, b * 1024 + 1023, 1, CAST(NULL AS STRING), CAST(NULL AS STRING), CAST(NULL AS STRING), 0, CAST(0 AS BIGNUMERIC), CAST(0 AS BIGNUMERIC), 0, CAST(0 AS BIGNUMERIC), CAST(NULL AS INT64), CAST(NULL AS INT64), 0, 0, CAST(0 AS BIGNUMERIC), 0, 0, 0, 0, 0, 0, 0, CAST(NULL AS INT64)
FROM UNNEST(GENERATE_ARRAY(5, 5)) AS b, UNNEST(['o\'hara {0}', 'trace']) AS s;
