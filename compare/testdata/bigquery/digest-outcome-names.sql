SELECT stage, event AS name, build AS id, SUM(`rows`) AS n, MIN(`firstFrame`) AS firstFrame, MAX(`lastFrame`) AS lastFrame,
  SUM(went) AS went, SUM(rehearsed) AS rehearsed, SUM(unseen) AS unseen, SUM(retries) AS retries, SUM(again) AS again,
  SUM(CASE WHEN sink = 'production' THEN 0 WHEN sink <> '' THEN `rows` ELSE attempted END) AS misrouted
FROM green.digests WHERE stage IN ('trace', 'ga4', 'o\'hara') AND `first` >= 3 AND `last` <= 33335 AND event IS NOT NULL
GROUP BY stage, name, id
