package cmd

import (
	"context"
	"path/filepath"
	"time"

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

func runMirror(ctx context.Context, p *process) error {
	o, err := mirrorOptions(p)
	if err != nil {
		return err
	}
	pipeline := &decided{}
	d, err := deploy.New(deploy.Options{Pipeline: pipeline, Verdicts: pipeline, Policy: deployPolicy(p.config), Telemetry: p.telemetry})
	if err != nil {
		return err
	}
	o.Admin = d.Mount
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
	return m.Run(ctx, clients, admin)
}

func mirrorOptions(p *process) (mirror.Options, error) {
	c := p.config
	token, err := service.Secret(c.Token())
	if err != nil {
		return mirror.Options{}, err
	}
	proxies, err := c.Clients.Proxies()
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
		Intake: mirror.IntakeOptions{
			Origins:        c.Clients.Origins,
			TrustedProxies: proxies,
			Headers:        c.Clients.Headers,
			MaxBody:        int64(c.Clients.MaxBody),
			MaxConnections: c.Clients.MaxConnections,
			MaxReading:     int64(c.Clients.MaxReading),
			MaxQueue:       int(c.Clients.MaxQueue),
			ReadTimeout:    time.Duration(c.Clients.ReadTimeout),
			MinRate:        int64(c.Clients.MinRate),
			IdleTimeout:    time.Duration(c.Clients.IdleTimeout),
			Preflight:      time.Duration(c.Clients.Preflight),
		},
		Feed: mirror.FeedOptions{
			MaxBytes:    int(c.Feeds.MaxBytes),
			CallTimeout: time.Duration(c.Feeds.CallTimeout),
			MaxBackoff:  time.Duration(c.Feeds.MaxBackoff),
			CatchUpRate: int64(c.Feeds.CatchUpRate),
			Attempts:    c.Feeds.Attempts,
			Patience:    time.Duration(c.Feeds.Patience),
		},
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

func stackOptions(s *config.Stack) (mirror.StackOptions, error) {
	sample, err := event.ParseSample(s.Sample.Percent, s.Sample.By)
	rule := mirror.Rule{Sample: &sample, Methods: s.Methods, Paths: s.Paths}
	return mirror.StackOptions{Protocol: s.Protocol, Concurrency: s.Concurrency, Rule: rule}, err
}

func deployPolicy(c config.Config) deploy.Policy {
	return deploy.Policy{
		Compare: compare.Policy{MinEvents: c.Compare.MinEvents, Required: c.Compare.Required, Confidence: c.Compare.Confidence},
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
