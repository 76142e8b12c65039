CREATE OR REPLACE VIEW `my-project`.`shop_green`.`raw_normalized` AS
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`,
  CASE WHEN STARTS_WITH(j0, '"') THEN JSON_VALUE(j0, '$') WHEN REGEXP_CONTAINS(j0, '^-?[0-9]+$') THEN j0 END AS `deviceId`,
  CASE WHEN STARTS_WITH(j1, '"') THEN JSON_VALUE(j1, '$') WHEN REGEXP_CONTAINS(j1, '^-?[0-9]+$') THEN j1 END AS `userId`,
  CASE WHEN STARTS_WITH(j2, '"') THEN JSON_VALUE(j2, '$') WHEN REGEXP_CONTAINS(j2, '^-?[0-9]+$') THEN j2 END AS `messageId`,
  CASE WHEN STARTS_WITH(j3, '"') THEN JSON_VALUE(j3, '$') END AS `plan`,
  CASE WHEN NOT IS_INF(SAFE_CAST(j4 AS FLOAT64)) AND NOT IS_NAN(SAFE_CAST(j4 AS FLOAT64)) THEN SAFE_CAST(j4 AS FLOAT64) END AS `cart_total`,
  CASE WHEN REGEXP_CONTAINS(j5, '^-?[0-9]{1,29}$') THEN SAFE_CAST(j5 AS NUMERIC) END AS `n`,
  CASE WHEN REGEXP_CONTAINS(j6, '^"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"$') THEN SAFE.TIMESTAMP(REGEXP_REPLACE(JSON_VALUE(j6, '$'), '([.][0-9]{6})[0-9]+', '\\1')) END AS `at`
FROM (
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`,
  JSON_QUERY(data, '$."deviceId"') AS j0,
  JSON_QUERY(data, '$."userId"') AS j1,
  JSON_QUERY(data, '$."messageId"') AS j2,
  JSON_QUERY(data, '$."properties"."plan"') AS j3,
  JSON_QUERY(data, '$."properties"."Cart"."Total"') AS j4,
  JSON_QUERY(data, '$."properties"."n"') AS j5,
  JSON_QUERY(data, '$."properties"."at"') AS j6
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
  CASE WHEN STARTS_WITH(j2, '"') THEN JSON_VALUE(j2, '$') WHEN REGEXP_CONTAINS(j2, '^-?[0-9]+$') THEN j2 END AS `messageId`,
  j3 AS `plan`,
  CASE j4 WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END AS `ok`,
  CASE WHEN STARTS_WITH(j5, '"') THEN JSON_VALUE(j5, '$') END AS `n`
FROM (
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`,
  JSON_QUERY(data, '$."deviceId"') AS j0,
  JSON_QUERY(data, '$."userId"') AS j1,
  JSON_QUERY(data, '$."messageId"') AS j2,
  JSON_QUERY(data, '$."properties"."plan"') AS j3,
  JSON_QUERY(data, '$."properties"."it\'s \\"ok\\" \\\\ \U000000e9"') AS j4,
  JSON_QUERY(data, '$."properties"."n"') AS j5
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
WHERE run = 0 AND (frame BETWEEN 2 AND 31 OR frame >= 40)
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
WHERE run = 0 AND (frame BETWEEN 32 AND 39);

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
WHERE run = 0 AND (frame BETWEEN 2 AND 31 OR frame >= 40)
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
WHERE run = 0 AND (frame BETWEEN 32 AND 39);

CREATE OR REPLACE VIEW `my-project`.`shop_live`.`raw_normalized` AS
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`, `deviceId`, `userId`, `messageId`, `plan` AS `plan`, `cart_total` AS `cart_total`, `n` AS `n`, `at` AS `at`, 'green' AS stack
FROM `my-project`.`shop_green`.`raw_normalized`
WHERE run = 0 AND (frame BETWEEN 2 AND 31 OR frame >= 40)
UNION ALL
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`, `deviceId`, `userId`, `messageId`, `plan` AS `plan`, CAST(NULL AS FLOAT64) AS `cart_total`, SAFE_CAST(CAST(`n` AS STRING) AS NUMERIC) AS `n`, CAST(NULL AS TIMESTAMP) AS `at`, 'blue' AS stack
FROM `my-project`.`shop_blue`.`raw_normalized`
WHERE run = 0 AND (frame BETWEEN 32 AND 39);

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
WHERE run = 0 AND (frame BETWEEN 32 AND 39)
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
WHERE run = 0 AND (frame BETWEEN 2 AND 31 OR frame >= 40);

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
WHERE run = 0 AND (frame BETWEEN 32 AND 39)
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
WHERE run = 0 AND (frame BETWEEN 2 AND 31 OR frame >= 40);

CREATE OR REPLACE VIEW `my-project`.`shop_staging`.`raw_normalized` AS
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`, `deviceId`, `userId`, `messageId`, `plan` AS `plan`, CAST(NULL AS BOOL) AS `ok`, SAFE_CAST(CAST(`n` AS STRING) AS STRING) AS `n`, 'green' AS stack
FROM `my-project`.`shop_green`.`raw_normalized`
WHERE run = 0 AND (frame BETWEEN 32 AND 39)
UNION ALL
SELECT `eventId`, `timestamp`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`, `deviceId`, `userId`, `messageId`, `plan` AS `plan`, `ok` AS `ok`, `n` AS `n`, 'blue' AS stack
FROM `my-project`.`shop_blue`.`raw_normalized`
WHERE run = 0 AND (frame BETWEEN 2 AND 31 OR frame >= 40);
