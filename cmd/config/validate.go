package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Validate returns every value that makes no sense, each with the setting's key and its environment variable. Bounds
// between settings of one package are that package's to check.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("setting %s (%s): %s", key, envName(key), fmt.Sprintf(format, args...)))
	}
	listen := func(key, address string, optional bool) {
		if address == "" && optional {
			return
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			bad(key, "%q is not an address: want host:port, like 127.0.0.1:8080 or :8080", address)
		}
	}
	base := func(key, address string) {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
			bad(key, "want an address like http://127.0.0.1:8083, without path or password") // not printed: it may hold one
		}
	}
	oneOf := func(key, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			bad(key, "%q: want one of %s", value, strings.Join(allowed, ", "))
		}
	}

	if c.Data == "" {
		bad("data", "is empty: name a folder")
	}
	listen("clients.listen", c.Clients.Listen, false)
	listen("admin.listen", c.Admin.Listen, false)
	if _, err := c.Clients.Proxies(); err != nil {
		bad("clients.trusted_proxies", "%v", err)
	}
	if t := c.Clients.TLS; (t.Cert == "") != (t.Key == "") {
		bad("clients.tls.key", "TLS takes two files: set clients.tls.cert and clients.tls.key, or neither")
	}
	if _, err := c.Clients.TLS.Version(); err != nil {
		bad("clients.tls.min_version", "%v", err)
	}
	for _, stack := range event.Stacks() {
		s, key := c.Stacks.Of(stack), "stacks."+string(stack)+"."
		oneOf(key+"protocol", s.Protocol, "frames", "http")
		if s.Protocol != "http" && len(s.Methods)+len(s.Paths) > 0 {
			bad(key+"paths", "methods and paths are for protocol http: a dispatcher gets every request")
		}
		if s.Service() && s.Build != "" {
			bad(key+"build", "is for protocol frames: a service runs by itself, and says which build it is in its answers' Sparrow-Build header")
		}
		if _, err := event.ParseSample(s.Sample.Percent, s.Sample.By); err != nil {
			bad(key+"sample", "%v", err)
		}
		base(key+"url", s.URL)
		listen(key+"listen", s.Listen, true)
		if s.Trace.URL != "" {
			base(key+"trace.url", s.Trace.URL)
		}
		listen(key+"trace.listen", s.Trace.Listen, true)
	}
	base("sandbox.url", c.Sandbox.URL)
	listen("sandbox.listen", c.Sandbox.Listen, true)
	for _, name := range c.Trackers.Names() {
		t, key := c.Trackers[name], "trackers."+name+"."
		if !trackerName.MatchString(name) {
			bad("trackers."+name, "a tracker's name is a letter, then letters, digits, - or _")
		}
		for _, s := range []struct {
			name string
			Sink
		}{{"production", t.Production}, {"staging", t.Staging}} {
			if _, ok := s.Mode.Percent(); !ok {
				bad(key+s.name+".mode", "%q: want send, dry-run, or a part like 10%%", string(s.Mode))
			}
			if s.Sandboxed() && s.SecretFile != "" {
				bad(key+s.name+".secret_file", "is set, but neither key nor url: the sandbox has secrets of its own")
			}
			if u, err := url.Parse(s.URL); s.URL != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !loopback(u)) {
				bad(key+s.name+".url", "want an https address without a password: nothing leaves unencrypted (http only to this machine)") // not printed
			}
		}
		for _, h := range t.Webhook.Headers {
			if _, _, ok := strings.Cut(h, ":"); !ok {
				bad(key+"webhook.headers", "want entries like \"Name: value\"") // not printed: it may be a secret
			}
		}
		for _, f := range t.Webhook.Fields {
			if _, _, ok := strings.Cut(f, "="); !ok {
				bad(key+"webhook.fields", "%q: want name=from, as in user=userId", f)
			}
		}
		if !*t.Pacing && !(t.Production.local() && t.Staging.local()) {
			bad(key+"pacing", "is off, and an account is not on this machine: a vendor's documented rates are to be kept")
		}
		if a, b := t.Production, t.Staging; !a.Sandboxed() && a.URL == b.URL && a.Key == b.Key {
			bad(key+"staging", "is the production account: a candidate's events would count twice there")
		}
	}
	oneOf("warehouse.engine", c.Warehouse.Engine, "duckdb", "bigquery")
	if c.Warehouse.Engine == "bigquery" {
		c.validateBigQuery(bad)
	}
	base("warehouse.url", c.Warehouse.URL)
	listen("warehouse.listen", c.Warehouse.Listen, true)
	if c.Compare.MinEvents == 0 {
		bad("compare.min_events", "must not be 0: a comparison of nothing proves nothing")
	}
	if x := c.Compare.Confidence; !(x > 0 && x < 1) {
		bad("compare.confidence", "%v: want a number between 0 and 1", x)
	}
	if err := c.Compare.checkStages(); err != nil {
		bad("compare.stages", "%v", err)
	}
	if x := c.Journal.Pressure; !(x > 0 && x <= 0.9) {
		bad("journal.pressure", "%v: want a number above 0 and at most 0.9, so that it sets in before requests are refused at 0.95", x)
	}
	if c.Deploy.Skip == 0 {
		bad("deploy.skip", "must not be 0")
	}
	oneOf("telemetry.format", c.Telemetry.Format, "text", "json")
	if _, err := c.Telemetry.SlogLevel(); err != nil {
		bad("telemetry.level", "%v", err)
	}
	for _, name := range c.Telemetry.SentryHeaders {
		if slices.ContainsFunc([]string{"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"}, func(secret string) bool { return strings.EqualFold(name, secret) }) {
			bad("telemetry.sentry_headers", "%s holds secrets: it is never reported", name)
		}
	}
	for _, name := range c.Telemetry.SentryQuery {
		if strings.EqualFold(name, "api_secret") {
			bad("telemetry.sentry_query", "%s is a secret: it is never reported", name)
		}
	}
	for _, s := range Settings(c) {
		if strings.HasPrefix(s.Key, "sandbox.limits.") {
			continue // 0: as documented, -1: none
		}
		if s.value.CanInt() && s.value.Int() < 0 {
			bad(s.Key, "%s is negative", s)
		}
		if s.value.CanInt() && s.value.Int() == 0 && !mayBeZero[s.Key] && !strings.HasSuffix(s.Key, ".calls") && !strings.HasSuffix(s.Key, ".webhook.events") {
			bad(s.Key, "must not be 0")
		}
	}
	return errors.Join(errs...)
}

// maxBigQueryRow is what a body may have so that its row fits into one append to BigQuery.
const maxBigQueryRow = 8 << 20

func (c *Config) validateBigQuery(bad func(key, format string, args ...any)) {
	if c.BigQuery.Project == "" {
		bad("bigquery.project", "is empty: name the Google Cloud project that holds the datasets")
	}
	if (c.BigQuery.Endpoint == "") != (c.BigQuery.GRPC == "") {
		bad("bigquery.endpoint", "name both endpoint and grpc, or neither: rows would go to one server and be read from another")
	}
	for _, stack := range event.Stacks() {
		if n := c.Stacks.Of(stack).Dispatcher.MaxDecoded; n > maxBigQueryRow {
			bad("stacks."+string(stack)+".dispatcher.max_decoded", "%s: a row of BigQuery takes 8MiB", n)
		}
	}
}

// checkStages refuses what could not mean what it says.
func (c *Compare) checkStages() error {
	if len(c.Stages) == 0 {
		return errors.New("is empty: name stages, or all")
	}
	for _, s := range c.Stages {
		switch {
		case s == AllStages && len(c.Stages) > 1:
			return errors.New("all stands for every stage: name it alone, or name the stages")
		case strings.TrimSpace(s) != s || s == "":
			return fmt.Errorf("%q is no name of a stage", s)
		case warehouse.Stage(s).Base() != warehouse.Stage(s):
			return fmt.Errorf("%q: corrections belong to their stage, name that", s)
		}
	}
	return nil
}

// mayBeZero are the numbers whose 0 means something.
var mayBeZero = map[string]bool{
	"warehouse.threads":       true, // as many as there are CPUs
	"clients.drain":           true, // clients are not waited for
	"clients.rate.per_second": true, // no limit

	"warehouse.retention.raw": true, "warehouse.retention.outcomes": true, // nothing is deleted
}

// trackerName is what becomes of a name in environment variables, stages and columns without ambiguity.
var trackerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// local reports whether a sink is on this machine.
func (s Sink) local() bool {
	u, err := url.Parse(s.URL)
	return s.Sandboxed() || s.URL != "" && err == nil && loopback(u)
}

// loopback reports whether an address is this machine's own.
func loopback(u *url.URL) bool {
	if u.Scheme != "http" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

func envName(key string) string {
	return "SPARROW_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// Proxies are the trusted proxies: addresses, or ranges of them.
func (c *Clients) Proxies() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(text); err == nil {
				p, err = a.Prefix(a.BitLen())
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor a range like 10.0.0.0/8", text)
		}
		all = append(all, p)
	}
	return all, nil
}

// Enabled reports whether the clients' address speaks HTTPS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// Version is the oldest version of TLS that is spoken.
func (t TLS) Version() (uint16, error) {
	switch t.MinVersion {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("%q: want 1.2 or 1.3", t.MinVersion)
}

// SlogLevel is the level of log messages from which on they are written.
func (t *Telemetry) SlogLevel() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(t.Level)); err != nil {
		return 0, fmt.Errorf("%q: want debug, info, warn or error", t.Level)
	}
	return level, nil
}

// Address is where a process started by hand listens: as told, else where others are told to find it.
func Address(listen, base string) (string, error) {
	if listen != "" {
		return listen, nil
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", base, err)
	}
	if u.Port() == "" {
		return "", fmt.Errorf("address %q names no port: set listen", base)
	}
	return u.Host, nil
}
