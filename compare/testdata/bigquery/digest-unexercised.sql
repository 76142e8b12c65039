SELECT event, SUM(n) AS events, MAX(seen) AS lastSeen
FROM (
  SELECT event, `rows` AS n, `lastAt` AS seen FROM green.digests
  WHERE stage = 'raw' AND event IS NOT NULL AND `lastAt` >= 1790000000000000 AND `lastAt` < 1790000900000000 AND (`last` < 3 OR `first` > 33335)
  UNION ALL
  SELECT event, `rows` AS n, `lastAt` AS seen FROM blue.digests
  WHERE stage = 'raw' AND event IS NOT NULL AND `lastAt` >= 1790000000000000 AND `lastAt` < 1790000900000000 AND (`last` < 3 OR `first` > 33335)
) AS r
GROUP BY event
