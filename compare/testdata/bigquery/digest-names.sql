SELECT event AS name, SUM(`rows`) AS n
FROM green.digests WHERE stage IN ('raw') AND `first` >= 3 AND `last` <= 33335 AND event IS NOT NULL
GROUP BY name
