SELECT bucket, COUNT(*) AS requests, COALESCE(SUM(tail), 0) AS idSum, COUNT(*) - COUNT(tail) AS badIds
FROM (
  SELECT DIV((frame - 3), 9) AS bucket, CAST(SAFE_CAST('0x' || SUBSTR(`eventId`, 21, 3) || SUBSTR(`eventId`, 25, 12) AS INT64) AS BIGNUMERIC) AS tail
  FROM green.raw
  WHERE run = 0 AND frame BETWEEN 3 AND 33335 AND item = 0
) AS r
GROUP BY bucket
