SELECT bucket, COUNT(*) AS n, SUM(digest) AS digest, SUM(first) AS requests, SUM(owed) AS owed,
  COALESCE(SUM(tail), 0) AS idSum, SUM(first) - COUNT(tail) AS badIds
FROM (
  SELECT (frame - 3) // 9 AS bucket, CAST(hash(hash(frame, request, item, "eventId", "timestamp", event, data, "dataBytes", "itemsInRequest", context)) AS HUGEINT) AS digest,
    CASE WHEN item = 0 THEN 1 ELSE 0 END AS first,
    CASE WHEN item = 0 THEN GREATEST("itemsInRequest", 1) ELSE 0 END AS owed,
    CASE WHEN item = 0 THEN CAST(event_id_tail("eventId") AS HUGEINT) END AS tail
  FROM green.raw
  WHERE run = 0 AND frame BETWEEN 3 AND 33335
) AS r
GROUP BY bucket
