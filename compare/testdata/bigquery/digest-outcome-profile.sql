SELECT stage, DIV((`first` - 3), 9) AS bucket, SUM(`rows`) AS n, SUM(digest) AS mark
FROM green.digests WHERE stage IN ('trace', 'ga4', 'o\'hara') AND `first` >= 3 AND `last` <= 33335 AND event IS NOT NULL
GROUP BY stage, bucket
