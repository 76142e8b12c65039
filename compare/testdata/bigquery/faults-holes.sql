WITH stored AS (
    SELECT frame, request, item, GREATEST(`itemsInRequest`, 1) AS items, 1 AS l, 0 AS c, CAST((CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, item, `eventId`, `timestamp`, event, data, `dataBytes`, `itemsInRequest`, context))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS BIGNUMERIC) AS liveDigest, CAST(NULL AS BIGNUMERIC) AS candidateDigest, COALESCE(event, '') AS liveName, NULL AS candidateName
    FROM green.raw WHERE run = 0 AND frame BETWEEN 3 AND 33335
    UNION ALL
    SELECT frame, request, item, GREATEST(`itemsInRequest`, 1) AS items, 0 AS l, 1 AS c, CAST(NULL AS BIGNUMERIC) AS liveDigest, CAST((CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, item, `eventId`, `timestamp`, event, data, `dataBytes`, `itemsInRequest`, context))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS BIGNUMERIC) AS candidateDigest, NULL AS liveName, COALESCE(event, '') AS candidateName
    FROM blue.raw WHERE run = 0 AND frame BETWEEN 3 AND 33335
), owed AS (
  SELECT frame, request, CAST(owedItem AS INTEGER) AS item
  FROM (
    SELECT frame, request, COALESCE(MAX(CASE WHEN l = 1 THEN items END), LEAST(MAX(items), 65536)) AS items
    FROM stored AS s
    GROUP BY frame, request
    HAVING MAX(s.items) > 1 OR MAX(item) > 0
  ) AS lists, UNNEST(GENERATE_ARRAY(0, LEAST(items, 1000000) - 1)) AS owedItem
), positions AS (
  SELECT frame, request, item, SUM(l) AS l, SUM(c) AS c,
    SUM(liveDigest) * SUM(c) <> SUM(candidateDigest) * SUM(l) AS differs,
    MIN(liveName) AS liveName, MIN(candidateName) AS candidateName
  FROM (
    SELECT frame, request, item, l, c, liveDigest, candidateDigest, liveName, candidateName FROM stored
    UNION ALL
    SELECT frame, request, item, 0, 0, NULL, NULL, NULL, NULL FROM owed
  ) AS r
  GROUP BY frame, request, item
  HAVING SUM(r.l) <> 1 OR SUM(r.c) <> 1 OR SUM(liveDigest) <> SUM(candidateDigest)
), faults AS (
  SELECT k.kind, frame, request, item,
    CASE k.kind WHEN 1 THEN COALESCE((SELECT MAX(hc.reason) FROM UNNEST(ARRAY<STRUCT<fromFrame INT64, fromRequest INT64, toFrame INT64, toRequest INT64, reason INT64>>[(12, 1, 12, 2, 1), (20, 0, 40, 0, 2)]) AS hc WHERE (frame > hc.fromFrame OR frame = hc.fromFrame AND request >= hc.fromRequest)
    AND (frame < hc.toFrame OR frame = hc.toFrame AND request < hc.toRequest)), CASE WHEN frame > 33000 OR frame = 33000 AND request >= 2 THEN 4 ELSE 0 END) WHEN 2 THEN CASE WHEN frame > 33336 OR frame = 33336 AND request >= 0 THEN 4 ELSE 0 END ELSE 0 END AS cause,
    CASE WHEN k.kind IN (2, 5, 7) THEN candidateName WHEN k.kind = 8 THEN '' ELSE liveName END AS event,
    CASE k.kind WHEN 6 THEN l - 1 WHEN 7 THEN c - 1 ELSE 1 END AS amount
  FROM positions
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
    SUM(amount) OVER (PARTITION BY kind, cause, event) AS total,
    SUM(CASE WHEN item = 0 THEN 1 ELSE 0 END) OVER (PARTITION BY kind, cause, event) AS firsts,
    ROW_NUMBER() OVER (PARTITION BY kind, cause, event ORDER BY frame, request, item) AS place
  FROM faults
) AS f
WHERE place <= 5
ORDER BY kind, cause, event, frame, request, item
