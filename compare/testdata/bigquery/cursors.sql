SELECT stack, stage, frame, request
FROM cursors
WHERE run = 0
ORDER BY stack, stage
