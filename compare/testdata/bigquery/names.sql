SELECT COALESCE(event, '') AS name, COUNT(*) AS n
FROM blue.raw
WHERE run = 0 AND frame BETWEEN 3 AND 33335
GROUP BY name
