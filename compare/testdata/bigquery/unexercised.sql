SELECT event, COUNT(*) AS n, UNIX_MICROS(MAX(seen)) AS lastSeen
FROM (
  SELECT COALESCE(event, '') AS event, `timestamp` AS seen FROM green.raw
  WHERE run = 0 AND `timestamp` >= TIMESTAMP_MICROS(1790000000000000) AND (frame < 3 OR frame > 33335)
  UNION ALL
  SELECT COALESCE(event, '') AS event, `timestamp` AS seen FROM blue.raw
  WHERE run = 0 AND `timestamp` >= TIMESTAMP_MICROS(1790000000000000) AND (frame < 3 OR frame > 33335)
) AS r
GROUP BY event
ORDER BY n DESC, event
