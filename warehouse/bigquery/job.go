package bigquery

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	bq "cloud.google.com/go/bigquery"
	"github.com/google/uuid"
	"google.golang.org/api/googleapi"
)

// jobID names a job. Whoever does not know whether the job is there asks for it by the same name again: BigQuery makes one job
// of a name, and answers every other try that it exists (409).
func jobID(what string) string {
	return "sparrow_" + what + "_" + strings.ReplaceAll(uuid.NewString(), "-", "")
}

// submit asks for the job of q.JobID, or takes over the one that an earlier try made: its answer was lost, or the client
// library tried again by itself.
func (e *Engine) submit(ctx context.Context, q *bq.Query) (*bq.Job, error) {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	job, err := q.Run(ctx)
	var api *googleapi.Error
	if errors.As(err, &api) && api.Code == http.StatusConflict {
		return e.rest.JobFromIDLocation(ctx, q.JobID, e.o.Location)
	}
	return job, err
}

// attempt is one try to run a statement that answers nothing to its end. It changes q.JobID only when it knows that the job has
// failed, and so has done nothing: as long as the outcome is unknown, the next attempt is about the same job.
func (e *Engine) attempt(ctx context.Context, q *bq.Query, what string) (*bq.JobStatus, error) {
	if q.JobID == "" {
		q.JobID = jobID(what)
	}
	job, err := e.submit(ctx, q)
	if err != nil {
		return nil, err
	}
	s, err := job.Wait(ctx)
	if err == nil {
		err = s.Err()
	} else {
		s = e.ended(ctx, job) // asking for a failed job's answer fails, and so may asking
	}
	if s != nil && s.Err() != nil {
		q.JobID = ""
	}
	return s, err
}

// ended returns the state of a job that is over; nil if it is not, or that is not known.
func (e *Engine) ended(ctx context.Context, job *bq.Job) *bq.JobStatus {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if s, err := job.Status(ctx); err == nil && s.Done() {
		return s
	}
	return nil
}
