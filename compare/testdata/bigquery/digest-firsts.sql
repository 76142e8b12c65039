SELECT DIV((`first` - 3), 9) AS bucket, SUM(requests) AS requests, SUM(`idSum`) AS idSum, SUM(`badIds`) AS badIds
FROM green.digests WHERE stage IN ('raw') AND `first` >= 3 AND `last` <= 33335
GROUP BY bucket
