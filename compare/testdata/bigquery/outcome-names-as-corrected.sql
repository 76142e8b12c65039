SELECT stage, event AS name, build AS id, COUNT(*) AS n, MIN(frame) AS firstFrame, MAX(frame) AS lastFrame,
  SUM(CASE WHEN digest <> 0 THEN 1 ELSE 0 END) AS went, SUM(CASE WHEN reason IN ('dry-run', 'not sampled') AND digest <> 0 THEN 1 ELSE 0 END) AS rehearsed, SUM(CASE WHEN reason IN ('dry-run', 'not sampled') AND digest = 0 THEN 1 ELSE 0 END) AS unseen,
  SUM(CASE WHEN attempts > 1 THEN attempts - 1 ELSE 0 END) AS retries, SUM(CASE WHEN reason IN ('sent again after a crash') THEN 1 ELSE 0 END) AS again, SUM(CASE WHEN sink <> 'staging' AND (sink <> '' OR attempts > 0) THEN 1 ELSE 0 END) AS misrouted
FROM blue.outcomes WHERE stage IN ('trace', 'ga4', 'o\'hara') AND run = 0 AND frame BETWEEN 3 AND 1000 AND DIV((frame - 3), 9) IN (0, 7, 110)
GROUP BY stage, name, id
