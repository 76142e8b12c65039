// Package fake is a stand-in for BigQuery's write side, for tests: the REST and Storage Write APIs over real HTTP and
// gRPC, with Google's own messages.
//
// Invariant: what the service promises and refuses, it promises and refuses too: an append is stored whole or not at all,
// offsets are checked, a finalised stream takes nothing any more, a new table may be hidden from writers for a while,
// requests and rows have their limits. It is strict where the service is, and each of its faults can be switched on.
//
// Reading is not BigQuery's: statements are put into DuckDB's words (see translate.go) and answered by a DuckDB in
// memory. What it answers says what the rows are, not that BigQuery would take the statement.
package fake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	_ "github.com/duckdb/duckdb-go/v2" // the driver
	"google.golang.org/grpc"
)

// Options configure Start. Every zero value means its default.
type Options struct {
	Project string                  // the only one there is; "project"
	Token   func(token string) bool // says whether a token is good; nil: none is asked for
	Hidden  int                     // how often writers are told that a new table is not there
	Scanned int64                   // bytes that every query says it scans
	Fresh   int                     // how often a table refuses to have rows changed that were written since it last let them be; 0: never, as BigQuery documents it today
}

// Server is a fake BigQuery.
type Server struct {
	o      Options
	http   *httptest.Server
	grpc   *grpc.Server
	listen net.Listener
	db     *sql.DB

	storagepb.UnimplementedBigQueryWriteServer

	defining sync.Mutex // held while something is made

	mu      sync.Mutex // guards everything below
	tables  map[string]*table
	streams map[string]*stream
	jobs    map[string]*job
	rules   []*rule
	late    []*lateAppend
	serial  int
	ahead   time.Duration // of the machine's clock
	counts  map[string]int
	asked   []string // statements of jobs, in order
}

// Start starts a server on loopback ports of its own.
func Start(o Options) (*Server, error) {
	if o.Project == "" {
		o.Project = "project"
	}
	s := &Server{o: o, tables: map[string]*table{}, streams: map[string]*stream{}, jobs: map[string]*job{}, counts: map[string]int{}}
	var err error
	if s.db, err = sql.Open("duckdb", "?threads=1&autoinstall_known_extensions=false&autoload_known_extensions=false"); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	if s.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	s.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.StreamInterceptor(s.checkStream), grpc.UnaryInterceptor(s.checkUnary))
	storagepb.RegisterBigQueryWriteServer(s.grpc, s)
	go s.grpc.Serve(s.listen) // ended by Stop
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s, nil
}

// prepare makes the project and the functions that DuckDB has not.
func (s *Server) prepare() error {
	conn, err := s.db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	setup := []string{fmt.Sprintf("ATTACH ':memory:' AS %q", s.o.Project), fmt.Sprintf("USE %q", s.o.Project)}
	for _, m := range append(slices.Clone(macros), clock(0)) {
		setup = append(setup, "CREATE MACRO "+m)
	}
	for _, q := range append(setup, "SET GLOBAL enable_external_access = false") {
		if _, err := conn.ExecContext(context.Background(), q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

// REST is the URL of the REST API.
func (s *Server) REST() string { return s.http.URL }

// GRPC is the address of the Storage API, without TLS.
func (s *Server) GRPC() string { return s.listen.Addr().String() }

// Close stops everything, calls in progress included.
func (s *Server) Close() error {
	s.grpc.Stop()
	s.http.CloseClientConnections()
	s.mu.Lock()
	for _, j := range s.jobs {
		j.cancel()
	}
	s.mu.Unlock()
	s.http.Close()
	return s.db.Close()
}

// Calls returns how often a call was made, faults included.
func (s *Server) Calls(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[call]
}

// Statements returns what was asked, dry runs and what a caller asks of the engine left out.
func (s *Server) Statements() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Jobs returns how many query jobs there are whose statement has part in it. A job that is asked for again is one.
func (s *Server) Jobs(part string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, j := range s.jobs {
		if strings.Contains(j.config.Query.Query, part) {
			n++
		}
	}
	return n
}

// Exec runs a statement of DuckDB's on what is stored, for tests that look or interfere from outside.
func (s *Server) Exec(ctx context.Context, statement string) error {
	_, err := s.db.ExecContext(ctx, statement)
	return err
}
