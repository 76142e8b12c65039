SELECT bucket
FROM (
  SELECT (frame - 3) // 9 AS bucket, CAST(hash(hash(frame, request, item)) AS HUGEINT) AS stored, CAST(0 AS HUGEINT) AS answered
  FROM green.raw
  WHERE run = 0 AND frame BETWEEN 3 AND 33335
  UNION ALL
  SELECT (frame - 3) // 9, CAST(0 AS HUGEINT), CAST(hash(hash(frame, request, item)) AS HUGEINT)
  FROM green.outcomes_log WHERE revision = 0 AND stage IN ('trace') AND run = 0 AND frame BETWEEN 3 AND 33335
) AS r
GROUP BY bucket
HAVING SUM(stored) <> SUM(answered)
ORDER BY bucket
