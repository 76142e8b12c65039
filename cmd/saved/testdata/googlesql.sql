WITH l AS (SELECT frame, request, item, event FROM shop_live.raw WHERE timestamp >= TIMESTAMP_MICROS(1790000000000000)),
s AS (SELECT frame, request, item, event FROM shop_staging.raw WHERE timestamp >= TIMESTAMP_MICROS(1790000000000000))
SELECT event, COUNT(l.frame) AS live, COUNT(s.frame) AS staging,
  COUNTIF(s.frame IS NULL) AS only_live, COUNTIF(l.frame IS NULL) AS only_staging
FROM l FULL JOIN s USING (frame, request, item, event)
GROUP BY event
ORDER BY only_live + only_staging DESC, live DESC, event;

WITH l AS (SELECT frame, request, item, event FROM shop_live.raw WHERE timestamp >= TIMESTAMP_MICROS(UNIX_MICROS(CURRENT_TIMESTAMP()) - 86400000000)),
s AS (SELECT frame, request, item, event FROM shop_staging.raw WHERE timestamp >= TIMESTAMP_MICROS(UNIX_MICROS(CURRENT_TIMESTAMP()) - 86400000000))
SELECT event, COUNT(l.frame) AS live, COUNT(s.frame) AS staging,
  COUNTIF(s.frame IS NULL) AS only_live, COUNTIF(l.frame IS NULL) AS only_staging
FROM l FULL JOIN s USING (frame, request, item, event)
GROUP BY event
ORDER BY only_live + only_staging DESC, live DESC, event;

SELECT event, COUNT(*) AS n, MAX(timestamp) AS last_seen
FROM shop_live.raw
WHERE timestamp >= TIMESTAMP_MICROS(1790000000000000)
GROUP BY event
HAVING MAX(timestamp) < TIMESTAMP_MICROS(1790000000000000)
ORDER BY n DESC, event;

SELECT event, COUNT(*) AS n, MAX(timestamp) AS last_seen
FROM shop_live.raw
WHERE timestamp >= TIMESTAMP_MICROS(UNIX_MICROS(CURRENT_TIMESTAMP()) - 604800000000)
GROUP BY event
HAVING MAX(timestamp) < TIMESTAMP_MICROS(UNIX_MICROS(CURRENT_TIMESTAMP()) - 3600000000)
ORDER BY n DESC, event;

WITH p AS (SELECT DISTINCT frame, request, item FROM (SELECT frame, request, item, eventId, run FROM shop_green.raw UNION ALL SELECT frame, request, item, eventId, run FROM shop_blue.raw) AS b WHERE eventId = ? AND run = 0),
r AS (SELECT 'live' AS side, stack, timestamp, event, context, build, frame, request, item FROM shop_live.raw UNION ALL SELECT 'staging', stack, timestamp, event, context, build, frame, request, item FROM shop_staging.raw),
o AS (SELECT 'live' AS side, stack, stage, timestamp, latency, event, outcome, reason, status, attempts, revision, build, frame, request, item FROM shop_live.outcomes
  UNION ALL SELECT 'staging', stack, stage, timestamp, latency, event, outcome, reason, status, attempts, revision, build, frame, request, item FROM shop_staging.outcomes)
SELECT side, stack, 'raw' AS stage, timestamp AS `at`, event, 'stored' AS outcome, COALESCE(JSON_VALUE(context, '$.rejected'), '') AS reason,
  CAST(NULL AS INT64) AS status, CAST(NULL AS INT64) AS attempts, CAST(NULL AS INT64) AS revision, SUBSTR(build, 1, 12) AS build
FROM r JOIN p USING (frame, request, item)
UNION ALL
SELECT side, stack, stage, TIMESTAMP_MICROS(UNIX_MICROS(timestamp) + latency), event, outcome, reason, status, attempts, revision, SUBSTR(build, 1, 12)
FROM o JOIN p USING (frame, request, item)
ORDER BY side, `at`, stage;

WITH p AS (SELECT DISTINCT frame, request, item FROM (SELECT frame, request, item, eventId, run FROM shop_green.raw UNION ALL SELECT frame, request, item, eventId, run FROM shop_blue.raw) AS b WHERE eventId = 'it\'s \\' AND run = 0),
r AS (SELECT 'live' AS side, stack, timestamp, event, context, build, frame, request, item FROM shop_live.raw UNION ALL SELECT 'staging', stack, timestamp, event, context, build, frame, request, item FROM shop_staging.raw),
o AS (SELECT 'live' AS side, stack, stage, timestamp, latency, event, outcome, reason, status, attempts, revision, build, frame, request, item FROM shop_live.outcomes
  UNION ALL SELECT 'staging', stack, stage, timestamp, latency, event, outcome, reason, status, attempts, revision, build, frame, request, item FROM shop_staging.outcomes)
SELECT side, stack, 'raw' AS stage, timestamp AS `at`, event, 'stored' AS outcome, COALESCE(JSON_VALUE(context, '$.rejected'), '') AS reason,
  CAST(NULL AS INT64) AS status, CAST(NULL AS INT64) AS attempts, CAST(NULL AS INT64) AS revision, SUBSTR(build, 1, 12) AS build
FROM r JOIN p USING (frame, request, item)
UNION ALL
SELECT side, stack, stage, TIMESTAMP_MICROS(UNIX_MICROS(timestamp) + latency), event, outcome, reason, status, attempts, revision, SUBSTR(build, 1, 12)
FROM o JOIN p USING (frame, request, item)
ORDER BY side, `at`, stage;

WITH counted AS (SELECT build, event, COUNT(*) AS n, MIN(timestamp) AS began FROM shop_live.raw GROUP BY build, event),
totals AS (SELECT build, SUM(n) AS total, MIN(began) AS began FROM counted GROUP BY build HAVING SUM(n) >= CAST(? AS INT64)),
releases AS (SELECT build, total, began, LAG(build) OVER (ORDER BY began, build) AS previous FROM totals),
names AS (SELECT DISTINCT event FROM counted)
SELECT SUBSTR(r.build, 1, 12) AS `release`, r.began, e.event, COALESCE(b.n, 0) AS n_before, COALESCE(a.n, 0) AS n,
  ROUND(100 * COALESCE(b.n, 0) / p.total, 3) AS percent_before, ROUND(100 * COALESCE(a.n, 0) / r.total, 3) AS percent,
  ROUND(COALESCE(a.n, 0) / r.total / (b.n / p.total), 3) AS ratio
FROM releases AS r JOIN releases AS p ON p.build = r.previous CROSS JOIN names AS e
LEFT JOIN counted AS a ON a.build = r.build AND a.event = e.event
LEFT JOIN counted AS b ON b.build = p.build AND b.event = e.event
WHERE b.n > 0
ORDER BY r.began DESC, ratio, n_before DESC, e.event;

WITH counted AS (SELECT build, event, COUNT(*) AS n, MIN(timestamp) AS began FROM shop_live.raw GROUP BY build, event),
totals AS (SELECT build, SUM(n) AS total, MIN(began) AS began FROM counted GROUP BY build HAVING SUM(n) >= CAST('100' AS INT64)),
releases AS (SELECT build, total, began, LAG(build) OVER (ORDER BY began, build) AS previous FROM totals),
names AS (SELECT DISTINCT event FROM counted)
SELECT SUBSTR(r.build, 1, 12) AS `release`, r.began, e.event, COALESCE(b.n, 0) AS n_before, COALESCE(a.n, 0) AS n,
  ROUND(100 * COALESCE(b.n, 0) / p.total, 3) AS percent_before, ROUND(100 * COALESCE(a.n, 0) / r.total, 3) AS percent,
  ROUND(COALESCE(a.n, 0) / r.total / (b.n / p.total), 3) AS ratio
FROM releases AS r JOIN releases AS p ON p.build = r.previous CROSS JOIN names AS e
LEFT JOIN counted AS a ON a.build = r.build AND a.event = e.event
LEFT JOIN counted AS b ON b.build = p.build AND b.event = e.event
WHERE b.n > 0
ORDER BY r.began DESC, ratio, n_before DESC, e.event;

WITH o AS (SELECT 'live' AS side, stage, outcome, reason, status FROM shop_live.outcomes WHERE timestamp >= TIMESTAMP_MICROS(1790000000000000)
  UNION ALL SELECT 'staging', stage, outcome, reason, status FROM shop_staging.outcomes WHERE timestamp >= TIMESTAMP_MICROS(1790000000000000))
SELECT stage AS vendor, outcome, reason, status, COUNTIF(side = 'live') AS live, COUNTIF(side = 'staging') AS staging
FROM o
GROUP BY vendor, outcome, reason, status
ORDER BY vendor, live DESC, outcome, reason, status;

WITH o AS (SELECT 'live' AS side, stage, outcome, reason, status FROM shop_live.outcomes WHERE timestamp >= TIMESTAMP_MICROS(UNIX_MICROS(CURRENT_TIMESTAMP()) - 86400000000)
  UNION ALL SELECT 'staging', stage, outcome, reason, status FROM shop_staging.outcomes WHERE timestamp >= TIMESTAMP_MICROS(UNIX_MICROS(CURRENT_TIMESTAMP()) - 86400000000))
SELECT stage AS vendor, outcome, reason, status, COUNTIF(side = 'live') AS live, COUNTIF(side = 'staging') AS staging
FROM o
GROUP BY vendor, outcome, reason, status
ORDER BY vendor, live DESC, outcome, reason, status;

SELECT COALESCE(l.event, s.event) AS event, COALESCE(l.n, 0) AS live, COALESCE(s.n, 0) AS staging
FROM (SELECT event, COUNT(*) AS n FROM shop_live.raw GROUP BY event) AS l FULL JOIN (SELECT event, COUNT(*) AS n FROM shop_staging.raw GROUP BY event) AS s ON l.event = s.event
ORDER BY live DESC, staging DESC, event;

SELECT COALESCE(l.event, s.event) AS event, COALESCE(l.n, 0) AS live, COALESCE(s.n, 0) AS staging
FROM (SELECT event, COUNT(*) AS n FROM shop_live.raw GROUP BY event) AS l FULL JOIN (SELECT event, COUNT(*) AS n FROM shop_staging.raw GROUP BY event) AS s ON l.event = s.event
ORDER BY live DESC, staging DESC, event;

SELECT TIMESTAMP_MICROS(DIV(UNIX_MICROS(timestamp), 60000000) * 60000000) AS minute, COUNT(*) AS n
FROM shop_live.raw
WHERE timestamp >= TIMESTAMP_MICROS(1790000000000000)
GROUP BY minute
ORDER BY minute DESC;

SELECT TIMESTAMP_MICROS(DIV(UNIX_MICROS(timestamp), 60000000) * 60000000) AS minute, COUNT(*) AS n
FROM shop_live.raw
WHERE timestamp >= TIMESTAMP_MICROS(UNIX_MICROS(CURRENT_TIMESTAMP()) - 3600000000)
GROUP BY minute
ORDER BY minute DESC;

SELECT JSON_VALUE(context, '$.rejected') AS reason, COUNT(*) AS n FROM shop_live.raw WHERE JSON_VALUE(context, '$.rejected') IS NOT NULL GROUP BY reason ORDER BY n DESC, reason;

SELECT JSON_VALUE(context, '$.rejected') AS reason, COUNT(*) AS n FROM shop_live.raw WHERE JSON_VALUE(context, '$.rejected') IS NOT NULL GROUP BY reason ORDER BY n DESC, reason;

SELECT 'green' AS stack, SUBSTR(build, 1, 12) AS build, COUNT(*) AS n FROM shop_green.raw GROUP BY build
UNION ALL SELECT 'blue', SUBSTR(build, 1, 12), COUNT(*) FROM shop_blue.raw GROUP BY build
ORDER BY stack, build, n;

SELECT 'green' AS stack, SUBSTR(build, 1, 12) AS build, COUNT(*) AS n FROM shop_green.raw GROUP BY build
UNION ALL SELECT 'blue', SUBSTR(build, 1, 12), COUNT(*) FROM shop_blue.raw GROUP BY build
ORDER BY stack, build, n;

SELECT sequence, generation, kind, live, `from`, `at` FROM timeline ORDER BY sequence;

SELECT sequence, generation, kind, live, `from`, `at` FROM timeline ORDER BY sequence;

SELECT r.stack, r.event, COUNT(*) AS n
FROM shop_live.raw AS r LEFT JOIN (SELECT frame, request, item FROM shop_live.outcomes WHERE stage = ?) AS o ON r.frame = o.frame AND r.request = o.request AND r.item = o.item
WHERE o.frame IS NULL AND r.frame < (SELECT MIN(frame) FROM cursors WHERE stage = ? AND run = 0)
GROUP BY r.stack, r.event
ORDER BY n DESC, r.event;

SELECT r.stack, r.event, COUNT(*) AS n
FROM shop_live.raw AS r LEFT JOIN (SELECT frame, request, item FROM shop_live.outcomes WHERE stage = 'trace') AS o ON r.frame = o.frame AND r.request = o.request AND r.item = o.item
WHERE o.frame IS NULL AND r.frame < (SELECT MIN(frame) FROM cursors WHERE stage = 'trace' AND run = 0)
GROUP BY r.stack, r.event
ORDER BY n DESC, r.event;

SELECT vendor, COUNT(*) AS n, MIN(CASE WHEN share >= 0.5 THEN latency END) / 1000 AS p50_ms, MIN(CASE WHEN share >= 0.99 THEN latency END) / 1000 AS p99_ms
FROM (SELECT stage AS vendor, latency, CUME_DIST() OVER (PARTITION BY stage ORDER BY latency) AS share FROM shop_live.outcomes WHERE outcome = 'delivered') AS o
GROUP BY vendor
ORDER BY vendor;

SELECT vendor, COUNT(*) AS n, MIN(CASE WHEN share >= 0.5 THEN latency END) / 1000 AS p50_ms, MIN(CASE WHEN share >= 0.99 THEN latency END) / 1000 AS p99_ms
FROM (SELECT stage AS vendor, latency, CUME_DIST() OVER (PARTITION BY stage ORDER BY latency) AS share FROM shop_live.outcomes WHERE outcome = 'delivered') AS o
GROUP BY vendor
ORDER BY vendor;

SELECT event, COUNT(*) AS n, COUNT(DISTINCT deviceId) AS devices FROM shop_live.raw_normalized GROUP BY event ORDER BY n DESC, event;

SELECT event, COUNT(*) AS n, COUNT(DISTINCT deviceId) AS devices FROM shop_live.raw_normalized GROUP BY event ORDER BY n DESC, event;

SELECT day, stack, `table`, `rows`, `first`, `last`, `at` FROM expired ORDER BY day DESC, stack, `table`;

SELECT day, stack, `table`, `rows`, `first`, `last`, `at` FROM expired ORDER BY day DESC, stack, `table`;
