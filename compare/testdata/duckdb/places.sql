SELECT bucket
FROM (
  SELECT (frame - 3) // 9 AS bucket, CAST(hash(hash(frame, request, item)) AS HUGEINT) AS taken, CAST(0 AS HUGEINT) AS owed
  FROM green.raw
  WHERE run = 0 AND frame BETWEEN 3 AND 33335 AND NOT (item = 0 AND "itemsInRequest" <= 1)
  UNION ALL
  SELECT (frame - 3) // 9, CAST(0 AS HUGEINT), CAST(hash(hash(frame, request, CAST(owedItem AS INTEGER))) AS HUGEINT)
  FROM green.raw, UNNEST(range("itemsInRequest")) AS numbers(owedItem)
  WHERE run = 0 AND frame BETWEEN 3 AND 33335 AND item = 0 AND "itemsInRequest" > 1
) AS r
GROUP BY bucket
HAVING SUM(taken) <> SUM(owed)
ORDER BY bucket
