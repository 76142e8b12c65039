SELECT kind, COALESCE(MIN(`from`), 0) AS since, COALESCE(MAX(`to`), 0) AS until, SUM(CASE WHEN `first` IS NULL OR `from` IS NULL OR odd > 0 THEN 1 ELSE 0 END) AS untold
FROM (
  SELECT CASE WHEN stage = 'raw' THEN 'raw' ELSE '' END AS kind, `first`, `from`, `to`, odd
  FROM spans
  WHERE run = 0 AND `last` >= 3 AND (`first` <= 33335 OR `first` IS NULL) AND stack IN ('green', 'blue')
) AS r
GROUP BY kind
