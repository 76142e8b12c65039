package cmd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/amplitude"
	"github.com/sparrowhq/sparrow/trace/tracker/ga4"
	"github.com/sparrowhq/sparrow/trace/tracker/heap"
	"github.com/sparrowhq/sparrow/trace/tracker/webhook"
)

// vendor is what the program knows of a vendor beside its tracker.
type vendor struct {
	new     func(config.Webhook) (tracker.Vendor, error)
	address string // empty: there is no usual one
	key     bool   // an account has one
	secret  bool   // likewise
}

var vendors = map[string]vendor{
	"ga4": {
		new:     func(config.Webhook) (tracker.Vendor, error) { return ga4.New(), nil },
		address: "https://www.google-analytics.com/mp/collect", key: true, secret: true,
	},
	"heap": {
		new:     func(config.Webhook) (tracker.Vendor, error) { return heap.New(), nil },
		address: "https://heapanalytics.com/api/track", key: true,
	},
	"amplitude": {
		new:     func(config.Webhook) (tracker.Vendor, error) { return amplitude.New(amplitude.Options{}), nil },
		address: "https://api2.amplitude.com/2/httpapi", key: true,
	},
	"webhook": {new: newWebhook, secret: true},
}

func newWebhook(c config.Webhook) (tracker.Vendor, error) {
	o := webhook.Options{Events: c.Events, Wrap: c.Wrap, IDField: c.IDField, TokenHeader: c.TokenHeader, Keyed: c.Keyed, Gzip: c.Gzip, Header: map[string]string{}}
	for _, f := range c.Fields {
		name, from, _ := strings.Cut(f, "=") // checked
		o.Fields = append(o.Fields, webhook.Field{Name: name, From: from})
	}
	for _, h := range c.Headers {
		name, value, _ := strings.Cut(h, ":") // checked
		o.Header[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return webhook.New(o)
}

// webhookForms are the settings of webhooks that decide on their events' form, by tracker: part of the build.
func webhookForms(c config.Config, p pipeline.Config) map[string]config.Webhook {
	forms := map[string]config.Webhook{}
	for name, rule := range p.Trackers {
		if rule.Vendor == "webhook" {
			w := c.Trackers.Of(name).Webhook
			forms[name] = config.Webhook{Events: w.Events, Wrap: w.Wrap, IDField: w.IDField, Fields: w.Fields, Keyed: w.Keyed}
		}
	}
	return forms
}

// trackerOptions returns what the trackers of a pipeline are to be made of.
func trackerOptions(c config.Config, p pipeline.Config) (map[string]tracker.Options, error) {
	all := map[string]tracker.Options{}
	for _, name := range slices.Sorted(maps.Keys(p.Trackers)) {
		o, err := oneTracker(c, name, p.Trackers[name].Vendor)
		if err != nil {
			return nil, fmt.Errorf("tracker %s: %w", name, err)
		}
		all[name] = o
	}
	return all, nil
}

func oneTracker(c config.Config, name, kind string) (tracker.Options, error) {
	v, ok := vendors[kind]
	if !ok {
		return tracker.Options{}, fmt.Errorf("vendor %q: want one of %s", kind, strings.Join(slices.Sorted(maps.Keys(vendors)), ", "))
	}
	s := c.Trackers.Of(name)
	made, err := v.new(s.Webhook)
	if err != nil {
		return tracker.Options{}, fmt.Errorf("setting trackers.%s.webhook: %w", name, err)
	}
	o := tracker.Options{
		Vendor: made, Credentials: map[tracker.Sink]tracker.Credential{}, Modes: map[tracker.Sink]tracker.Mode{},
		Calls: s.Calls, NoPacing: !*s.Pacing, Gather: time.Duration(s.Gather), Timeout: time.Duration(s.Timeout),
	}
	for sink, one := range map[tracker.Sink]config.Sink{tracker.Production: s.Production, tracker.Staging: s.Staging} {
		credential, err := v.credential(c.Sandbox.URL, kind, sink, one)
		if err != nil {
			return o, fmt.Errorf("setting trackers.%s.%s: %w", name, sink, err)
		}
		o.Credentials[sink] = credential
		o.Modes[sink] = trackerMode(one)
	}
	return o, nil
}

// credential is the way into an account; to the sandbox's if none is configured.
func (v vendor) credential(base, kind string, sink tracker.Sink, s config.Sink) (tracker.Credential, error) {
	if s.Sandboxed() {
		projects := sandbox.DefaultProjects()[sandbox.Vendor(kind)]
		i := slices.IndexFunc(projects, func(p sandbox.Project) bool { return p.Name == string(sink) })
		if i < 0 {
			return tracker.Credential{}, fmt.Errorf("the sandbox has no %s project of %s", sink, kind)
		}
		c := tracker.Credential{URL: sandbox.Address(base, sandbox.Vendor(kind), projects[i]), Secret: projects[i].Secret}
		if v.key {
			c.Key = projects[i].Key
		}
		return c, nil
	}
	c := tracker.Credential{URL: s.URL, Key: s.Key}
	if c.URL == "" {
		c.URL = v.address
	}
	switch {
	case c.URL == "":
		return c, fmt.Errorf("url is empty, and %s has no usual address", kind)
	case v.key && c.Key == "":
		return c, fmt.Errorf("key is empty: %s knows the account by it", kind)
	case kind == "ga4" && s.SecretFile == "":
		return c, fmt.Errorf("secret_file is empty: GA4 takes nothing without its api_secret, and never says so")
	case s.SecretFile == "":
		return c, nil
	}
	var err error
	c.Secret, err = service.GivenSecret(s.SecretFile)
	return c, err
}

// trackerMode is the mode in the tracker's words. Validate has checked it; the sandbox is always sent everything.
func trackerMode(s config.Sink) tracker.Mode {
	if s.Sandboxed() {
		return tracker.Mode{Kind: tracker.Send}
	}
	switch percent, _ := s.Mode.Percent(); percent {
	case 100:
		return tracker.Mode{Kind: tracker.Send}
	case 0:
		return tracker.Mode{Kind: tracker.DryRun}
	default:
		return tracker.Mode{Kind: tracker.Some, Percent: percent}
	}
}

// vendorSecrets are those that can be read, to be hidden wherever they turn up.
func vendorSecrets(c config.Config) []string {
	var secrets []string
	for _, t := range c.Trackers {
		for _, s := range []config.Sink{t.Production, t.Staging} {
			if secret, err := service.GivenSecret(s.SecretFile); s.SecretFile != "" && err == nil {
				secrets = append(secrets, secret)
			}
		}
	}
	return secrets
}
