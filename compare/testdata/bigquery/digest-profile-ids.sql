SELECT DIV((`first` - 3), 9) AS bucket, SUM(`rows`) AS n, SUM(digest) AS digest, SUM(requests) AS requests, SUM(owed) AS owed, SUM(`idSum`) AS idSum, SUM(`badIds`) AS badIds
FROM green.digests WHERE stage IN ('raw') AND `first` >= 3 AND `last` <= 1000 AND DIV((`first` - 3), 9) IN (0, 7, 110) AND event IS NOT NULL
GROUP BY bucket
