package saved

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/warehouse"
)

var (
	// moment is where a GoogleSQL form takes an interval: as the moment so long before now, so that BigQuery knows which
	// days to read.
	moment   = regexp.MustCompile(`TIMESTAMP_MICROS\(\{([a-z]+)\}\)`)
	datasets = regexp.MustCompile(`\b(live|staging|green|blue)\.(raw|outcomes|raw_normalized)\b`)
	period   = regexp.MustCompile(`(?i)^\s*([0-9]{1,9})\s*(second|minute|hour|day|week)s?\b`)
)

// In is the query in the words of a dialect.
func (q Query) In(d warehouse.Dialect) Query {
	q.dialect = d
	if d.Google {
		q.text = datasets.ReplaceAllString(q.google, d.Prefix+"$1.$2")
	}
	return q
}

// ago is an interval such as "1 day" or "2 hours 30 minutes".
func ago(text string) (time.Duration, error) {
	units := map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour}
	total, rest := time.Duration(0), text
	for strings.TrimSpace(rest) != "" {
		m := period.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		n, _ := strconv.Atoi(m[1])
		if unit := units[strings.ToLower(m[2])]; time.Duration(n) <= 36_500*24*time.Hour/unit {
			total += time.Duration(n) * unit
			rest = rest[len(m[0]):]
			continue
		}
		break
	}
	if total <= 0 || strings.TrimSpace(rest) != "" {
		return 0, fmt.Errorf("%.80q: want an interval such as 15 minutes, 2 hours or 7 days", text)
	}
	return total, nil
}

// moments puts moments in the place of intervals, as write spells each.
func (q Query) moments(values map[string]string, write func(ago time.Duration) string) (sql string, err error) {
	sql = moment.ReplaceAllStringFunc(q.text, func(call string) string {
		d, bad := ago(q.value(moment.FindStringSubmatch(call)[1], values))
		if bad != nil && err == nil {
			err = fmt.Errorf("%s: %w", q.Name, bad)
		}
		return write(d)
	})
	return sql, err
}
