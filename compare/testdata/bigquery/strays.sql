SELECT kind, stage, name, frame, request, item, sink
FROM (
  SELECT kind, stage, name, frame, request, item, sink,
    ROW_NUMBER() OVER (PARTITION BY kind, stage, name ORDER BY frame, request, item) AS place
  FROM (
    SELECT 1 AS kind, stage, event AS name, frame, request, item, sink
    FROM blue.outcomes_log WHERE revision = 0 AND stage IN ('trace', 'ga4', 'o\'hara') AND run = 0 AND frame BETWEEN 3 AND 33335 AND sink <> 'staging' AND (sink <> '' OR attempts > 0)
    UNION ALL
    SELECT 2 AS kind, stage, event AS name, frame, request, item, sink
    FROM blue.outcomes_log WHERE revision = 0 AND stage IN ('trace', 'ga4', 'o\'hara') AND run = 0 AND frame BETWEEN 3 AND 33335 AND reason IN ('sent again after a crash')
  ) AS r
) AS s
WHERE place <= 5
ORDER BY kind, stage, name, frame, request, item
