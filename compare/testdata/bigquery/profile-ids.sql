SELECT bucket, COUNT(*) AS n, SUM(digest) AS digest, SUM(first) AS requests, SUM(owed) AS owed,
  COALESCE(SUM(tail), 0) AS idSum, SUM(first) - COUNT(tail) AS badIds
FROM (
  SELECT DIV((frame - 3), 9) AS bucket, CAST((CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, item, `eventId`, `timestamp`, event, data, `dataBytes`, `itemsInRequest`, context))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS BIGNUMERIC) AS digest,
    CASE WHEN item = 0 THEN 1 ELSE 0 END AS first,
    CASE WHEN item = 0 THEN GREATEST(`itemsInRequest`, 1) ELSE 0 END AS owed,
    CASE WHEN item = 0 THEN CAST(SAFE_CAST('0x' || SUBSTR(`eventId`, 21, 3) || SUBSTR(`eventId`, 25, 12) AS INT64) AS BIGNUMERIC) END AS tail
  FROM green.raw
  WHERE run = 0 AND frame BETWEEN 3 AND 33335
) AS r
GROUP BY bucket
