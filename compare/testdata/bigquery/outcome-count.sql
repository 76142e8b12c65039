SELECT COUNT(*) AS n FROM green.outcomes_log WHERE revision = 0 AND stage IN ('trace', 'ga4', 'o\'hara') AND run = 0 AND frame BETWEEN 3 AND 33335
