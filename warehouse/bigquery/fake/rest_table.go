package fake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	bq "google.golang.org/api/bigquery/v2"
)

func (s *Server) deleteDataset(r *http.Request, path []string, _ []byte) (any, *problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, t := range s.tables {
		if t.dataset == path[3] {
			delete(s.tables, name)
		}
	}
	if _, err := s.db.ExecContext(r.Context(), fmt.Sprintf("DROP SCHEMA %q.%q CASCADE", s.o.Project, path[3])); err != nil {
		return nil, &problem{http.StatusNotFound, "notFound", "Not found: Dataset " + path[3]}
	}
	return struct{}{}, nil
}

func (s *Server) getTable(_ *http.Request, path []string, _ []byte) (any, *problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[path[3]+"."+path[5]]
	if t == nil {
		return nil, &problem{http.StatusNotFound, "notFound", "Not found: Table " + s.o.Project + ":" + path[3] + "." + path[5]}
	}
	return s.describe(t), nil
}

func (s *Server) describe(t *table) *bq.Table {
	out := &bq.Table{
		Id: s.o.Project + ":" + t.dataset + "." + t.name, Type: "TABLE", Description: t.description, Etag: fmt.Sprintf("etag-%d", t.etag), Schema: &bq.TableSchema{},
		TableReference: &bq.TableReference{ProjectId: s.o.Project, DatasetId: t.dataset, TableId: t.name},
	}
	if t.partition != "" {
		days, _ := strconv.ParseInt(t.options["partition_expiration_days"], 10, 64)
		out.TimePartitioning = &bq.TimePartitioning{Type: "DAY", Field: t.partition, ExpirationMs: days * 24 * 3600 * 1000}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.columns {
		kind := c.kind
		if kind == "INT64" {
			kind = "INTEGER"
		}
		out.Schema.Fields = append(out.Schema.Fields, &bq.TableFieldSchema{Name: c.name, Type: kind, Mode: "NULLABLE"})
	}
	return out
}

func (s *Server) patchTable(r *http.Request, path []string, body []byte) (any, *problem) {
	var in bq.Table
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, &problem{http.StatusBadRequest, "invalid", err.Error()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[path[3]+"."+path[5]]
	switch want := r.Header.Get("If-Match"); {
	case t == nil:
		return nil, &problem{http.StatusNotFound, "notFound", "Not found: Table " + path[3] + "." + path[5]}
	case want != "" && want != fmt.Sprintf("etag-%d", t.etag):
		return nil, &problem{http.StatusPreconditionFailed, "conditionNotMet", "Precondition check failed."}
	case len(in.Description) > 16384:
		return nil, &problem{http.StatusBadRequest, "invalid", "Description too long"}
	}
	t.description = in.Description
	t.etag++
	return s.describe(t), nil
}
