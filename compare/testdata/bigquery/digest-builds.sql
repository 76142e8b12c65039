SELECT build AS id, SUM(`rows`) AS n, MIN(`firstFrame`) AS firstFrame, MAX(`lastFrame`) AS lastFrame
FROM green.digests WHERE stage IN ('raw') AND `first` >= 3 AND `last` <= 33335 AND event IS NOT NULL
GROUP BY id
ORDER BY firstFrame, id
