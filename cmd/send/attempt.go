package send

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// outcome is how one attempt ended.
type outcome struct {
	status  int           // 0: no answer
	id      string        // Sparrow-Request-Id
	wait    time.Duration // Retry-After
	problem string        // why not, for people
}

// again reports whether another attempt may succeed.
func (o outcome) again() bool {
	return o.status == 0 || o.status == http.StatusTooManyRequests || o.status == http.StatusRequestTimeout || o.status >= 500
}

// deliver sends one parcel until it is acknowledged, refused for good, or out of time. No retry begins once feeding has
// ended; hard ends the attempt itself. An error means that nothing else can be sent sensibly.
func (s *Sender) deliver(feeding, hard context.Context, j job) error {
	n := int64(len(j.parcel.events))
	s.sent.Add(n)
	payload, encoding := j.parcel.body, ""
	if s.o.Gzip {
		payload, encoding = compress(payload), "gzip"
	}
	for retry := 0; ; retry++ {
		out := s.attempt(hard, payload, encoding)
		if out.status == http.StatusOK {
			return s.acknowledge(j, out)
		}
		s.noteProblem(out.problem)
		if !out.again() || s.o.Retries >= 0 && retry >= s.o.Retries {
			s.refused.Add(n)
			return nil
		}
		if !pause(feeding, wait(out, retry)) {
			s.interrupted.Add(n)
			return nil
		}
		s.retried.Add(1)
	}
}

func (s *Sender) acknowledge(j job, out outcome) error {
	id, err := requestID(out.id)
	if err != nil {
		s.refused.Add(int64(len(j.parcel.events)))
		s.noteProblem(err.Error())
		return fmt.Errorf("send to %s: %w", s.o.URL, err)
	}
	s.latency.add(time.Since(j.due))
	if s.o.Acks != nil {
		if err := s.o.Acks.add(j.parcel.ids(id), j.parcel.events); err != nil {
			return err
		}
	}
	s.acknowledged.Add(int64(len(j.parcel.events)))
	return nil
}

// attempt makes one request and reads the whole answer.
func (s *Sender) attempt(ctx context.Context, payload []byte, encoding string) outcome {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	s.attempts.Add(1)
	s.bytes.Add(int64(len(payload)))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL, bytes.NewReader(payload))
	if err != nil {
		return outcome{status: http.StatusBadRequest, problem: err.Error()}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.o.UserAgent)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.noteStatus("none")
		var dial *net.OpError
		if !errors.As(err, &dial) || dial.Op != "dial" { // else not a byte was sent
			s.unknown.Add(1)
		}
		return outcome{problem: err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil { // the status line was read, but an answer that breaks off is none
		s.noteStatus("none")
		s.unknown.Add(1)
		return outcome{problem: err.Error()}
	}
	s.noteStatus(strconv.Itoa(resp.StatusCode))
	return outcome{
		status: resp.StatusCode, id: resp.Header.Get("Sparrow-Request-Id"),
		wait: retryAfter(resp.Header.Get("Retry-After"), time.Now()), problem: explain(resp, body),
	}
}

// explain is what the mirror says about a refusal.
func explain(resp *http.Response, body []byte) string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &problem) == nil && problem.Detail != "" {
		return resp.Status + ": " + problem.Detail
	}
	return resp.Status
}

// retryAfter reads the header's seconds or date; 0 if it has none of both.
func retryAfter(header string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(strings.TrimSpace(header)); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), time.Hour)
	}
	return 0
}

// wait is how long to wait before the next attempt: what the mirror asked for, else from 100 ms doubling up to 5 s;
// spread, so that clients that were refused together do not come back together.
func wait(o outcome, retry int) time.Duration {
	d := o.wait
	if d == 0 {
		d = min(100*time.Millisecond<<min(retry, 10), 5*time.Second)
	}
	return d + time.Duration(rand.Int64N(int64(d)/4+1))
}

// pause waits, and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Sender) noteStatus(status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses[status]++
}

func (s *Sender) noteProblem(problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = problem
}

var compressors = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func compress(text []byte) []byte {
	var out bytes.Buffer
	z := compressors.Get().(*gzip.Writer)
	defer compressors.Put(z)
	z.Reset(&out)
	_, _ = z.Write(text) // a buffer takes everything
	_ = z.Close()
	return out.Bytes()
}
