SELECT stage, bucket, COUNT(*) AS n, SUM(mark) AS mark
FROM (
  SELECT stage, (frame - 3) // 9 AS bucket,
    CAST(hash(hash(frame, request, item, event, outcome, CASE WHEN reason = '' OR reason IN ('dry-run', 'not sampled', 'sent again after a crash') THEN '' ELSE split_part(reason, ':', 1) END, digest)) AS HUGEINT) AS mark
  FROM green.outcomes_log WHERE revision = 0 AND stage IN ('trace', 'ga4', 'o''hara') AND run = 0 AND frame BETWEEN 3 AND 33335
) AS r
GROUP BY stage, bucket
