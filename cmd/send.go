package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/send"
	"github.com/sparrowhq/sparrow/cmd/terminal"
)

type sendFlags struct {
	input, acks, url string
	repeat, generate int
	seed             uint64
	o                send.Options
}

func (p *program) send() *cobra.Command {
	var f sendFlags
	c := &cobra.Command{
		Use:   "send",
		Short: "Send events as a client would, and list what was acknowledged",
		Long: `Send events as a client would: each line of the input is the body of one POST /v1/events.

What is refused for the moment (503, 429, no answer) is sent again, as a new request with a new id. With --acks, each
acknowledged event is listed as "eventId<TAB>line number". The exit status is 1 if anything was not acknowledged.`,
		Example: `  sparrow send --generate 1000
  sparrow send --input events.ndjson --rate 500 --acks acknowledged.tsv
  zcat events.ndjson.gz | sparrow send --input - --batch 50 --gzip`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.runSend(c.Context(), &f) },
	}
	g := c.Flags()
	g.StringVar(&f.input, "input", "", "file with one event a line; - for standard input")
	g.IntVar(&f.generate, "generate", 0, "send this many made-up events instead")
	g.Uint64Var(&f.seed, "seed", 1, "of the made-up events: the same seed gives the same events")
	g.IntVar(&f.repeat, "repeat", 1, "times to send the input")
	g.Float64Var(&f.o.Rate, "rate", 0, "events a second (default: as fast as they are acknowledged)")
	g.IntVar(&f.o.Connections, "connections", 8, "requests under way at once")
	g.IntVar(&f.o.Batch, "batch", 0, "events to a request, as a JSON array (default: each line is a body)")
	g.BoolVar(&f.o.Gzip, "gzip", false, "compress bodies")
	g.DurationVar(&f.o.Duration, "duration", 0, "stop after this long (default: at the end of the input)")
	g.IntVar(&f.o.Retries, "retries", 20, "further attempts of a request that got no answer or was put off; -1: without limit")
	g.DurationVar(&f.o.Timeout, "timeout", 30*time.Second, "of one attempt")
	g.StringVar(&f.acks, "acks", "", "file for the list of acknowledged events")
	g.StringVar(&f.url, "url", "", "address of the mirror for clients (default: by --data)")
	g.StringVar(&f.o.Key, "key", "dev", "write key")
	g.BoolVar(&p.plain, "plain", false, "no progress bar")
	p.jsonFlag(c)
	return c
}

// input is what is to be sent, and how far it has been read.
type input struct {
	source send.Source
	size   int64        // in all, in bytes or events; 0: unknown
	read   atomic.Int64 // bytes; of made-up events the sender's own count says it
	file   *os.File     // open; nil: none
}

func (p *program) input(f *sendFlags) (*input, error) {
	in := &input{}
	switch {
	case f.generate < 0 || f.repeat < 1:
		return nil, usage("--generate %d, --repeat %d: want at least 1", f.generate, f.repeat)
	case (f.input == "") == (f.generate == 0):
		return nil, usage("say what to send: either --input FILE (- for standard input) or --generate N")
	case f.generate > 0:
		if f.repeat > 1 {
			return nil, usage("--repeat goes with --input: made-up events are as many as you like")
		}
		in.source, in.size = send.Generate(f.seed, f.generate), int64(f.generate)
		return in, nil
	case f.input == "-":
		if f.repeat > 1 {
			return nil, usage("--repeat: standard input can be read only once")
		}
		in.source = send.Lines(p.Stdin)
		return in, nil
	}
	file, err := os.Open(f.input)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	in.file = file
	if info, err := file.Stat(); err == nil {
		in.size = info.Size() * int64(f.repeat)
	}
	in.source = send.Repeat(f.repeat, func() (io.Reader, error) {
		if _, err := file.Seek(0, io.SeekStart); err != nil && f.repeat > 1 {
			return nil, err // a pipe can be read only once
		}
		return in, nil
	})
	return in, nil
}

// Read reads the file and counts.
func (in *input) Read(b []byte) (int, error) {
	n, err := in.file.Read(b)
	in.read.Add(int64(n))
	return n, err
}

func (p *program) runSend(ctx context.Context, f *sendFlags) (err error) {
	in, err := p.input(f)
	if err != nil {
		return err
	}
	if in.file != nil {
		defer in.file.Close()
	}
	f.o.Source = in.source
	f.o.UserAgent = "sparrow-send/" + readBuildInfo().Version
	if f.o.URL = f.url; f.url == "" {
		found, err := p.find()
		if err != nil {
			return err
		}
		if found.dir == "" {
			return usage("SPARROW_SERVER names the operators' side of another machine: name its address for clients with --url")
		}
		f.o.URL = found.endpoints.Clients
	}
	if f.acks != "" {
		if f.o.Acks, err = send.CreateAcks(f.acks); err != nil {
			return err
		}
	}
	s, err := send.New(f.o)
	if err != nil {
		return usage("%v", err)
	}
	stop := p.showProgress(s, in, f.generate > 0)
	sum, err := s.Run(ctx)
	stop()
	if f.o.Acks != nil {
		err = errors.Join(err, f.o.Acks.Close())
	}
	if p.json {
		err = errors.Join(err, p.printJSON(sum))
	} else {
		printSummary(p.Stdout, sum)
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %s", notAcknowledged(sum))
	case !sum.Complete():
		return fmt.Errorf("%s; the last reason: %s", notAcknowledged(sum), terminal.Printable(sum.Problem))
	}
	return nil
}

func notAcknowledged(s send.Summary) string {
	if s.Complete() {
		return "the rest of the input was not sent"
	}
	text := fmt.Sprintf("%s of %s events were not acknowledged", terminal.Count(s.Sent-s.Acknowledged), terminal.Count(s.Sent))
	if s.Unknown > 0 {
		text += fmt.Sprintf("; %s requests got no answer and may have been accepted all the same", terminal.Count(s.Unknown))
	}
	return text
}

func printSummary(w io.Writer, s send.Summary) {
	tell(w, "%s of %s events acknowledged in %s: %s/s; answers after %.1f ms (median), %.1f ms (99 %%), %.1f ms (longest)\n",
		terminal.Count(s.Acknowledged), terminal.Count(s.Sent), terminal.Elapsed(time.Duration(s.Seconds*float64(time.Second))),
		terminal.Count(int64(s.Rate)), s.P50, s.P99, s.Max)
	if s.Attempts == s.Statuses["200"] {
		return
	}
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(s.Statuses)) {
		name := status
		if status == "none" {
			name = "no answer"
		}
		parts = append(parts, fmt.Sprintf("%s: %s", name, terminal.Count(s.Statuses[status])))
	}
	tell(w, "%s requests, of them again %s; answers %s\n", terminal.Count(s.Attempts), terminal.Count(s.Retried), strings.Join(parts, ", "))
}

// showProgress shows a bar on a terminal until the returned function is called.
func (p *program) showProgress(s *send.Sender, in *input, generated bool) (stop func()) {
	screen := p.screen(p.Stderr)
	if !screen.Terminal {
		return func() {}
	}
	live := terminal.NewLive(screen)
	done := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		last, lastAt, rate := int64(0), time.Now(), 0.0
		for {
			select {
			case <-done:
				live.Clear()
				return
			case <-tick.C:
			}
			sum := s.Summary()
			at := in.read.Load()
			if generated {
				at = sum.Sent
			}
			if d := time.Since(lastAt); d >= time.Second {
				rate, last, lastAt = float64(sum.Acknowledged-last)/d.Seconds(), sum.Acknowledged, time.Now()
			}
			width, _ := screen.Size()
			live.Draw([]string{terminal.Bar(at, in.size, min(30, width/4)) + fmt.Sprintf("  %s acknowledged  %s/s  %s under way  %s again  %s refused  99 %% in %.0f ms",
				terminal.Count(sum.Acknowledged), terminal.Count(int64(rate)), terminal.Count(sum.Sent-sum.Acknowledged-sum.Refused-sum.Interrupted),
				terminal.Count(sum.Retried), terminal.Count(sum.Refused), sum.P99)})
		}
	})
	return func() {
		close(done)
		showing.Wait()
	}
}
