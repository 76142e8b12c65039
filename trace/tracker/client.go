package tracker

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// maxAnswer is what is read of an answer: Amplitude names up to 2,000 events in it, by several fields.
const maxAnswer = 1 << 20

// quick is how often go-retryablehttp repeats a call by itself: a connection that was closed while idle, a server that
// is replaced. What lasts longer is an outage, which is every call's affair: see docs/decisions/0011-trackers.md.
const quick = 2

// client makes calls to one sink, over connections of its own.
type client struct {
	http      *retryablehttp.Client
	transport *http.Transport
}

// newClient returns a client whose every attempt goes through what over makes of the transport. failing says whether
// others have found the vendor failing; then nothing is repeated.
func newClient(o *Options, over func(http.RoundTripper) http.RoundTripper, failing func() bool) *client {
	c := &client{transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: min(10*time.Second, o.Timeout), KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          o.Calls,
		MaxIdleConnsPerHost:   o.Calls,
		ResponseHeaderTimeout: o.Timeout,
		DisableCompression:    true,
		ForceAttemptHTTP2:     true,
		WriteBufferSize:       16 << 10,
	}}
	c.http = retryablehttp.NewClient()
	c.http.HTTPClient = &http.Client{
		Transport:     over(c.transport),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       o.Timeout,
	}
	c.http.Logger = nil // it would log URLs
	c.http.RetryMax = quick
	c.http.RetryWaitMin, c.http.RetryWaitMax = min(o.RetryMin/2, 100*time.Millisecond), o.RetryMin
	c.http.Backoff = func(least, most time.Duration, attempt int, _ *http.Response) time.Duration {
		return jitter(retryablehttp.DefaultBackoff(least, most, attempt, nil))
	}
	c.http.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if ctx.Err() != nil || failing() || isTimeout(err) {
			return false, nil
		}
		if err != nil {
			return true, nil
		}
		// What asks us to wait, or may name events, is for the caller to judge.
		return resp.StatusCode >= 500 && resp.Header.Get("Retry-After") == "", nil
	}
	c.http.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return c
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// post sends one request, repeating it a little, and reads the answer. An error is without URL and secrets.
func (c *client) post(ctx context.Context, u *url.URL, header http.Header, body []byte) (*Answer, error) {
	r := (&http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	req := &retryablehttp.Request{Request: r}
	if err := req.SetBody(body); err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return nil, bare(err)
	}
	a := &Answer{Status: resp.StatusCode, Header: resp.Header}
	a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a.Cut = err != nil
	resp.Body.Close()
	return a, nil
}

// bare takes the URL out of what net/http says: a secret may be in it.
func bare(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}

// parseURL is url.Parse with errors that do not repeat the URL.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	return u, bare(err)
}

// trouble puts a failed attempt in words that label a metric.
func trouble(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, errNotHTTPS):
		return errNotHTTPS.Error()
	case isTimeout(err):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	case errors.As(err, &dns):
		return "name not found"
	}
	return "no connection"
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// jitter returns between half of d and d, so that what failed together is not tried again together.
func jitter(d time.Duration) time.Duration {
	if d <= 1 {
		return d
	}
	return d/2 + rand.N(d/2+1)
}

// wait is how long to leave a vendor alone after so many failures in a row, and an answer that may name a time.
func (o *Options) wait(failures int, a *Answer) time.Duration {
	d := jitter(retryablehttp.DefaultBackoff(o.RetryMin, o.RetryMax, failures-1, nil))
	if a != nil {
		if asked, ok := retryAfter(a.Header.Get("Retry-After"), o.Clock()); ok {
			d = max(d, min(asked, o.RetryAfterMax)+jitter(o.RetryMin))
		}
	}
	return d
}

// retryAfter reads seconds or a date.
func retryAfter(text string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(min(max(n, 0), 1<<31)) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}
