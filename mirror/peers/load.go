package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/bits"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// result is what a turn of load measured. Latencies are in microseconds.
type result struct {
	OK      uint64  // answered 2xx
	Other   uint64  // answered anything else
	Failed  uint64  // no answer
	Seconds float64 // from the first request to the last answer
	P50     float64
	P99     float64
	First   uint64 // ids used: [First, Next)
	Next    uint64
	NotOK   []uint64 // ids without a 2xx
}

func (r result) rate() float64 { return float64(r.OK) / r.Seconds }

// histogram counts latencies in buckets of about 3 %.
type histogram [64 * 32]uint64

func (h *histogram) add(d time.Duration) {
	us := max(uint64(d.Microseconds()), 1)
	top := bits.Len64(us) - 1
	rest := uint64(0)
	if top >= 5 {
		rest = us >> (top - 5) & 31
	} else {
		rest = us << (5 - top) & 31
	}
	h[top*32+int(rest)]++
}

func (h *histogram) quantile(q float64) float64 {
	total := uint64(0)
	for _, n := range h {
		total += n
	}
	rank, seen := uint64(q*float64(total)), uint64(0)
	for i, n := range h {
		if seen += n; seen > rank {
			return float64(uint64(1)<<(i/32)) * (1 + (float64(i%32)+0.5)/32)
		}
	}
	return 0
}

// runLoad posts bodies over raw connections, so that the load costs little beside what it measures, and prints a result
// as JSON.
func runLoad(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	target := f.String("to", "", "host:port")
	connections := f.Int("connections", 1, "")
	length := f.Duration("for", time.Second, "")
	first := f.Uint64("first", 0, "first id")
	fresh := f.Bool("fresh", false, "a connection for each request")
	if err := f.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *length)
	defer cancel()
	var (
		next  atomic.Uint64
		wg    sync.WaitGroup
		mu    sync.Mutex
		sum   histogram
		total = result{First: *first}
	)
	next.Store(*first)
	began := time.Now()
	for i := range *connections {
		wg.Go(func() {
			c := client{target: *target, from: net.IPv4(127, 0, byte(1+i/200), byte(1+i%200)), fresh: *fresh}
			c.run(ctx, &next)
			mu.Lock()
			defer mu.Unlock()
			for b, n := range c.hist {
				sum[b] += n
			}
			total.OK += c.ok
			total.Other += c.other
			total.Failed += c.failed
			total.NotOK = append(total.NotOK, c.notOK...)
		})
	}
	wg.Wait()
	total.Seconds = time.Since(began).Seconds()
	total.Next = next.Load()
	total.P50, total.P99 = sum.quantile(0.5), sum.quantile(0.99)
	return json.NewEncoder(os.Stdout).Encode(total)
}

// client is one connection's worth of load.
type client struct {
	target string
	from   net.IP // several loopback addresses, so that fresh connections do not run out of ports
	fresh  bool

	ok, other, failed uint64
	notOK             []uint64
	hist              histogram
}

// patience bounds one answer: a stalled server must not stall the measurement for ever.
const patience = 20 * time.Second

func (c *client) run(ctx context.Context, next *atomic.Uint64) {
	head := fmt.Appendf(nil, "POST /v1/events?k=dev HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n", c.target, bodySize)
	if c.fresh {
		head = append(head, "Connection: close\r\n"...)
	}
	head = append(head, "\r\n"...)
	request := append(bytes.Clone(head), body(0)...)
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: c.from}, Timeout: patience}
	for ctx.Err() == nil {
		id := next.Add(1) - 1
		patch(request, len(head), id)
		began := time.Now()
		code, err := 0, error(nil)
		if conn == nil {
			if conn, err = dialer.Dial("tcp", c.target); err == nil {
				in = bufio.NewReaderSize(conn, 4096)
			}
		}
		if err == nil {
			conn.SetDeadline(time.Now().Add(patience))
			if _, err = conn.Write(request); err == nil {
				code, err = readAnswer(in)
			}
		}
		if (err != nil || c.fresh) && conn != nil {
			conn.Close()
			conn = nil
		}
		switch {
		case err != nil:
			c.failed++
		case code/100 == 2:
			c.ok++
			c.hist.add(time.Since(began))
			continue
		default:
			c.other++
		}
		c.notOK = append(c.notOK, id)
	}
}

var errAnswer = errors.New("answer is not HTTP/1.1 with a length")

// readAnswer reads one response and returns its status code.
func readAnswer(in *bufio.Reader) (int, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, errAnswer
	}
	code, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, errAnswer
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, errAnswer
			}
		}
	}
	if length < 0 {
		return 0, errAnswer
	}
	_, err = in.Discard(length)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return code, err
}
