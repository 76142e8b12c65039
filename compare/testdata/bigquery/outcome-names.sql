SELECT stage, event AS name, build AS id, COUNT(*) AS n, MIN(frame) AS firstFrame, MAX(frame) AS lastFrame,
  SUM(CASE WHEN digest <> 0 THEN 1 ELSE 0 END) AS went, SUM(CASE WHEN reason IN ('dry-run', 'not sampled') AND digest <> 0 THEN 1 ELSE 0 END) AS rehearsed, SUM(CASE WHEN reason IN ('dry-run', 'not sampled') AND digest = 0 THEN 1 ELSE 0 END) AS unseen,
  SUM(CASE WHEN attempts > 1 THEN attempts - 1 ELSE 0 END) AS retries, SUM(CASE WHEN reason IN ('sent again after a crash') THEN 1 ELSE 0 END) AS again, SUM(CASE WHEN sink <> 'production' AND (sink <> '' OR attempts > 0) THEN 1 ELSE 0 END) AS misrouted
FROM green.outcomes_log WHERE revision = 0 AND stage IN ('trace', 'ga4', 'o\'hara') AND run = 0 AND frame BETWEEN 3 AND 33335
GROUP BY stage, name, id
