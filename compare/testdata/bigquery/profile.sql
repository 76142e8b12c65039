SELECT bucket, COUNT(*) AS n, SUM(digest) AS digest, SUM(first) AS requests, SUM(owed) AS owed
FROM (
  SELECT DIV((frame - 3), 9) AS bucket, CAST((CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, item, `eventId`, `timestamp`, event, data, `dataBytes`, `itemsInRequest`, context))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS BIGNUMERIC) AS digest,
    CASE WHEN item = 0 THEN 1 ELSE 0 END AS first,
    CASE WHEN item = 0 THEN GREATEST(`itemsInRequest`, 1) ELSE 0 END AS owed
  FROM blue.raw
  WHERE run = 0 AND frame BETWEEN 3 AND 33335
) AS r
GROUP BY bucket
