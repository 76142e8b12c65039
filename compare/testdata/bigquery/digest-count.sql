SELECT COALESCE(SUM(`rows`), 0) AS n
FROM green.digests WHERE stage IN ('trace', 'ga4', 'o\'hara') AND `first` >= 3 AND `last` <= 33335
