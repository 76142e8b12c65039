package cmd

import (
	"context"
	"math"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/deploy"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/mirror"
	"github.com/sparrowhq/sparrow/service"
)

func (p *program) mirror() *cobra.Command {
	return &cobra.Command{
		Use:   "mirror",
		Short: "Run the mirror: take clients' requests, keep them in the journal, feed both stacks",
		Args:  cobra.NoArgs,
		RunE:  p.serve(mirrorName, "", mirrorStop, runMirror),
	}
}

// mirrorMemory is what the runtime may hold before it collects garbage earlier than it otherwise would. While a stack
// catches up, the journal's blocks pass through memory at the rate of the disk, and the collector would let twice as many
// pile up as are in use. GOMEMLIMIT, if set, is followed instead.
const mirrorMemory = 180 << 20

func runMirror(ctx context.Context, p *process) error {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // nobody has set one
		debug.SetMemoryLimit(mirrorMemory)
	}
	o, err := mirrorOptions(p)
	if err != nil {
		return err
	}
	pipeline := &decided{}
	d, err := deploy.New(deploy.Options{Pipeline: pipeline, Verdicts: pipeline, Policy: deployPolicy(p.config), Telemetry: p.telemetry})
	if err != nil {
		return err
	}
	r := &reloads{process: p, take: func(o mirror.IntakeOptions, c config.Config) error {
		if err := pipeline.mirror.Reload(o); err != nil { // first what can be refused
			return err
		}
		d.SetPolicy(deployPolicy(c))
		return pipeline.mirror.ReloadFeeds(feedOptions(c)) // whose bounds Validate has checked
	}}
	r.register()
	o.Admin = func(api *mux.Router) {
		d.Mount(api)
		api.HandleFunc("/v1/reload", r.post).Methods(http.MethodPost)
	}
	m, err := mirror.New(o)
	if err != nil {
		return err
	}
	pipeline.mirror = m // before Run, which is what answers operators
	clients, err := p.in.Listen("clients", p.config.Clients.Listen)
	if err != nil {
		return err
	}
	admin, err := p.in.Listen("admin", p.config.Admin.Listen)
	if err != nil {
		clients.Close()
		return err
	}
	p.telemetry.Log.Info("listening", "clients", clients.Addr(), "admin", admin.Addr())
	reloading, stopReloading := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer stopReloading()
	following.Go(func() { r.follow(reloading) })
	return m.Run(ctx, clients, admin)
}

func mirrorOptions(p *process) (mirror.Options, error) {
	c := p.config
	token, err := service.Secret(c.Token())
	if err != nil {
		return mirror.Options{}, err
	}
	intake, err := intakeOptions(c)
	if err != nil {
		return mirror.Options{}, err
	}
	stacks := map[event.Stack]mirror.StackOptions{}
	for _, name := range event.Stacks() {
		if stacks[name], err = stackOptions(c.Stacks.Of(name)); err != nil {
			return mirror.Options{}, err
		}
	}
	o := mirror.Options{
		Stacks:  stacks,
		Journal: journalOptions(p),
		Green:   c.Stacks.Green.URL,
		Blue:    c.Stacks.Blue.URL,
		Secret:  p.secret,
		Token:   token,
		Intake:  intake,
		Feed:    feedOptions(c),
		Retention: mirror.RetentionOptions{
			MaxAge:   time.Duration(c.Journal.MaxAge),
			Pressure: c.Journal.Pressure,
		},
		AdminHosts: c.Admin.Hosts,
		Grace:      mirrorStop / 4, // intake, feeds, state and journal stop one after the other
		Telemetry:  p.telemetry,
	}
	return o, nil
}

func feedOptions(c config.Config) mirror.FeedOptions {
	return mirror.FeedOptions{
		MaxBytes:    int(c.Feeds.MaxBytes),
		CallTimeout: time.Duration(c.Feeds.CallTimeout),
		MaxBackoff:  time.Duration(c.Feeds.MaxBackoff),
		CatchUpRate: int64(c.Feeds.CatchUpRate),
		Attempts:    c.Feeds.Attempts,
		Patience:    time.Duration(c.Feeds.Patience),
	}
}

func stackOptions(s *config.Stack) (mirror.StackOptions, error) {
	sample, err := event.ParseSample(s.Sample.Percent, s.Sample.By)
	rule := mirror.Rule{Sample: &sample, Methods: s.Methods, Paths: s.Paths}
	return mirror.StackOptions{Protocol: s.Protocol, Concurrency: s.Concurrency, Rule: rule}, err
}

// clientsURL is where this machine reaches the clients' side.
func clientsURL(listen string, secure bool) string {
	url := reach(listen)
	if secure {
		url = "https" + strings.TrimPrefix(url, "http")
	}
	return url
}

func intakeOptions(c config.Config) (mirror.IntakeOptions, error) {
	proxies, err := c.Clients.Proxies()
	if err != nil {
		return mirror.IntakeOptions{}, err
	}
	version, err := c.Clients.TLS.Version()
	if err != nil {
		return mirror.IntakeOptions{}, err
	}
	return mirror.IntakeOptions{
		Requests:       c.Clients.Requests,
		Origins:        c.Clients.Origins,
		TrustedProxies: proxies,
		Headers:        c.Clients.Headers,
		MaxBody:        int64(c.Clients.MaxBody),
		MaxHeader:      int(c.Clients.MaxHeader),
		MaxHeaders:     c.Clients.MaxHeaders,
		MaxConnections: c.Clients.MaxConnections,
		MaxReading:     int64(c.Clients.MaxReading),
		MaxQueue:       int(c.Clients.MaxQueue),
		ReadTimeout:    time.Duration(c.Clients.ReadTimeout),
		MinRate:        int64(c.Clients.MinRate),
		IdleTimeout:    time.Duration(c.Clients.IdleTimeout),
		Preflight:      time.Duration(c.Clients.Preflight),
		Drain:          time.Duration(c.Clients.Drain),
		Rate:           mirror.RateOptions{PerSecond: c.Clients.Rate.PerSecond, Burst: c.Clients.Rate.Burst},
		TLS:            mirror.TLSOptions{Cert: c.Clients.TLS.Cert, Key: c.Clients.TLS.Key, MinVersion: version},
	}, nil
}

func deployPolicy(c config.Config) deploy.Policy {
	return deploy.Policy{
		Compare: compare.Policy{MinEvents: c.Compare.MinEvents, Required: c.Compare.Required, Confidence: c.Compare.Confidence, Stages: c.Compare.Named()},
		MaxAge:  time.Duration(c.Deploy.MaxAge),
		MaxTail: time.Duration(c.Deploy.MaxTail),
		MaxLag:  time.Duration(c.Deploy.MaxLag),
		Skip:    c.Deploy.Skip,
	}
}

func journalOptions(p *process) journal.Options {
	c := p.config.Journal
	o := journal.Options{
		Dir:         filepath.Join(p.config.Data, "journal"),
		URL:         c.URL,
		Credentials: c.Credentials,
		Replicas:    c.Replicas,
		MaxBytes:    int64(c.MaxBytes),
		LedgerAge:   time.Duration(c.LedgerAge),
		MinFree:     int64(c.MinFree),
		Secret:      p.secret,
		Telemetry:   p.telemetry,
	}
	if first := c.FirstFrame; first > 0 {
		o.FirstFrame = func(context.Context) (uint64, error) { return first, nil }
	}
	return o
}
