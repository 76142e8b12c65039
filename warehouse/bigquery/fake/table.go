package fake

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"github.com/duckdb/duckdb-go/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// table is a table that can be written to.
type table struct {
	dataset, name string
	partition     string // column by whose day it is partitioned
	description   string // guarded by Server.mu, as options, etag and hidden
	options       map[string]string
	etag          int
	hidden        int // how often writers are still told that it is not there

	mu      sync.Mutex
	columns []column // guarded by mu
	held    []held   // guarded by mu: rows that cannot be read yet
	fresh   bool     // guarded by mu: rows were streamed
	settled int64    // guarded by mu: how many rows, in the order of writing, may be changed
	refused int      // guarded by mu: how often a change was refused since
}

type column struct{ name, kind string }

type held struct {
	rows    [][]driver.Value
	queries int
}

// compile makes a message of a writer's schema.
func compile(d *descriptorpb.DescriptorProto) (protoreflect.MessageDescriptor, error) {
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{Name: proto.String("row.proto"), Syntax: proto.String("proto2"), MessageType: []*descriptorpb.DescriptorProto{d}}, nil)
	if err != nil {
		return nil, err
	}
	return file.Messages().Get(0), nil
}

// lacks returns a field that the table has no column for.
func (t *table) lacks(form protoreflect.MessageDescriptor) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range form.Fields().Len() {
		name := string(form.Fields().Get(i).Name())
		found := false
		for _, c := range t.columns {
			found = found || strings.EqualFold(c.name, name)
		}
		if !found {
			return name
		}
	}
	return ""
}

// decode returns the rows' values in the order of the table's columns, and what is wrong with them.
func (t *table) decode(form protoreflect.MessageDescriptor, rows [][]byte, now time.Time) (values [][]driver.Value, bad []*storagepb.RowError) {
	t.mu.Lock()
	columns := t.columns
	t.mu.Unlock()
	for i, data := range rows {
		refuse := func(message string) {
			bad = append(bad, &storagepb.RowError{Index: int64(i), Code: storagepb.RowError_FIELDS_ERROR, Message: message})
		}
		m := dynamicpb.NewMessage(form)
		if err := (proto.UnmarshalOptions{}).Unmarshal(data, m); err != nil {
			refuse(err.Error())
			continue
		}
		if len(m.GetUnknown()) > 0 {
			refuse("unknown fields")
			continue
		}
		row := make([]driver.Value, len(columns))
		for j, c := range columns {
			field := form.Fields().ByName(protoreflect.Name(c.name))
			if field == nil || !m.Has(field) {
				continue
			}
			v := m.Get(field)
			switch c.kind {
			case "INT64":
				row[j] = v.Int()
			case "STRING":
				if !utf8.ValidString(v.String()) {
					refuse("column " + c.name + " is not UTF-8")
				}
				row[j] = v.String()
			case "BYTES":
				row[j] = append([]byte{}, v.Bytes()...)
			case "TIMESTAMP":
				at := time.UnixMicro(v.Int()).UTC()
				if c.name == t.partition && (at.Before(now.AddDate(-10, 0, 0)) || at.After(now.AddDate(1, 0, 0))) {
					refuse(fmt.Sprintf("Value %d for field %s of the destination table is outside the allowed bounds. You can only stream to date range within 3650 days in the past and 366 days in the future relative to the current date.", v.Int(), c.name))
				}
				if y := at.Year(); y < 1 || y > 9999 {
					refuse("column " + c.name + " is no TIMESTAMP")
				}
				row[j] = at
			default:
				refuse("column " + c.name + " has a type that the fake does not know")
			}
		}
		values = append(values, row)
	}
	return values, bad
}

// insert stores rows; hidden is for how many queries they are held back.
func (s *Server) insert(t *table, rows [][]driver.Value, hidden int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if hidden > 0 || len(t.held) > 0 { // in order
		t.held = append(t.held, held{rows, hidden})
		return nil
	}
	return s.insertLocked(t, rows)
}

func (s *Server) insertLocked(t *table, rows [][]driver.Value) error {
	t.fresh = true
	conn, err := s.db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error {
		a, err := duckdb.NewAppender(c.(driver.Conn), s.o.Project, t.dataset, t.name)
		if err != nil {
			return err
		}
		for _, row := range rows {
			padded := make([]driver.Value, len(t.columns)) // columns may have come since
			copy(padded, row)
			if err := a.AppendRow(padded...); err != nil {
				a.Clear()
				a.Close()
				return err
			}
		}
		return a.Close()
	})
}

// reveal counts a query, and stores what was held back long enough.
func (s *Server) reveal() error {
	s.mu.Lock()
	var all []*table
	for _, t := range s.tables {
		all = append(all, t)
	}
	s.mu.Unlock()
	for _, t := range all {
		t.mu.Lock()
		for len(t.held) > 0 {
			t.held[0].queries--
			if t.held[0].queries > 0 {
				break
			}
			if err := s.insertLocked(t, t.held[0].rows); err != nil {
				t.mu.Unlock()
				return err
			}
			t.held = t.held[1:]
		}
		t.mu.Unlock()
	}
	return nil
}
