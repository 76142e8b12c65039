package fake

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

// page is how many rows an answer has at most.
const page = 5000

// serve answers the REST API.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	path := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, "/bigquery/v2"), "/"), "/")
	call, handler := s.route(r.Method, path)
	if handler == nil {
		refuse(w, &problem{http.StatusNotFound, "notFound", "the fake has no " + r.Method + " " + r.URL.Path})
		return
	}
	if s.o.Token != nil && !s.o.Token(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		refuse(w, &problem{http.StatusUnauthorized, "authError", "Invalid Credentials"})
		return
	}
	f := s.strike(call, body)
	switch f.Kind {
	case RequestLost:
		panic(http.ErrAbortHandler)
	case Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case Quota:
		refuse(w, &problem{http.StatusForbidden, "rateLimitExceeded", "Exceeded rate limits"})
		return
	case Internal:
		refuse(w, &problem{http.StatusServiceUnavailable, "backendError", "Error encountered during execution. Retrying may solve the problem."})
		return
	case Unauthenticated:
		refuse(w, &problem{http.StatusUnauthorized, "authError", "Invalid Credentials"})
		return
	case JobFails:
		handler = s.insertFailing
	case Refused:
		refuse(w, &problem{http.StatusBadRequest, "invalid", "refused by fault"})
		return
	case Conflict:
		refuse(w, &problem{http.StatusPreconditionFailed, "conditionNotMet", "Precondition check failed."})
		return
	}
	answer, p := handler(r, path, body)
	switch f.Kind {
	case AnswerLost:
		panic(http.ErrAbortHandler)
	case AnswerHangs:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case InternalAfter:
		p = &problem{http.StatusServiceUnavailable, "backendError", "Error encountered during execution. Retrying may solve the problem."}
	}
	if p != nil {
		refuse(w, p)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

type handler func(r *http.Request, path []string, body []byte) (any, *problem)

// route finds what a path is about: projects/P/jobs, …/jobs/J, …/jobs/J/cancel, …/queries, …/queries/J and
// …/datasets/D/tables/T.
func (s *Server) route(method string, path []string) (string, handler) {
	if len(path) < 3 || path[0] != "projects" || path[1] != s.o.Project {
		return "", nil
	}
	switch key := fmt.Sprintf("%s %s %d", method, path[2], len(path)); key {
	case "POST jobs 3":
		return "jobs.insert", s.insertJob
	case "GET jobs 4":
		return "jobs.get", s.getJob
	case "POST jobs 5":
		return "jobs.cancel", s.cancelJob
	case "POST queries 3":
		return "jobs.query", s.query
	case "GET queries 4":
		return "jobs.getQueryResults", s.results
	case "DELETE datasets 4":
		return "datasets.delete", s.deleteDataset
	case "GET datasets 6":
		return "tables.get", s.getTable
	case "PATCH datasets 6":
		return "tables.patch", s.patchTable
	}
	return "", nil
}

func refuse(w http.ResponseWriter, p *problem) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.code)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": p.code, "message": p.message, "errors": []map[string]string{{"reason": p.reason, "message": p.message, "domain": "global"}},
	}})
}

func (s *Server) insertJob(r *http.Request, _ []string, body []byte) (any, *problem) {
	return s.addJob(r, body, nil)
}

func (s *Server) insertFailing(r *http.Request, _ []string, body []byte) (any, *problem) {
	return s.addJob(r, body, &problem{http.StatusBadRequest, "jobBackendError", "The job encountered an error during execution. Retrying the job may solve the problem."})
}

// addJob makes a job, which fails with fault if there is one.
func (s *Server) addJob(r *http.Request, body []byte, fault *problem) (any, *problem) {
	var in bq.Job
	if err := json.Unmarshal(body, &in); err != nil || in.Configuration == nil || in.Configuration.Query == nil {
		return nil, &problem{http.StatusBadRequest, "invalid", "the fake has query jobs only"}
	}
	nullParameters(body, in.Configuration.Query.QueryParameters)
	st, p := s.check(r.Context(), in.Configuration.Query)
	if in.Configuration.DryRun {
		if p != nil {
			return nil, p
		}
		in.Status = &bq.JobStatus{State: "DONE"}
		in.Statistics = s.statistics(st.kind)
		return in, nil
	}
	if fault != nil {
		p = fault
	}
	j := &job{config: in.Configuration, done: make(chan struct{})}
	if st != nil {
		j.kind = st.kind
	}
	if in.JobReference != nil {
		j.id = in.JobReference.JobId
	}
	s.mu.Lock()
	if j.id == "" {
		s.serial++
		j.id = fmt.Sprintf("job_%d", s.serial)
	}
	if s.jobs[j.id] != nil {
		s.mu.Unlock()
		return nil, &problem{http.StatusConflict, "duplicate", "Already Exists: Job " + s.o.Project + ":US." + j.id}
	}
	if !strings.HasPrefix(j.id, "sparrow_query_") {
		s.asked = append(s.asked, in.Configuration.Query.Query)
	}
	if p == nil {
		s.start(j, st)
	} else {
		j.err, j.cancel = &bq.ErrorProto{Reason: p.reason, Message: p.message}, func() {}
		close(j.done)
	}
	s.jobs[j.id] = j
	s.mu.Unlock()
	return s.resource(j), nil
}

// nullParameters notes which parameters are null: encoding/json makes an empty text of them.
func nullParameters(body []byte, parameters []*bq.QueryParameter) {
	var in struct {
		Configuration struct {
			Query struct {
				QueryParameters []struct{ ParameterValue map[string]any }
			}
		}
	}
	if json.Unmarshal(body, &in) != nil {
		return
	}
	for i, p := range in.Configuration.Query.QueryParameters {
		if v, ok := p.ParameterValue["value"]; (!ok || v == nil) && i < len(parameters) {
			if parameters[i].ParameterValue == nil {
				parameters[i].ParameterValue = &bq.QueryParameterValue{}
			}
			parameters[i].ParameterValue.NullFields = []string{"Value"}
		}
	}
}

func (s *Server) statistics(kind string) *bq.JobStatistics {
	return &bq.JobStatistics{TotalBytesProcessed: s.o.Scanned, Query: &bq.JobStatistics2{StatementType: kind, TotalBytesProcessed: s.o.Scanned, TotalBytesBilled: s.o.Scanned}}
}

func (s *Server) resource(j *job) *bq.Job {
	out := &bq.Job{
		Id: s.o.Project + ":US." + j.id, Configuration: j.config, Status: &bq.JobStatus{State: "RUNNING"}, Statistics: s.statistics(j.kind),
		JobReference: &bq.JobReference{ProjectId: s.o.Project, JobId: j.id, Location: "US"},
	}
	select {
	case <-j.done:
		out.Status.State = "DONE"
		if j.err != nil {
			out.Status.ErrorResult, out.Status.Errors = j.err, []*bq.ErrorProto{j.err}
		}
	default:
	}
	return out
}

func (s *Server) find(id string) (*job, *problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		return j, nil
	}
	return nil, &problem{http.StatusNotFound, "notFound", "Not found: Job " + id}
}

func (s *Server) getJob(_ *http.Request, path []string, _ []byte) (any, *problem) {
	j, p := s.find(path[3])
	if p != nil {
		return nil, p
	}
	return s.resource(j), nil
}

func (s *Server) cancelJob(_ *http.Request, path []string, _ []byte) (any, *problem) {
	j, p := s.find(path[3])
	if p != nil {
		return nil, p
	}
	j.cancel()
	return &bq.JobCancelResponse{Job: s.resource(j)}, nil
}

// query answers jobs.query: it waits for the answer.
func (s *Server) query(r *http.Request, _ []string, body []byte) (any, *problem) {
	var in bq.QueryRequest
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, &problem{http.StatusBadRequest, "invalid", err.Error()}
	}
	config := &bq.JobConfigurationQuery{Query: in.Query, DefaultDataset: in.DefaultDataset, QueryParameters: in.QueryParameters, MaximumBytesBilled: in.MaximumBytesBilled}
	st, p := s.check(r.Context(), config)
	if p != nil {
		return nil, p
	}
	j := &job{config: &bq.JobConfiguration{Query: config}, kind: st.kind, done: make(chan struct{})}
	s.mu.Lock()
	s.asked = append(s.asked, in.Query)
	s.serial++
	j.id = fmt.Sprintf("job_%d", s.serial)
	s.jobs[j.id] = j
	s.start(j, st)
	s.mu.Unlock()
	return s.answer(r, j, 0)
}

func (s *Server) results(r *http.Request, path []string, _ []byte) (any, *problem) {
	j, p := s.find(path[3])
	if p != nil {
		return nil, p
	}
	first, err := strconv.Atoi(r.URL.Query().Get("pageToken"))
	if err != nil {
		first = 0
	}
	return s.answer(r, j, first)
}

// answer returns a page of a job's answer, or that it is not complete yet.
func (s *Server) answer(r *http.Request, j *job, first int) (any, *problem) {
	out := &bq.GetQueryResultsResponse{JobReference: &bq.JobReference{ProjectId: s.o.Project, JobId: j.id, Location: "US"}}
	wait := time.NewTimer(time.Second)
	defer wait.Stop()
	select {
	case <-j.done:
	case <-wait.C:
		return out, nil
	case <-r.Context().Done():
		return out, nil
	}
	if j.err != nil {
		return nil, &problem{http.StatusBadRequest, j.err.Reason, j.err.Message}
	}
	out.JobComplete, out.Schema, out.TotalRows = true, j.schema, uint64(len(j.rows))
	if r.URL.Query().Get("maxResults") == "0" {
		return out, nil
	}
	last := min(len(j.rows), first+page)
	out.Rows = j.rows[first:last]
	if last < len(j.rows) {
		out.PageToken = strconv.Itoa(last)
	}
	return out, nil
}
