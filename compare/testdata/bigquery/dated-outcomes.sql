WITH positions AS (
  SELECT frame, request, item, SUM(l) AS l, SUM(c) AS c,
    SUM(CASE WHEN l = 1 THEN what END) * SUM(c) <> SUM(CASE WHEN c = 1 THEN what END) * SUM(l) OR CASE
      WHEN SUM(l * went) > 0 AND SUM(c * went) > 0 THEN SUM(l * digest) * SUM(c * went) <> SUM(c * digest) * SUM(l * went)
      WHEN SUM(l * went) > 0 THEN SUM(c * excused) = 0
      WHEN SUM(c * went) > 0 THEN SUM(l * excused) = 0
      ELSE FALSE END AS differs,
    LEAST(SUM(l * kept), SUM(c * kept)) AS kept,
    MIN(CASE WHEN l = 1 THEN name END) AS liveName, MIN(CASE WHEN c = 1 THEN name END) AS candidateName, MIN(name) AS rawName
  FROM (
    SELECT frame, request, item, 1 AS l, 0 AS c, CAST((CAST(FARM_FINGERPRINT(TO_JSON_STRING((event, outcome, CASE WHEN reason = '' OR reason IN ('dry-run', 'not sampled', 'sent again after a crash') THEN '' ELSE REGEXP_EXTRACT(reason, '^[^:]*') END))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS BIGNUMERIC) AS what, CAST(digest AS BIGNUMERIC) AS digest,
      CASE WHEN digest <> 0 THEN 1 ELSE 0 END AS went, CASE WHEN reason IN ('dry-run', 'not sampled') THEN 1 ELSE 0 END AS excused,
      CASE WHEN sent IS NOT NULL THEN 1 ELSE 0 END AS kept, event AS name
    FROM (SELECT * FROM green.outcomes_log WHERE `timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000901000000)) WHERE revision = 0 AND stage IN ('trace') AND run = 0 AND frame BETWEEN 3 AND 1000 AND DIV((frame - 3), 9) IN (0, 7, 110)
    UNION ALL
    SELECT frame, request, item, 0 AS l, 1 AS c, CAST((CAST(FARM_FINGERPRINT(TO_JSON_STRING((event, outcome, CASE WHEN reason = '' OR reason IN ('dry-run', 'not sampled', 'sent again after a crash') THEN '' ELSE REGEXP_EXTRACT(reason, '^[^:]*') END))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS BIGNUMERIC) AS what, CAST(digest AS BIGNUMERIC) AS digest,
      CASE WHEN digest <> 0 THEN 1 ELSE 0 END AS went, CASE WHEN reason IN ('dry-run', 'not sampled') THEN 1 ELSE 0 END AS excused,
      CASE WHEN sent IS NOT NULL THEN 1 ELSE 0 END AS kept, event AS name
    FROM (SELECT * FROM blue.outcomes_log WHERE `timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000901000000)) WHERE revision = 0 AND stage IN ('trace') AND run = 0 AND frame BETWEEN 3 AND 1000 AND DIV((frame - 3), 9) IN (0, 7, 110)
    UNION ALL
    SELECT frame, request, item, 0, 0, CAST(0 AS BIGNUMERIC), CAST(0 AS BIGNUMERIC), 0, 0, 0, COALESCE(event, '')
    FROM (SELECT * FROM green.raw WHERE `timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000900000000)) WHERE run = 0 AND frame BETWEEN 3 AND 1000 AND DIV((frame - 3), 9) IN (0, 7, 110) AND (frame < 33336 OR frame = 33336 AND request < 0)
    UNION ALL
    SELECT frame, request, item, 0, 0, CAST(0 AS BIGNUMERIC), CAST(0 AS BIGNUMERIC), 0, 0, 0, COALESCE(event, '')
    FROM (SELECT * FROM blue.raw WHERE `timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000900000000)) WHERE run = 0 AND frame BETWEEN 3 AND 1000 AND DIV((frame - 3), 9) IN (0, 7, 110) AND (frame < 33000 OR frame = 33000 AND request < 2)
  ) AS r
  GROUP BY frame, request, item
), odd AS (
  SELECT * FROM positions WHERE l <> 1 OR c <> 1 OR differs
), explained AS (
  SELECT odd.*, COALESCE((SELECT MAX(hc.reason) FROM UNNEST(ARRAY<STRUCT<fromFrame INT64, fromRequest INT64, toFrame INT64, toRequest INT64, reason INT64>>[(12, 1, 12, 2, 1), (20, 0, 40, 0, 2)]) AS hc WHERE (frame > hc.fromFrame OR frame = hc.fromFrame AND request >= hc.fromRequest)
    AND (frame < hc.toFrame OR frame = hc.toFrame AND request < hc.toRequest)), CASE WHEN frame > 33000 OR frame = 33000 AND request >= 2 THEN 4 ELSE 0 END) AS candidateCause, CASE WHEN frame > 33336 OR frame = 33336 AND request >= 0 THEN 4 ELSE 0 END AS liveCause
  FROM odd
), placed AS (
  SELECT x.*, CASE
    WHEN c = 0 AND l > 0 THEN CASE WHEN candidateCause = 0 AND uc.frame IS NULL AND ul.frame IS NOT NULL THEN 5 ELSE candidateCause END
    WHEN l = 0 AND c > 0 THEN CASE WHEN liveCause = 0 AND ul.frame IS NULL AND uc.frame IS NOT NULL THEN 5 ELSE liveCause END
    ELSE 0 END AS cause
  FROM explained AS x
  LEFT JOIN (SELECT DISTINCT frame, request, item FROM (SELECT * FROM blue.raw WHERE `timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000900000000)) WHERE run = 0 AND frame BETWEEN 3 AND 1000 AND DIV((frame - 3), 9) IN (0, 7, 110)) AS uc ON uc.frame = x.frame AND uc.request = x.request AND uc.item = x.item
  LEFT JOIN (SELECT DISTINCT frame, request, item FROM (SELECT * FROM green.raw WHERE `timestamp` BETWEEN TIMESTAMP_MICROS(1790000000000000) AND TIMESTAMP_MICROS(1790000900000000)) WHERE run = 0 AND frame BETWEEN 3 AND 1000 AND DIV((frame - 3), 9) IN (0, 7, 110)) AS ul ON ul.frame = x.frame AND ul.request = x.request AND ul.item = x.item
), faults AS (
  SELECT k.kind, frame, request, item, CASE WHEN k.kind IN (1, 2) THEN cause ELSE 0 END AS cause, kept,
    CASE WHEN k.kind IN (2, 5, 7) THEN candidateName WHEN k.kind = 8 THEN rawName ELSE liveName END AS event,
    CASE k.kind WHEN 6 THEN l - 1 WHEN 7 THEN c - 1 ELSE 1 END AS amount
  FROM placed
  CROSS JOIN UNNEST(ARRAY<STRUCT<kind INT64, zero INT64>>[(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0)]) AS k
  WHERE CASE k.kind
    WHEN 1 THEN l > 0 AND c = 0
    WHEN 2 THEN l = 0 AND c > 0
    WHEN 3 THEN l > 0 AND c > 0 AND differs
    WHEN 4 THEN l > 0 AND c > 0 AND differs AND liveName <> candidateName
    WHEN 5 THEN l > 0 AND c > 0 AND differs AND liveName <> candidateName
    WHEN 6 THEN l > 1
    WHEN 7 THEN c > 1
    ELSE l = 0 AND c = 0 END
)
SELECT kind, cause, event, frame, request, item, amount, total, firsts
FROM (
  SELECT kind, cause, event, frame, request, item, amount,
    SUM(amount) OVER (PARTITION BY kind, cause, event) AS total, 0 AS firsts,
    ROW_NUMBER() OVER (PARTITION BY kind, cause, event ORDER BY CASE WHEN kept > 0 THEN 0 ELSE 1 END, frame, request, item) AS place
  FROM faults
) AS f
WHERE place <= 5
ORDER BY kind, cause, event, place
