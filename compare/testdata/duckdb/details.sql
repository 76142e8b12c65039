SELECT r.frame, r.request, r.item, r."eventId", epoch_us(r."timestamp") AS received, r.event,
  hash(hash(r."eventId")), hash(hash(r."timestamp")), hash(hash(r.event)), hash(hash(r.data)), hash(hash(r."dataBytes")), hash(hash(r."itemsInRequest")), hash(hash(r.context)),
  CASE WHEN strlen(r.data) <= 262144 THEN r.data END AS data,
  CASE WHEN strlen(r.context) <= 262144 THEN r.context END AS context
FROM blue.raw AS r
JOIN (VALUES (12, 1, 0), (13, 0, 2)) AS w(frame, request, item) ON r.frame = w.frame AND r.request = w.request AND r.item = w.item
WHERE r.run = 0 AND r.frame BETWEEN 12 AND 13
ORDER BY r.frame, r.request, r.item
