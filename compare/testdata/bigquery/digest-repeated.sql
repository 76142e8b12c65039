SELECT DIV((`first` - 3), 9) AS bucket
FROM green.digests WHERE stage IN ('o\'hara') AND `first` >= 3 AND `last` <= 1000 AND DIV((`first` - 3), 9) IN (0, 7, 110)
GROUP BY bucket
HAVING SUM(unordered) <> 0
