package fake

import (
	"encoding/json"
	"strings"
	"sync"

	bq "google.golang.org/api/bigquery/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
)

// Kind is what goes wrong.
type Kind string

// The kinds of faults. Those above the line are of both APIs.
const (
	RequestLost     Kind = "request lost"    // nothing is done; the connection breaks
	AnswerLost      Kind = "answer lost"     // it is done; the connection breaks before the answer
	Hang            Kind = "hang"            // nothing is done; no answer until the caller hangs up
	AnswerHangs     Kind = "answer hangs"    // it is done; no answer until the caller hangs up
	Quota           Kind = "quota"           // refused for now
	Internal        Kind = "internal error"  // nothing is done
	InternalAfter   Kind = "error after"     // it is done, and the answer says internal error
	Unauthenticated Kind = "unauthenticated" // the token is refused
	Refused         Kind = "refused"         // REST API only: for good, with nothing done

	DeliveredLate Kind = "delivered late"    // AppendRows: the connection breaks, and the request arrives After calls later
	RowsHidden    Kind = "rows hidden"       // AppendRows: the rows can be read After queries later
	Stopped       Kind = "stopped rows"      // AppendRows: one row is refused, so none is stored
	Finalized     Kind = "stream finalized"  // AppendRows: somebody finalised the stream
	StreamGone    Kind = "stream gone"       // AppendRows: there is no such stream any more
	TableHidden   Kind = "table not visible" // AppendRows, CreateWriteStream: the table is not there yet
	SchemaBehind  Kind = "schema behind"     // AppendRows: the table lacks a column, for all the writer knows
	JobFails      Kind = "job fails"         // jobs.insert: the job is made, and fails with nothing done
	Conflict      Kind = "conflict"          // tables.patch: somebody else changed it first
)

// Fault is something that goes wrong with some calls.
type Fault struct {
	Call  string // AppendRows, CreateWriteStream, FinalizeWriteStream, jobs.insert, jobs.query, jobs.get, jobs.getQueryResults, tables.get, tables.patch
	Kind  Kind
	Every int    // each n-th call; 0: each
	Times int    // so often at most; 0: without end
	After int    // of some kinds
	Of    string // jobs.insert: only jobs whose statement has this in it, and no dry runs; empty: all
}

// rule is a fault with its counts; guarded by Server.mu.
type rule struct {
	Fault
	seen, hit int
}

// Set replaces all faults.
func (s *Server) Set(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
	for _, f := range faults {
		s.rules = append(s.rules, &rule{Fault: f})
	}
}

// Hits returns how many calls went wrong since Set.
func (s *Server) Hits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.rules {
		n += r.hit
	}
	return n
}

// strike counts a call, and says what goes wrong with it. body is a REST call's.
func (s *Server) strike(call string, body []byte) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[call]++
	for _, r := range s.rules {
		if r.Call != call || r.Of != "" && !r.means(body) {
			continue
		}
		r.seen++
		if r.Every > 1 && r.seen%r.Every != 0 || r.Times > 0 && r.hit >= r.Times {
			continue
		}
		r.hit++
		f := r.Fault
		return &f
	}
	return &Fault{}
}

// means reports whether a call asks for a job that the fault is about.
func (f *Fault) means(body []byte) bool {
	var in bq.Job
	return json.Unmarshal(body, &in) == nil && in.Configuration != nil && in.Configuration.Query != nil && !in.Configuration.DryRun &&
		strings.Contains(in.Configuration.Query.Query, f.Of)
}

// storageError is an error of the Storage API with its code.
func storageError(c codes.Code, code storagepb.StorageError_StorageErrorCode, entity, message string) error {
	st, err := status.New(c, message).WithDetails(&storagepb.StorageError{Code: code, Entity: entity, ErrorMessage: message})
	if err != nil {
		return err
	}
	return st.Err()
}

var (
	errBroken   = status.Error(codes.Unavailable, "connection reset by fault")
	errQuota    = status.Error(codes.ResourceExhausted, "Exceeds 'AppendRows throughput' quota")
	errInternal = status.Error(codes.Internal, "internal error by fault")
	errToken    = status.Error(codes.Unauthenticated, "Request had invalid authentication credentials.")
)

// before returns the error of a fault that keeps a call from being done.
func (f *Fault) before() error {
	switch f.Kind {
	case RequestLost:
		return errBroken
	case Quota:
		return errQuota
	case Internal:
		return errInternal
	case Unauthenticated:
		return errToken
	}
	return nil
}

// after returns the error of a fault that a call ends with although it was done.
func (f *Fault) after() error {
	switch f.Kind {
	case AnswerLost:
		return errBroken
	case InternalAfter:
		return errInternal
	}
	return nil
}

// lateAppend is a request that is still on its way.
type lateAppend struct {
	calls   int // that pass it
	arrives func()
	once    sync.Once
}

// pass lets requests arrive that are late enough.
func (s *Server) pass() {
	s.mu.Lock()
	var now []*lateAppend
	for _, l := range s.late {
		if l.calls--; l.calls <= 0 {
			now = append(now, l)
		}
	}
	s.mu.Unlock()
	for _, l := range now {
		l.once.Do(l.arrives)
	}
}
