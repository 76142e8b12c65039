package fake

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"
)

// Option returns an option that a table has; empty: it has not.
func (s *Server) Option(dataset, table, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[dataset+"."+table]; t != nil {
		return t.options[name]
	}
	return ""
}

// setOptions adds to a table's options.
func (s *Server) setOptions(d *ddl) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[d.dataset+"."+d.table]
	if t == nil {
		return &problem{404, "notFound", "Not found: Table " + d.dataset + "." + d.table}
	}
	next := maps.Clone(t.options)
	if next == nil {
		next = map[string]string{}
	}
	maps.Copy(next, d.options)
	t.options = next
	t.etag++
	return nil
}

// Advance sets the server's clock forward, by which CURRENT_TIMESTAMP and what expires go.
func (s *Server) Advance(ctx context.Context, by time.Duration) error {
	s.mu.Lock()
	s.ahead += by
	ahead := s.ahead
	s.mu.Unlock()
	return s.Exec(ctx, fmt.Sprintf("CREATE OR REPLACE MACRO %q.main.%s", s.o.Project, clock(ahead)))
}

// clock is the macro that CURRENT_TIMESTAMP is.
func clock(ahead time.Duration) string {
	return fmt.Sprintf("clock() AS make_timestamp(epoch_us(now()) + %d)", ahead.Microseconds())
}

func (s *Server) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

// expire deletes the days that have expired, as the service does by itself. A partition expires so many days after its
// beginning; that of NULL has none, and never does.
func (s *Server) expire(ctx context.Context) error {
	now := s.now().UTC()
	s.mu.Lock()
	last := map[*table]string{} // day
	for _, t := range s.tables {
		if days, _ := strconv.Atoi(t.options["partition_expiration_days"]); days > 0 && t.partition != "" {
			last[t] = now.AddDate(0, 0, -days).Format(time.DateOnly)
		}
	}
	s.mu.Unlock()
	for t, day := range last {
		if err := s.expireTable(ctx, t, day); err != nil {
			return err
		}
	}
	return nil
}

// expireTable deletes a table's rows of a day and of those before it.
func (s *Server) expireTable(ctx context.Context, t *table, day string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	what := fmt.Sprintf("FROM %q.%q.%q WHERE CAST(%q AS DATE) <= DATE '%s'", s.o.Project, t.dataset, t.name, t.partition, day)
	var any bool
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) > 0 "+what).Scan(&any); err != nil || !any {
		return err
	}
	return s.Exec(ctx, "DELETE "+what)
}
