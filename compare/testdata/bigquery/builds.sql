SELECT COALESCE(build, '') AS id, COUNT(*) AS n, MIN(frame) AS firstFrame, MAX(frame) AS lastFrame
FROM blue.raw
WHERE run = 0 AND frame BETWEEN 3 AND 33335
GROUP BY id
ORDER BY firstFrame, id
