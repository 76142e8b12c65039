SELECT `table`, CAST(MAX(`day`) AS STRING) AS through, MAX(`last`) AS last
FROM expired
WHERE `last` >= 3 AND `first` <= 33335
GROUP BY `table`
ORDER BY `table` DESC
