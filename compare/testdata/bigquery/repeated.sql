SELECT DISTINCT DIV((frame - 3), 9) AS bucket
FROM (
  SELECT frame
  FROM green.outcomes_log WHERE revision = 0 AND stage IN ('ga4') AND run = 0 AND frame BETWEEN 3 AND 1000 AND DIV((frame - 3), 9) IN (0, 7, 110)
  GROUP BY frame, request, item
  HAVING COUNT(*) > 1
) AS r
