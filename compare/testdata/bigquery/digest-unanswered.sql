SELECT DIV((`first` - 3), 9) AS bucket
FROM green.digests WHERE stage IN ('raw', 'trace') AND `first` >= 3 AND `last` <= 33335
GROUP BY bucket
HAVING SUM(CASE WHEN stage = 'raw' THEN places ELSE -places END) <> 0
ORDER BY bucket
