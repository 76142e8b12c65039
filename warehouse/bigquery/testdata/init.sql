CREATE SCHEMA IF NOT EXISTS `my-project`.`shop_sparrow` OPTIONS (location = 'EU');

CREATE SCHEMA IF NOT EXISTS `my-project`.`shop_green` OPTIONS (location = 'EU');

CREATE SCHEMA IF NOT EXISTS `my-project`.`shop_blue` OPTIONS (location = 'EU');

CREATE SCHEMA IF NOT EXISTS `my-project`.`shop_live` OPTIONS (location = 'EU');

CREATE SCHEMA IF NOT EXISTS `my-project`.`shop_staging` OPTIONS (location = 'EU');

CREATE TABLE IF NOT EXISTS `my-project`.`shop_sparrow`.`timeline_log` (
  `sequence` INT64,
  `generation` INT64,
  `kind` STRING,
  `live` STRING,
  `from` INT64,
  `at` TIMESTAMP,
  `record` STRING
)
OPTIONS (description = 'Written by Sparrow; do not edit. format=1');

CREATE TABLE IF NOT EXISTS `my-project`.`shop_sparrow`.`journals_log` (
  `id` STRING,
  `first` INT64
)
OPTIONS (description = 'Written by Sparrow; do not edit. format=1');

CREATE TABLE IF NOT EXISTS `my-project`.`shop_sparrow`.`normalized_log` (
  `stack` STRING,
  `revision` INT64,
  `properties` STRING
)
OPTIONS (description = 'Written by Sparrow; do not edit. format=1');

CREATE TABLE IF NOT EXISTS `my-project`.`shop_sparrow`.`erasures_log` (
  `at` TIMESTAMP,
  `kind` STRING,
  `salt` STRING,
  `hash` STRING,
  `by` STRING,
  `events` INT64,
  `rows` INT64,
  `outcomes` INT64
)
OPTIONS (description = 'Written by Sparrow; do not edit. format=1');

CREATE TABLE IF NOT EXISTS `my-project`.`shop_green`.`raw_log` (
  `eventId` STRING,
  `timestamp` TIMESTAMP,
  `event` STRING,
  `data` STRING,
  `dataBytes` BYTES,
  `frame` INT64,
  `request` INT64,
  `item` INT64,
  `itemsInRequest` INT64,
  `run` INT64,
  `build` STRING,
  `context` STRING,
  `micros` INT64,
  `number` INT64,
  `cursorStage` STRING,
  `cursorJournal` STRING,
  `cursorRows` INT64,
  `cursorStream` STRING,
  `cursorEnd` INT64,
  `cursorFirst` INT64,
  `cursorFrom` INT64,
  `cursorTo` INT64,
  `cursorOdd` INT64,
  `erased` INT64
)
PARTITION BY DATE(`timestamp`)
CLUSTER BY run, frame
OPTIONS (description = 'Written by Sparrow; do not edit. format=1');

CREATE TABLE IF NOT EXISTS `my-project`.`shop_green`.`outcomes_log` (
  `frame` INT64,
  `request` INT64,
  `item` INT64,
  `run` INT64,
  `stage` STRING,
  `timestamp` TIMESTAMP,
  `build` STRING,
  `event` STRING,
  `sink` STRING,
  `outcome` STRING,
  `reason` STRING,
  `status` INT64,
  `attempts` INT64,
  `digest` INT64,
  `latency` INT64,
  `revision` INT64,
  `sent` BYTES,
  `answer` BYTES,
  `micros` INT64,
  `number` INT64,
  `cursorStage` STRING,
  `cursorJournal` STRING,
  `cursorRows` INT64,
  `cursorStream` STRING,
  `cursorEnd` INT64,
  `cursorFirst` INT64,
  `cursorFrom` INT64,
  `cursorTo` INT64,
  `cursorOdd` INT64,
  `erased` INT64
)
PARTITION BY DATE(`timestamp`)
CLUSTER BY run, frame
OPTIONS (description = 'Written by Sparrow; do not edit. format=1', partition_expiration_days = 91);

CREATE TABLE IF NOT EXISTS `my-project`.`shop_green`.`corrections_log` (
  `frame` INT64,
  `request` INT64,
  `item` INT64,
  `run` INT64,
  `stage` STRING,
  `timestamp` TIMESTAMP,
  `build` STRING,
  `event` STRING,
  `sink` STRING,
  `outcome` STRING,
  `reason` STRING,
  `status` INT64,
  `attempts` INT64,
  `digest` INT64,
  `latency` INT64,
  `revision` INT64,
  `sent` BYTES,
  `answer` BYTES,
  `micros` INT64,
  `number` INT64,
  `cursorStage` STRING,
  `cursorJournal` STRING,
  `cursorRows` INT64,
  `cursorStream` STRING,
  `cursorEnd` INT64,
  `cursorFirst` INT64,
  `cursorFrom` INT64,
  `cursorTo` INT64,
  `cursorOdd` INT64,
  `erased` INT64
)
PARTITION BY DATE(`timestamp`)
CLUSTER BY run, frame
OPTIONS (description = 'Written by Sparrow; do not edit. format=1', partition_expiration_days = 91);

CREATE TABLE IF NOT EXISTS `my-project`.`shop_green`.`digests` (
  `stage` STRING,
  `first` INT64,
  `last` INT64,
  `marks` INT64,
  `event` STRING,
  `build` STRING,
  `sink` STRING,
  `rows` INT64,
  `digest` BIGNUMERIC,
  `places` BIGNUMERIC,
  `unordered` INT64,
  `unplaced` BIGNUMERIC,
  `firstFrame` INT64,
  `lastFrame` INT64,
  `requests` INT64,
  `owed` INT64,
  `idSum` BIGNUMERIC,
  `badIds` INT64,
  `went` INT64,
  `rehearsed` INT64,
  `unseen` INT64,
  `retries` INT64,
  `again` INT64,
  `attempted` INT64,
  `lastAt` INT64
)
CLUSTER BY stage, `first`
OPTIONS (description = 'Written by Sparrow; do not edit. format=1');

CREATE TABLE IF NOT EXISTS `my-project`.`shop_blue`.`raw_log` (
  `eventId` STRING,
  `timestamp` TIMESTAMP,
  `event` STRING,
  `data` STRING,
  `dataBytes` BYTES,
  `frame` INT64,
  `request` INT64,
  `item` INT64,
  `itemsInRequest` INT64,
  `run` INT64,
  `build` STRING,
  `context` STRING,
  `micros` INT64,
  `number` INT64,
  `cursorStage` STRING,
  `cursorJournal` STRING,
  `cursorRows` INT64,
  `cursorStream` STRING,
  `cursorEnd` INT64,
  `cursorFirst` INT64,
  `cursorFrom` INT64,
  `cursorTo` INT64,
  `cursorOdd` INT64,
  `erased` INT64
)
PARTITION BY DATE(`timestamp`)
CLUSTER BY run, frame
OPTIONS (description = 'Written by Sparrow; do not edit. format=1');

CREATE TABLE IF NOT EXISTS `my-project`.`shop_blue`.`outcomes_log` (
  `frame` INT64,
  `request` INT64,
  `item` INT64,
  `run` INT64,
  `stage` STRING,
  `timestamp` TIMESTAMP,
  `build` STRING,
  `event` STRING,
  `sink` STRING,
  `outcome` STRING,
  `reason` STRING,
  `status` INT64,
  `attempts` INT64,
  `digest` INT64,
  `latency` INT64,
  `revision` INT64,
  `sent` BYTES,
  `answer` BYTES,
  `micros` INT64,
  `number` INT64,
  `cursorStage` STRING,
  `cursorJournal` STRING,
  `cursorRows` INT64,
  `cursorStream` STRING,
  `cursorEnd` INT64,
  `cursorFirst` INT64,
  `cursorFrom` INT64,
  `cursorTo` INT64,
  `cursorOdd` INT64,
  `erased` INT64
)
PARTITION BY DATE(`timestamp`)
CLUSTER BY run, frame
OPTIONS (description = 'Written by Sparrow; do not edit. format=1', partition_expiration_days = 91);

CREATE TABLE IF NOT EXISTS `my-project`.`shop_blue`.`corrections_log` (
  `frame` INT64,
  `request` INT64,
  `item` INT64,
  `run` INT64,
  `stage` STRING,
  `timestamp` TIMESTAMP,
  `build` STRING,
  `event` STRING,
  `sink` STRING,
  `outcome` STRING,
  `reason` STRING,
  `status` INT64,
  `attempts` INT64,
  `digest` INT64,
  `latency` INT64,
  `revision` INT64,
  `sent` BYTES,
  `answer` BYTES,
  `micros` INT64,
  `number` INT64,
  `cursorStage` STRING,
  `cursorJournal` STRING,
  `cursorRows` INT64,
  `cursorStream` STRING,
  `cursorEnd` INT64,
  `cursorFirst` INT64,
  `cursorFrom` INT64,
  `cursorTo` INT64,
  `cursorOdd` INT64,
  `erased` INT64
)
PARTITION BY DATE(`timestamp`)
CLUSTER BY run, frame
OPTIONS (description = 'Written by Sparrow; do not edit. format=1', partition_expiration_days = 91);

CREATE TABLE IF NOT EXISTS `my-project`.`shop_blue`.`digests` (
  `stage` STRING,
  `first` INT64,
  `last` INT64,
  `marks` INT64,
  `event` STRING,
  `build` STRING,
  `sink` STRING,
  `rows` INT64,
  `digest` BIGNUMERIC,
  `places` BIGNUMERIC,
  `unordered` INT64,
  `unplaced` BIGNUMERIC,
  `firstFrame` INT64,
  `lastFrame` INT64,
  `requests` INT64,
  `owed` INT64,
  `idSum` BIGNUMERIC,
  `badIds` INT64,
  `went` INT64,
  `rehearsed` INT64,
  `unseen` INT64,
  `retries` INT64,
  `again` INT64,
  `attempted` INT64,
  `lastAt` INT64
)
CLUSTER BY stage, `first`
OPTIONS (description = 'Written by Sparrow; do not edit. format=1');

CREATE OR REPLACE VIEW `my-project`.`shop_sparrow`.`datasets` AS
SELECT 'shop_' AS prefix;

CREATE OR REPLACE VIEW `my-project`.`shop_sparrow`.`timeline` AS
SELECT sequence, generation, kind, live, `from`, `at`, record
FROM `my-project`.`shop_sparrow`.`timeline_log`
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY sequence ORDER BY generation) = 1;

CREATE OR REPLACE VIEW `my-project`.`shop_sparrow`.`spans` AS
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
WHERE cursorRows > 0;

CREATE OR REPLACE VIEW `my-project`.`shop_sparrow`.`cursors` AS
SELECT stack, run, cursorStage AS stage, cursorJournal AS journal, frame, request,
  CAST(SUM(cursorRows) OVER (PARTITION BY stack, run, cursorStage) AS INT64) AS `rows`
FROM (
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorJournal, cursorRows
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorJournal, cursorRows
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'green' AS stack, run, frame, request, item, cursorStage, cursorJournal, cursorRows
FROM `my-project`.`shop_green`.`corrections_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorJournal, cursorRows
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorJournal, cursorRows
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, item, cursorStage, cursorJournal, cursorRows
FROM `my-project`.`shop_blue`.`corrections_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
) AS m
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY stack, run, cursorStage ORDER BY frame DESC, request DESC, item DESC) = 1;

CREATE OR REPLACE VIEW `my-project`.`shop_sparrow`.`journals` AS
SELECT j.id, j.first, COALESCE(MAX(CASE WHEN m.request > 0 OR m.frame = 0 THEN m.frame ELSE m.frame - 1 END), j.first) AS highest
FROM (SELECT id, MIN(first) AS first FROM `my-project`.`shop_sparrow`.`journals_log` GROUP BY id) AS j
LEFT JOIN (
SELECT 'green' AS stack, run, frame, request, cursorJournal
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'green' AS stack, run, frame, request, cursorJournal
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, cursorJournal
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
UNION ALL
SELECT 'blue' AS stack, run, frame, request, cursorJournal
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL
) AS m ON m.cursorJournal = j.id AND m.run = 0
GROUP BY j.id, j.first;

CREATE OR REPLACE VIEW `my-project`.`shop_sparrow`.`expired` AS
SELECT stack, `table`, CAST(TIMESTAMP_MICROS(number * 86400000000) AS DATE) AS day, MIN(`first`) AS `first`, MAX(`last`) AS `last`, CAST(SUM(`rows`) AS INT64) AS `rows`, TIMESTAMP_MICROS((number + MAX(keep)) * 86400000000) AS `at`
FROM (
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

CREATE OR REPLACE VIEW `my-project`.`shop_sparrow`.`erasures` AS
SELECT `at`, `kind`, `salt`, `hash`, `by`, `events`, `rows`, `outcomes`
FROM `my-project`.`shop_sparrow`.`erasures_log`
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY salt ORDER BY `at`) = 1;

CREATE OR REPLACE VIEW `my-project`.`shop_green`.`raw` AS
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NOT NULL
UNION ALL
SELECT `eventId`, TIMESTAMP_MICROS(micros) AS `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL;

CREATE OR REPLACE VIEW `my-project`.`shop_green`.`outcomes` AS
WITH corrections AS (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_green`.`corrections_log`
WHERE `timestamp` IS NOT NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_green`.`corrections_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL
)
SELECT o.`frame`, o.`request`, o.`item`, o.`run`, o.`stage`, o.`timestamp`, o.`build`, o.`event`, o.`sink`, o.`outcome`, o.`reason`, o.`status`, o.`attempts`, o.`digest`, o.`latency`, o.`revision`, o.`sent`, o.`answer`
FROM (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NOT NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL
) AS o
WHERE NOT EXISTS (SELECT 1 FROM corrections AS c WHERE c.run = o.run AND c.stage = o.stage AND c.frame = o.frame AND c.request = o.request AND c.item = o.item)
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM corrections
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY run, stage, frame, request, item ORDER BY revision DESC, number DESC) = 1;

CREATE OR REPLACE VIEW `my-project`.`shop_blue`.`raw` AS
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NOT NULL
UNION ALL
SELECT `eventId`, TIMESTAMP_MICROS(micros) AS `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL;

CREATE OR REPLACE VIEW `my-project`.`shop_blue`.`outcomes` AS
WITH corrections AS (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_blue`.`corrections_log`
WHERE `timestamp` IS NOT NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_blue`.`corrections_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL
)
SELECT o.`frame`, o.`request`, o.`item`, o.`run`, o.`stage`, o.`timestamp`, o.`build`, o.`event`, o.`sink`, o.`outcome`, o.`reason`, o.`status`, o.`attempts`, o.`digest`, o.`latency`, o.`revision`, o.`sent`, o.`answer`
FROM (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NOT NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL
) AS o
WHERE NOT EXISTS (SELECT 1 FROM corrections AS c WHERE c.run = o.run AND c.stage = o.stage AND c.frame = o.frame AND c.request = o.request AND c.item = o.item)
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM corrections
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY run, stage, frame, request, item ORDER BY revision DESC, number DESC) = 1;

CREATE OR REPLACE VIEW `my-project`.`shop_green`.`raw_normalized` AS
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`,
  CASE WHEN STARTS_WITH(j0, '"') THEN JSON_VALUE(j0, '$') WHEN REGEXP_CONTAINS(j0, '^-?[0-9]+$') THEN j0 END AS `deviceId`,
  CASE WHEN STARTS_WITH(j1, '"') THEN JSON_VALUE(j1, '$') WHEN REGEXP_CONTAINS(j1, '^-?[0-9]+$') THEN j1 END AS `userId`,
  CASE WHEN STARTS_WITH(j2, '"') THEN JSON_VALUE(j2, '$') WHEN REGEXP_CONTAINS(j2, '^-?[0-9]+$') THEN j2 END AS `messageId`
FROM (
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`,
  JSON_QUERY(data, '$."deviceId"') AS j0,
  JSON_QUERY(data, '$."userId"') AS j1,
  JSON_QUERY(data, '$."messageId"') AS j2
FROM (
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `eventId`, TIMESTAMP_MICROS(micros) AS `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS e
) AS r;

CREATE OR REPLACE VIEW `my-project`.`shop_blue`.`raw_normalized` AS
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`,
  CASE WHEN STARTS_WITH(j0, '"') THEN JSON_VALUE(j0, '$') WHEN REGEXP_CONTAINS(j0, '^-?[0-9]+$') THEN j0 END AS `deviceId`,
  CASE WHEN STARTS_WITH(j1, '"') THEN JSON_VALUE(j1, '$') WHEN REGEXP_CONTAINS(j1, '^-?[0-9]+$') THEN j1 END AS `userId`,
  CASE WHEN STARTS_WITH(j2, '"') THEN JSON_VALUE(j2, '$') WHEN REGEXP_CONTAINS(j2, '^-?[0-9]+$') THEN j2 END AS `messageId`
FROM (
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`,
  JSON_QUERY(data, '$."deviceId"') AS j0,
  JSON_QUERY(data, '$."userId"') AS j1,
  JSON_QUERY(data, '$."messageId"') AS j2
FROM (
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `eventId`, TIMESTAMP_MICROS(micros) AS `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS e
) AS r;

CREATE OR REPLACE VIEW `my-project`.`shop_live`.`raw` AS
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`, 'green' AS stack
FROM (
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `eventId`, TIMESTAMP_MICROS(micros) AS `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS e
WHERE run = 0 AND FALSE
UNION ALL
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`, 'blue' AS stack
FROM (
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `eventId`, TIMESTAMP_MICROS(micros) AS `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS e
WHERE run = 0 AND FALSE;

CREATE OR REPLACE VIEW `my-project`.`shop_live`.`outcomes` AS
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, 'green' AS stack
FROM (
WITH corrections AS (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_green`.`corrections_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_green`.`corrections_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
)
SELECT o.`frame`, o.`request`, o.`item`, o.`run`, o.`stage`, o.`timestamp`, o.`build`, o.`event`, o.`sink`, o.`outcome`, o.`reason`, o.`status`, o.`attempts`, o.`digest`, o.`latency`, o.`revision`, o.`sent`, o.`answer`
FROM (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS o
WHERE NOT EXISTS (SELECT 1 FROM corrections AS c WHERE c.run = o.run AND c.stage = o.stage AND c.frame = o.frame AND c.request = o.request AND c.item = o.item)
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM corrections
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY run, stage, frame, request, item ORDER BY revision DESC, number DESC) = 1
) AS e
WHERE run = 0 AND FALSE
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, 'blue' AS stack
FROM (
WITH corrections AS (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_blue`.`corrections_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_blue`.`corrections_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
)
SELECT o.`frame`, o.`request`, o.`item`, o.`run`, o.`stage`, o.`timestamp`, o.`build`, o.`event`, o.`sink`, o.`outcome`, o.`reason`, o.`status`, o.`attempts`, o.`digest`, o.`latency`, o.`revision`, o.`sent`, o.`answer`
FROM (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS o
WHERE NOT EXISTS (SELECT 1 FROM corrections AS c WHERE c.run = o.run AND c.stage = o.stage AND c.frame = o.frame AND c.request = o.request AND c.item = o.item)
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM corrections
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY run, stage, frame, request, item ORDER BY revision DESC, number DESC) = 1
) AS e
WHERE run = 0 AND FALSE;

CREATE OR REPLACE VIEW `my-project`.`shop_live`.`raw_normalized` AS
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`, `deviceId`, `userId`, `messageId`, 'green' AS stack
FROM `my-project`.`shop_green`.`raw_normalized`
WHERE run = 0 AND FALSE
UNION ALL
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`, `deviceId`, `userId`, `messageId`, 'blue' AS stack
FROM `my-project`.`shop_blue`.`raw_normalized`
WHERE run = 0 AND FALSE;

CREATE OR REPLACE VIEW `my-project`.`shop_staging`.`raw` AS
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`, 'green' AS stack
FROM (
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `eventId`, TIMESTAMP_MICROS(micros) AS `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_green`.`raw_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS e
WHERE run = 0 AND FALSE
UNION ALL
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`, 'blue' AS stack
FROM (
SELECT `eventId`, `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `eventId`, TIMESTAMP_MICROS(micros) AS `timestamp`, `event`, `data`, `dataBytes`, `frame`, `request`, `item`, `itemsInRequest`, `run`, `build`, `context`
FROM `my-project`.`shop_blue`.`raw_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS e
WHERE run = 0 AND FALSE;

CREATE OR REPLACE VIEW `my-project`.`shop_staging`.`outcomes` AS
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, 'green' AS stack
FROM (
WITH corrections AS (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_green`.`corrections_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_green`.`corrections_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
)
SELECT o.`frame`, o.`request`, o.`item`, o.`run`, o.`stage`, o.`timestamp`, o.`build`, o.`event`, o.`sink`, o.`outcome`, o.`reason`, o.`status`, o.`attempts`, o.`digest`, o.`latency`, o.`revision`, o.`sent`, o.`answer`
FROM (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_green`.`outcomes_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS o
WHERE NOT EXISTS (SELECT 1 FROM corrections AS c WHERE c.run = o.run AND c.stage = o.stage AND c.frame = o.frame AND c.request = o.request AND c.item = o.item)
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM corrections
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY run, stage, frame, request, item ORDER BY revision DESC, number DESC) = 1
) AS e
WHERE run = 0 AND FALSE
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, 'blue' AS stack
FROM (
WITH corrections AS (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_blue`.`corrections_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`, `number`
FROM `my-project`.`shop_blue`.`corrections_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
)
SELECT o.`frame`, o.`request`, o.`item`, o.`run`, o.`stage`, o.`timestamp`, o.`build`, o.`event`, o.`sink`, o.`outcome`, o.`reason`, o.`status`, o.`attempts`, o.`digest`, o.`latency`, o.`revision`, o.`sent`, o.`answer`
FROM (
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NOT NULL AND erased IS NULL
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, TIMESTAMP_MICROS(micros) AS `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM `my-project`.`shop_blue`.`outcomes_log`
WHERE `timestamp` IS NULL AND micros IS NOT NULL AND erased IS NULL
) AS o
WHERE NOT EXISTS (SELECT 1 FROM corrections AS c WHERE c.run = o.run AND c.stage = o.stage AND c.frame = o.frame AND c.request = o.request AND c.item = o.item)
UNION ALL
SELECT `frame`, `request`, `item`, `run`, `stage`, `timestamp`, `build`, `event`, `sink`, `outcome`, `reason`, `status`, `attempts`, `digest`, `latency`, `revision`, `sent`, `answer`
FROM corrections
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY run, stage, frame, request, item ORDER BY revision DESC, number DESC) = 1
) AS e
WHERE run = 0 AND FALSE;

CREATE OR REPLACE VIEW `my-project`.`shop_staging`.`raw_normalized` AS
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`, `deviceId`, `userId`, `messageId`, 'green' AS stack
FROM `my-project`.`shop_green`.`raw_normalized`
WHERE run = 0 AND FALSE
UNION ALL
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`, `deviceId`, `userId`, `messageId`, 'blue' AS stack
FROM `my-project`.`shop_blue`.`raw_normalized`
WHERE run = 0 AND FALSE;
