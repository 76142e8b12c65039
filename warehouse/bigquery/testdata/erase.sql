SELECT DIV(UNIX_MICROS(t.`timestamp`), 86400000000) AS day, COUNT(*) AS n
FROM `my-project`.`shop_green`.`raw_log` AS t
WHERE t.`timestamp` IS NOT NULL OR t.micros IS NOT NULL
GROUP BY day
ORDER BY day;

SELECT run, frame, request, item, data
FROM `my-project`.`shop_green`.`raw_log` AS t
WHERE t.`timestamp` >= TIMESTAMP '2026-03-09 00:00:00+00' AND t.`timestamp` < TIMESTAMP '2026-03-10 00:00:00+00' AND t.erased IS NULL AND (t.frame >= 0 OR t.run > 0)
  AND (STRPOS(t.data, ?) > 0 OR STRPOS(t.dataBytes, ?) > 0
    OR REGEXP_CONTAINS(t.data, '(?i)"userId"\\s*:\\s*("[^"]*\\\\|[\\[{][^\\\\]*\\\\)')
    OR REGEXP_CONTAINS(t.data, '\\\\[^"]*"\\s*:'));

SELECT run, frame, request, item, data
FROM `my-project`.`shop_green`.`raw_log` AS t
WHERE t.`timestamp` IS NULL AND t.micros IS NOT NULL AND t.erased IS NULL AND (t.frame >= 4711 OR t.run > 0)
  AND (STRPOS(t.data, ?) > 0 OR STRPOS(t.dataBytes, ?) > 0
    OR REGEXP_CONTAINS(t.data, '(?i)"userId"\\s*:\\s*("[^"]*\\\\|[\\[{][^\\\\]*\\\\)')
    OR REGEXP_CONTAINS(t.data, '\\\\[^"]*"\\s*:'));

SELECT run, frame, request, item, data
FROM `my-project`.`shop_green`.`raw_log` AS t
WHERE t.`timestamp` >= TIMESTAMP '2026-03-09 00:00:00+00' AND t.`timestamp` < TIMESTAMP '2026-03-10 00:00:00+00' AND t.erased IS NULL AND (t.frame >= 0 OR t.run > 0)
  AND (STRPOS(t.data, ?) > 0 OR STRPOS(t.dataBytes, ?) > 0
    OR REGEXP_CONTAINS(t.data, '(?i)"deviceId"\\s*:\\s*("[^"]*\\\\|[\\[{][^\\\\]*\\\\)')
    OR REGEXP_CONTAINS(t.data, '\\\\[^"]*"\\s*:'));

SELECT run, frame, request, item, data
FROM `my-project`.`shop_green`.`raw_log` AS t
WHERE t.`timestamp` IS NULL AND t.micros IS NOT NULL AND t.erased IS NULL AND (t.frame >= 4711 OR t.run > 0)
  AND (STRPOS(t.data, ?) > 0 OR STRPOS(t.dataBytes, ?) > 0
    OR REGEXP_CONTAINS(t.data, '(?i)"deviceId"\\s*:\\s*("[^"]*\\\\|[\\[{][^\\\\]*\\\\)')
    OR REGEXP_CONTAINS(t.data, '\\\\[^"]*"\\s*:'));

SELECT DIV(UNIX_MICROS(t.`timestamp`), 86400000000) AS day, COUNT(*) AS n
FROM `my-project`.`shop_green`.`raw_log` AS t
WHERE (t.`timestamp` IS NOT NULL OR t.micros IS NOT NULL) AND t.erased IS NULL AND t.frame BETWEEN 7 AND 4611686018427387904 AND EXISTS (
SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[(0, 7, 0, 1), (3, 4611686018427387904, 2, 0)]) AS s
WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item)
GROUP BY day
ORDER BY day;

UPDATE `my-project`.`shop_green`.`raw_log` AS t
SET event = '', data = '', dataBytes = NULL, context = '{"erased":true}', erased = 1
WHERE t.`timestamp` >= TIMESTAMP '2026-03-09 00:00:00+00' AND t.`timestamp` < TIMESTAMP '2026-03-10 00:00:00+00' AND t.erased IS NULL AND t.frame BETWEEN 7 AND 4611686018427387904 AND EXISTS (
SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[(0, 7, 0, 1), (3, 4611686018427387904, 2, 0)]) AS s
WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item);

UPDATE `my-project`.`shop_green`.`raw_log` AS t
SET event = '', data = '', dataBytes = NULL, context = '{"erased":true}', erased = 1
WHERE t.`timestamp` IS NULL AND t.micros IS NOT NULL AND t.erased IS NULL AND t.frame BETWEEN 7 AND 4611686018427387904 AND EXISTS (
SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[(0, 7, 0, 1), (3, 4611686018427387904, 2, 0)]) AS s
WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item);

SELECT DIV(UNIX_MICROS(t.`timestamp`), 86400000000) AS day, COUNT(*) AS n
FROM `my-project`.`shop_green`.`outcomes_log` AS t
WHERE (t.`timestamp` IS NOT NULL OR t.micros IS NOT NULL) AND t.erased IS NULL AND t.frame BETWEEN 7 AND 4611686018427387904 AND EXISTS (
SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[(0, 7, 0, 1), (3, 4611686018427387904, 2, 0)]) AS s
WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item)
GROUP BY day
ORDER BY day;

UPDATE `my-project`.`shop_green`.`outcomes_log` AS t
SET event = '', reason = 'erased', digest = 0, sent = NULL, answer = NULL, erased = 1
WHERE t.`timestamp` >= TIMESTAMP '2026-03-09 00:00:00+00' AND t.`timestamp` < TIMESTAMP '2026-03-10 00:00:00+00' AND t.erased IS NULL AND t.frame BETWEEN 7 AND 4611686018427387904 AND EXISTS (
SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[(0, 7, 0, 1), (3, 4611686018427387904, 2, 0)]) AS s
WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item);

UPDATE `my-project`.`shop_green`.`outcomes_log` AS t
SET event = '', reason = 'erased', digest = 0, sent = NULL, answer = NULL, erased = 1
WHERE t.`timestamp` IS NULL AND t.micros IS NOT NULL AND t.erased IS NULL AND t.frame BETWEEN 7 AND 4611686018427387904 AND EXISTS (
SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[(0, 7, 0, 1), (3, 4611686018427387904, 2, 0)]) AS s
WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item);

SELECT DIV(UNIX_MICROS(t.`timestamp`), 86400000000) AS day, COUNT(*) AS n
FROM `my-project`.`shop_green`.`corrections_log` AS t
WHERE (t.`timestamp` IS NOT NULL OR t.micros IS NOT NULL) AND t.erased IS NULL AND t.frame BETWEEN 7 AND 4611686018427387904 AND EXISTS (
SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[(0, 7, 0, 1), (3, 4611686018427387904, 2, 0)]) AS s
WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item)
GROUP BY day
ORDER BY day;

UPDATE `my-project`.`shop_green`.`corrections_log` AS t
SET event = '', reason = 'erased', digest = 0, sent = NULL, answer = NULL, erased = 1
WHERE t.`timestamp` >= TIMESTAMP '2026-03-09 00:00:00+00' AND t.`timestamp` < TIMESTAMP '2026-03-10 00:00:00+00' AND t.erased IS NULL AND t.frame BETWEEN 7 AND 4611686018427387904 AND EXISTS (
SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[(0, 7, 0, 1), (3, 4611686018427387904, 2, 0)]) AS s
WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item);

UPDATE `my-project`.`shop_green`.`corrections_log` AS t
SET event = '', reason = 'erased', digest = 0, sent = NULL, answer = NULL, erased = 1
WHERE t.`timestamp` IS NULL AND t.micros IS NOT NULL AND t.erased IS NULL AND t.frame BETWEEN 7 AND 4611686018427387904 AND EXISTS (
SELECT 1 FROM UNNEST(ARRAY<STRUCT<run INT64, frame INT64, request INT64, item INT64>>[(0, 7, 0, 1), (3, 4611686018427387904, 2, 0)]) AS s
WHERE s.run = t.run AND s.frame = t.frame AND s.request = t.request AND s.item = t.item);

DELETE FROM `my-project`.`shop_green`.`digests` AS t
WHERE t.`first` IN (0, 4611686018427387904);
