SELECT bucket, COUNT(*) AS requests, COALESCE(SUM(tail), 0) AS idSum, COUNT(*) - COUNT(tail) AS badIds
FROM (
  SELECT (frame - 3) // 9 AS bucket, CAST(TRY_CAST('0x' || substr("eventId", 21, 3) || substr("eventId", 25, 12) AS BIGINT) AS HUGEINT) AS tail
  FROM green.raw
  WHERE run = 0 AND frame BETWEEN 3 AND 33335 AND item = 0
) AS r
GROUP BY bucket
