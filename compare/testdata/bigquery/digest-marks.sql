SELECT stage, bucket, SUM(marks) AS n
FROM (
  SELECT stage, `first`, DIV((`first` - 3), 9) AS bucket, CASE WHEN SUM(marks) = 1 THEN 1 ELSE 0 END AS marks
  FROM green.digests WHERE marks > 0 AND `first` >= 3 AND `last` <= 33335
  GROUP BY stage, `first`
) AS r
GROUP BY stage, bucket
