SELECT COUNT(*) AS n
FROM (
  SELECT frame, request, item, LAG(frame) OVER () AS f, LAG(request) OVER () AS q, LAG(item) OVER () AS i
  FROM green.outcomes_log WHERE revision = 0 AND stage IN ('o''hara') AND run = 0 AND frame BETWEEN 3 AND 1000 AND (frame - 3) // 9 IN (0, 7, 110)
) AS r
WHERE NOT (f IS NULL OR frame > f OR frame = f AND (request > q OR request = q AND item > i))
