// Package config reads sparrow.yaml.
//
// Invariant: a program either runs with exactly the settings that were written down, or does not start: an unknown
// key, a value that does not parse and a value that makes no sense are errors that name the file, the line and the
// setting. Every setting has a default (Default), a comment in sparrow.example.yaml, and an environment variable
// named after its place: journal.max_bytes is SPARROW_JOURNAL_MAX_BYTES. Later wins: default, file, environment,
// flag.
package config

import (
	"path/filepath"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Config is everything that can be set. A section's keys are the fields' yaml names.
type Config struct {
	Data       string    `yaml:"data"`        // folder of `sparrow up`
	SecretFile string    `yaml:"secret_file"` // empty: <data>/secret
	KeyFile    string    `yaml:"key_file"`    // empty: <data>/key
	TokenFile  string    `yaml:"token_file"`  // empty: <data>/token
	Clients    Clients   `yaml:"clients"`
	Admin      Admin     `yaml:"admin"`
	Feeds      Feeds     `yaml:"feeds"`
	Journal    Journal   `yaml:"journal"`
	Stacks     Stacks    `yaml:"stacks"`
	Trackers   Trackers  `yaml:"trackers"`
	Sandbox    Sandbox   `yaml:"sandbox"`
	Warehouse  Warehouse `yaml:"warehouse"`
	BigQuery   BigQuery  `yaml:"bigquery"`
	Compare    Compare   `yaml:"compare"`
	Deploy     Deploy    `yaml:"deploy"`
	Telemetry  Telemetry `yaml:"telemetry"`
}

// Clients is the side that browsers see.
type Clients struct {
	Listen         string   `yaml:"listen"`
	Requests       []string `yaml:"requests"`
	Origins        []string `yaml:"origins"`
	TrustedProxies []string `yaml:"trusted_proxies"`
	Headers        []string `yaml:"headers"`
	MaxBody        Size     `yaml:"max_body"`
	MaxHeader      Size     `yaml:"max_header"`
	MaxHeaders     int      `yaml:"max_headers"`
	MaxConnections int      `yaml:"max_connections"`
	MaxReading     Size     `yaml:"max_reading"`
	MaxQueue       Size     `yaml:"max_queue"`
	ReadTimeout    Duration `yaml:"read_timeout"`
	MinRate        Size     `yaml:"min_rate"`
	IdleTimeout    Duration `yaml:"idle_timeout"`
	Preflight      Duration `yaml:"preflight"`
	Drain          Duration `yaml:"drain"`
	Rate           Rate     `yaml:"rate"`
	TLS            TLS      `yaml:"tls"`
}

// Rate holds each client to a number of requests.
type Rate struct {
	PerSecond int `yaml:"per_second"` // 0: no limit
	Burst     int `yaml:"burst"`
}

// TLS makes the clients' address speak HTTPS.
type TLS struct {
	Cert       string `yaml:"cert"` // both empty: plain HTTP
	Key        string `yaml:"key"`
	MinVersion string `yaml:"min_version"`
}

// Admin is the side that operators see.
type Admin struct {
	Listen string   `yaml:"listen"`
	Hosts  []string `yaml:"hosts"`
}

// Feeds carry frames to the stacks.
type Feeds struct {
	MaxBytes    Size     `yaml:"max_bytes"`
	CallTimeout Duration `yaml:"call_timeout"`
	MaxBackoff  Duration `yaml:"max_backoff"`
	CatchUpRate Size     `yaml:"catch_up_rate"`
	Attempts    int      `yaml:"attempts"`
	Patience    Duration `yaml:"patience"`
}

// Journal is where accepted requests become durable.
type Journal struct {
	URL         string   `yaml:"url"`
	Credentials string   `yaml:"credentials"`
	Replicas    int      `yaml:"replicas"`
	MaxBytes    Size     `yaml:"max_bytes"`
	MaxAge      Duration `yaml:"max_age"`
	Pressure    float64  `yaml:"pressure"`
	MinFree     Size     `yaml:"min_free"`
	LedgerAge   Duration `yaml:"ledger_age"`
	FirstFrame  uint64   `yaml:"first_frame"`
}

// Stacks holds one section for each stack.
type Stacks struct {
	Green Stack `yaml:"green"`
	Blue  Stack `yaml:"blue"`
}

// Of returns the section of a stack.
func (s *Stacks) Of(name event.Stack) *Stack {
	if name == event.Green {
		return &s.Green
	}
	return &s.Blue
}

// Stack is one of the two complete pipelines.
type Stack struct {
	Protocol    string     `yaml:"protocol"`
	URL         string     `yaml:"url"`
	Concurrency int        `yaml:"concurrency"` // of protocol http
	Methods     []string   `yaml:"methods"`     // of protocol http; empty: all
	Paths       []string   `yaml:"paths"`       // likewise
	Sample      Sample     `yaml:"sample"`
	Listen      string     `yaml:"listen"` // empty: the address in URL; under `sparrow up` a free loopback port
	Build       string     `yaml:"build"`  // binary that `sparrow up` runs; empty: this executable
	Dispatcher  Dispatcher `yaml:"dispatcher"`
	Trace       Trace      `yaml:"trace"`
}

// ProtocolHTTP is Protocol of a stack that is no dispatcher of ours: a service that runs by itself, and has no trace.
const ProtocolHTTP = "http"

// Service reports whether the stack is such a service.
func (s *Stack) Service() bool { return s.Protocol == ProtocolHTTP }

// Sample is what the stack gets of the requests while it is the candidate.
type Sample struct {
	Percent float64 `yaml:"percent"`
	By      string  `yaml:"by"`
}

// Dispatcher is the first half of a stack.
type Dispatcher struct {
	MaxDecoded    Size     `yaml:"max_decoded"` // part of the build
	MaxItems      int      `yaml:"max_items"`   // part of the build
	MaxAppend     Size     `yaml:"max_append"`
	AppendTimeout Duration `yaml:"append_timeout"`
}

// Trace is the second half of a stack.
type Trace struct {
	URL         string   `yaml:"url"`
	Listen      string   `yaml:"listen"`   // empty: the address in URL; under `sparrow up` a free loopback port
	Pipeline    string   `yaml:"pipeline"` // file of pipeline.Config, part of the build; empty: pipeline.Default
	Backlog     Size     `yaml:"backlog"`
	MinFree     Size     `yaml:"min_free"`
	Window      int      `yaml:"window"`
	Unshipped   int      `yaml:"unshipped"`
	Ahead       int      `yaml:"ahead"`
	DeadLetters int      `yaml:"dead_letters"`
	MessageAge  Duration `yaml:"message_age"` // part of the build
	MessageKeys int      `yaml:"message_keys"`
	Check       Duration `yaml:"check"`
}

// Warehouse is where events end up.
type Warehouse struct {
	Engine  string  `yaml:"engine"`
	URL     string  `yaml:"url"`
	Listen  string  `yaml:"listen"` // empty: the address in URL; under `sparrow up` a free loopback port
	Memory  Size    `yaml:"memory"`
	Threads int     `yaml:"threads"`
	Spill   Size    `yaml:"spill"`
	Queue   Size    `yaml:"queue"`
	Queries Queries `yaml:"queries"`

	Retention Retention `yaml:"retention"`
}

// Retention is for how many whole days before today rows are kept; 0: for ever.
type Retention struct {
	Raw      int `yaml:"raw"`
	Outcomes int `yaml:"outcomes"`
}

// BigQuery is where events end up with engine: bigquery.
type BigQuery struct {
	Project         string `yaml:"project"`
	Location        string `yaml:"location"`         // empty: as BigQuery has it
	Prefix          string `yaml:"prefix"`           // of datasets; empty: none
	CredentialsFile string `yaml:"credentials_file"` // empty: application default credentials
	MaxScanned      Size   `yaml:"max_scanned"`
	Endpoint        string `yaml:"endpoint"` // empty: Google's
	GRPC            string `yaml:"grpc"`     // empty: Google's
}

// Queries bound what is asked of the warehouse.
type Queries struct {
	Concurrent int      `yaml:"concurrent"`
	Limit      int      `yaml:"limit"`
	MaxWait    Duration `yaml:"max_wait"`
}

// Compare is what a PASS takes. The mirror applies it, whatever `sparrow compare` was told.
type Compare struct {
	MinEvents  uint64   `yaml:"min_events"`
	Required   []string `yaml:"required"`
	Confidence float64  `yaml:"confidence"`
	Stages     []string `yaml:"stages"`
}

// AllStages in Compare.Stages stands for every stage that live has.
const AllStages = "all"

// Named are the stages that a PASS takes by name; none: every stage that live has.
func (c *Compare) Named() []warehouse.Stage {
	var out []warehouse.Stage
	for _, s := range c.Stages {
		if s != AllStages {
			out = append(out, warehouse.Stage(s))
		}
	}
	return out
}

// Deploy is what a cutover takes beside a PASS.
type Deploy struct {
	MaxAge  Duration `yaml:"max_age"`
	MaxTail Duration `yaml:"max_tail"`
	MaxLag  Duration `yaml:"max_lag"`
	Skip    uint64   `yaml:"skip"`
}

// Telemetry is how processes speak about themselves.
type Telemetry struct {
	Format      string `yaml:"format"`
	Level       string `yaml:"level"`
	SentryDSN   string `yaml:"sentry_dsn"`
	Environment string `yaml:"environment"`

	// What of an exchange with a vendor is shown there. Nothing else is.
	SentryPayload      bool     `yaml:"sentry_payload"`       // properties on the pipeline's allowlist, scrubbed
	SentryHeaders      []string `yaml:"sentry_headers"`       // names
	SentryQuery        []string `yaml:"sentry_query"`         // parameters
	SentryResponse     []string `yaml:"sentry_response"`      // fields of an answer in JSON, a.b or a.*
	SentryResponseText bool     `yaml:"sentry_response_text"` // the beginning of an answer that is none, redacted
}

// Default returns the settings of a program that was told nothing. sparrow.example.yaml shows the same values.
func Default() Config {
	dispatcher := Dispatcher{
		MaxDecoded: 8 << 20, MaxItems: 10_000,
		MaxAppend: 16 << 20, AppendTimeout: Duration(time.Minute),
	}
	all := Sample{Percent: 100, By: event.ByRequestID}
	trace := func(url string) Trace {
		return Trace{
			URL: url, Backlog: 8 << 30, MinFree: 128 << 20, Window: 20_000, Unshipped: 50_000, Ahead: 250_000, DeadLetters: 10_000,
			MessageAge: Duration(24 * time.Hour), MessageKeys: 1_000_000, Check: Duration(5 * time.Minute),
		}
	}
	return Config{
		Data: ".sparrow",
		Clients: Clients{
			Listen:         "127.0.0.1:8080",
			Requests:       []string{"POST /v1/events"},
			Origins:        []string{"http://localhost:*", "http://127.0.0.1:*"},
			Headers:        []string{"User-Agent", "Accept-Language", "Referer", "Origin", "Content-Type", "Content-Encoding", "Sec-GPC", "DNT"},
			MaxBody:        1 << 20,
			MaxHeader:      32 << 10,
			MaxHeaders:     100,
			MaxConnections: 8192,
			MaxReading:     64 << 20,
			MaxQueue:       32 << 20,
			ReadTimeout:    Duration(15 * time.Second),
			MinRate:        16 << 10,
			IdleTimeout:    Duration(75 * time.Second),
			Preflight:      Duration(24 * time.Hour),
			Drain:          Duration(time.Second),
			Rate:           Rate{Burst: 200},
			TLS:            TLS{MinVersion: "1.2"},
		},
		Admin: Admin{Listen: "127.0.0.1:8081"},
		Feeds: Feeds{
			MaxBytes:    4 << 20,
			CallTimeout: Duration(30 * time.Second),
			MaxBackoff:  Duration(5 * time.Second),
			CatchUpRate: 32 << 20,
			Attempts:    5,
			Patience:    Duration(30 * time.Second),
		},
		Journal: Journal{
			Replicas:  1,
			MaxBytes:  20 << 30,
			MaxAge:    Duration(72 * time.Hour),
			Pressure:  0.8,
			MinFree:   128 << 20,
			LedgerAge: Duration(90 * 24 * time.Hour),
		},
		Stacks: Stacks{
			Green: Stack{Protocol: "frames", URL: "http://127.0.0.1:8083", Concurrency: 32, Sample: all, Dispatcher: dispatcher, Trace: trace("http://127.0.0.1:8085")},
			Blue:  Stack{Protocol: "frames", URL: "http://127.0.0.1:8084", Concurrency: 32, Sample: all, Dispatcher: dispatcher, Trace: trace("http://127.0.0.1:8086")},
		},
		Trackers: defaultTrackers(),
		Sandbox:  Sandbox{URL: "http://127.0.0.1:8087", MaxBytes: 8 << 30, MaxIDs: 16_000_000},
		Warehouse: Warehouse{
			Engine: "duckdb",
			URL:    "http://127.0.0.1:8082",
			Memory: 1 << 30,
			Spill:  8 << 30,
			Queue:  64 << 20,
			Queries: Queries{
				Concurrent: 4,
				Limit:      100_000,
				MaxWait:    Duration(time.Minute),
			},
		},
		BigQuery: BigQuery{MaxScanned: 100 << 30},
		Compare:  Compare{MinEvents: 1, Confidence: 0.95, Stages: []string{AllStages}},
		Deploy: Deploy{
			MaxAge:  Duration(24 * time.Hour),
			MaxTail: Duration(time.Hour),
			MaxLag:  Duration(30 * time.Second),
			Skip:    1024,
		},
		Telemetry: Telemetry{
			Format: "text", Level: "info", Environment: "production",
			SentryPayload: true, SentryHeaders: []string{"Content-Type", "Content-Encoding", "Retry-After"}, SentryQuery: []string{},
			SentryResponse: []string{"code", "error", "message", "missing_field", "events_with_invalid_fields.*", "events_with_missing_fields.*",
				"events_with_invalid_id_lengths.*", "silenced_events", "throttled_events", "eps_threshold"},
			SentryResponseText: true,
		},
	}
}

// Secret is the path of the file that holds the secret of the hops between our own processes.
func (c *Config) Secret() string { return or(c.SecretFile, filepath.Join(c.Data, "secret")) }

// Key is the path of the file that holds the key of all hashes.
func (c *Config) Key() string { return or(c.KeyFile, filepath.Join(c.Data, "key")) }

// Token is the path of the file that holds the operator's token.
func (c *Config) Token() string { return or(c.TokenFile, filepath.Join(c.Data, "token")) }

func or(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}
