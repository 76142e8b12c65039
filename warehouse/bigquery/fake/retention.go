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

// Expire deletes the days that have expired at now: the service does so by itself. A partition expires so many days after
// its beginning; that of NULL has none, and never does.
func (s *Server) Expire(ctx context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		days, _ := strconv.Atoi(t.options["partition_expiration_days"])
		if days == 0 || t.partition == "" {
			continue
		}
		last := now.UTC().AddDate(0, 0, -days).Format(time.DateOnly)
		if _, err := s.db.ExecContext(ctx, fmt.Sprintf("DELETE FROM %q.%q.%q WHERE CAST(%q AS DATE) <= DATE '%s'", s.o.Project, t.dataset, t.name, t.partition, last)); err != nil {
			return err
		}
	}
	return nil
}
