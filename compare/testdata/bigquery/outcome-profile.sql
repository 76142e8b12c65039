SELECT stage, bucket, COUNT(*) AS n, SUM(mark) AS mark
FROM (
  SELECT stage, DIV((frame - 3), 9) AS bucket,
    CAST((CAST(FARM_FINGERPRINT(TO_JSON_STRING((frame, request, item, event, outcome, CASE WHEN reason = '' OR reason IN ('dry-run', 'not sampled', 'sent again after a crash') THEN '' ELSE REGEXP_EXTRACT(reason, '^[^:]*') END, digest))) AS BIGNUMERIC) + CAST('9223372036854775808' AS BIGNUMERIC)) AS BIGNUMERIC) AS mark
  FROM green.outcomes_log WHERE revision = 0 AND stage IN ('trace', 'ga4', 'o\'hara') AND run = 0 AND frame BETWEEN 3 AND 33335
) AS r
GROUP BY stage, bucket
