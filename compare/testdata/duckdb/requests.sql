SELECT SUM(l) AS live, COALESCE(SUM(liveTail), 0) AS liveSum,
  SUM(c) AS candidate, COALESCE(SUM(candidateTail), 0) AS candidateSum,
  COUNT(*) AS either, COALESCE(SUM(COALESCE(liveTail, candidateTail)), 0) AS eitherSum, COUNT(*) - COUNT(COALESCE(liveTail, candidateTail)) AS badIds
FROM (
  SELECT frame, request, MAX(l) AS l, MAX(c) AS c, MIN(CASE WHEN l = 1 THEN tail END) AS liveTail, MIN(CASE WHEN c = 1 THEN tail END) AS candidateTail
  FROM (
    SELECT frame, request, 1 AS l, 0 AS c, CAST(event_id_tail("eventId") AS HUGEINT) AS tail
    FROM green.raw WHERE run = 0 AND frame BETWEEN 3 AND 1000 AND (frame - 3) // 9 IN (0, 7, 110) AND item = 0
    UNION ALL
    SELECT frame, request, 0 AS l, 1 AS c, CAST(event_id_tail("eventId") AS HUGEINT) AS tail
    FROM blue.raw WHERE run = 0 AND frame BETWEEN 3 AND 1000 AND (frame - 3) // 9 IN (0, 7, 110) AND item = 0
  ) AS r
  GROUP BY frame, request
) AS r
