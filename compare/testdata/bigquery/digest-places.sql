SELECT DIV((`first` - 3), 9) AS bucket
FROM green.digests WHERE stage IN ('raw') AND `first` >= 3 AND `last` <= 33335
GROUP BY bucket
HAVING SUM(unplaced) <> 0 OR SUM(unordered) <> 0
ORDER BY bucket
