SELECT o.frame, o.request, o.item, o.event, o.outcome, o.reason, o.digest,
  CASE WHEN BYTE_LENGTH(o.sent) <= 262144 THEN o.sent END AS sent
FROM blue.outcomes AS o
JOIN UNNEST(ARRAY<STRUCT<frame INT64, request INT64, item INT64>>[(12, 1, 0), (13, 0, 2)]) AS w ON o.frame = w.frame AND o.request = w.request AND o.item = w.item
WHERE o.run = 0 AND o.stage = 'o\'hara' AND o.frame BETWEEN 12 AND 13
ORDER BY o.frame, o.request, o.item
