package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/telemetry"
)

func TestRedact(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		// what must go
		{`Post "https://www.google-analytics.com/mp/collect?measurement_id=G-1&api_secret=PLANTED": EOF`,
			`Post "https://www.google-analytics.com/mp/collect?[redacted]": EOF`},
		{`Get /mp/collect?api_secret=PLANTED failed`, `Get /mp/collect?[redacted] failed`},
		{`https://example.com/a?PLANTED`, `https://example.com/a?[redacted]`},
		{`https://example.com/a#access_token=PLANTED x`, `https://example.com/a?[redacted] x`},
		{`dial https://user:PLANTED@example.com/x: refused`, `dial https://[redacted]@example.com/x: refused`},
		{`nats://PLANTED@127.0.0.1:4222`, `nats://[redacted]@127.0.0.1:4222`},
		{`root:PLANTED@tcp(127.0.0.1:3306)/db`, `[redacted]@tcp(127.0.0.1:3306)/db`},
		{`api_secret=PLANTED&x=1`, `api_secret=[redacted]&x=1`},
		{`{"api_key":"PLANTED","n":1}`, `{"api_key":[redacted],"n":1}`},
		{`{"api_key":"PLAN\"TED","n":1}`, `{"api_key":[redacted],"n":1}`},
		{`body "{\"api_key\":\"PLANTED\",\"n\":1}"`, `body "{\"api_key\":[redacted],\"n\":1}"`},
		{`{"api_key":"PLANTE`, `{"api_key":[redacted]`},
		{`X-Api-Key: PLANTED`, `X-Api-Key: [redacted]`},
		{`ga4_api_secret: PLANTED, next`, `ga4_api_secret: [redacted], next`},
		{`password = 'PLANTED x' done`, `password = [redacted] done`},
		{`token:PLANTED`, `token:[redacted]`},
		{`Authorization: Bearer PLANTED`, `Authorization: [redacted]`},
		{`authorization: Basic UExBTlRFRDpQTEFOVEVE`, `authorization: [redacted]`},
		{`sent Bearer PLANTED again`, `sent Bearer [redacted] again`},
		{`map[Authorization:[Bearer PLANTED] Cookie:[a=PLANTED; b=PLANTED] X:[y]]`, `map[Authorization:[redacted]] Cookie:[redacted] X:[y]]`},
		{"Cookie: a=PLANTED; b=PLANTED\r\nHost: x", "Cookie: [redacted]\r\nHost: x"},
		{`no such user PLANTED.o'neil+x@mail.example.com`, `no such user [redacted]`},
		{`müller@exämple.de`, `[redacted]`},
		{`q=PLANTED%40example.com`, `q=[redacted]`},
		{`read tcp 127.0.0.1:8080->198.51.100.23:54321: reset`, `read tcp 127.0.0.1:8080->[redacted]:54321: reset`},
		{`read tcp [2001:db8::7]:8080`, `read tcp [[redacted]]:8080`},
		{`from ::ffff:198.51.100.23`, `from [redacted]`},
		// what must stay
		{`dial tcp 127.0.0.1:9000: connect: connection refused`, `dial tcp 127.0.0.1:9000: connect: connection refused`},
		{`dial tcp [::1]:9000 or 10.1.2.3:80`, `dial tcp [::1]:9000 or 10.1.2.3:80`},
		{`batch begins at 7.0, the cursor stands at 5.2: send [5.2, …) first`, `batch begins at 7.0, the cursor stands at 5.2: send [5.2, …) first`},
		{`stack "red": must be "green" or "blue"`, `stack "red": must be "green" or "blue"`},
		{`no space left on device (/var/lib/sparrow)`, `no space left on device (/var/lib/sparrow)`},
		{`at 16:19:04.315 in sentry-go@v0.50.0/client.go:12`, `at 16:19:04.315 in sentry-go@v0.50.0/client.go:12`},
		{`is that so? yes`, `is that so? yes`},
		{`01890a5d-ac96-774b-bcce-b302099a8057-3`, `01890a5d-ac96-774b-bcce-b302099a8057-3`},
		{``, ``},
	} {
		got := telemetry.Redact(row.text)
		if got != row.want {
			t.Errorf("%s\nbecomes  %s\nexpected %s", row.text, got, row.want)
		}
		if strings.Contains(got, "PLANTED") {
			t.Errorf("%s: the secret is still there", got)
		}
		if again := telemetry.Redact(got); again != got {
			t.Errorf("%s becomes %s when redacted again", got, again)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("https://x/y?", "z")
	f.Fuzz(func(t *testing.T, before, after string) {
		// Whatever stands around it, a query's secret goes; unless what stands before makes it no word of its own.
		got := telemetry.Redact(before + " https://h/p?api_secret=PLANTED " + after)
		if strings.Contains(got, "PLANTED") {
			t.Errorf("%q", got)
		}
	})
}

type stringer struct{}

func (stringer) String() string { return "token=PLANTED" }

type logValuer struct{}

func (logValuer) LogValue() slog.Value { return slog.GroupValue(slog.String("deep", "token=PLANTED")) }

// Nothing gets into a log unredacted, by whatever kind of value it comes.
func TestLogsAreRedacted(t *testing.T) {
	const literal = "PLANTED-0123456789" // in no form that a rule knows
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		tel, err := telemetry.New(telemetry.Options{Process: "p", Stack: "green", Format: format, Output: &out, Level: slog.LevelDebug, Secrets: []string{literal, "short"}})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse("https://x/y?api_secret=PLANTED")
		if err != nil {
			t.Fatal(err)
		}
		log := tel.Log.With("with", "token=PLANTED").WithGroup("group")
		log.Info("message with token=PLANTED, short",
			"string", "token=PLANTED", "error", fmt.Errorf("x: %w", errors.New("token=PLANTED")), "stringer", stringer{}, "valuer", logValuer{},
			"bytes", []byte("PLANTED"), "raw", json.RawMessage(`"PLANTED"`), "url", u, "struct", struct {
				Token string
				B     []byte
			}{"PLANTED", nil}, "map", map[string]string{"password": "PLANTED"}, "list", []string{"token=PLANTED"}, "text", netip.MustParseAddr("198.51.100.9"),
			slog.Group("inner", "x", "token=PLANTED"), "func", func() {}, "literal", literal, "nil", nil,
			"number", 7, "duration", time.Second, "true", true)
		text := out.String()
		for _, gone := range []string{"PLANTED", "198.51.100.9", "UExBTlRFRA"} {
			if strings.Contains(text, gone) {
				t.Errorf("%s: %q is in the log:\n%s", format, gone, text)
			}
		}
		for _, kept := range []string{"process", "green", "7 bytes", "9 bytes", "x: token=[redacted]", "short", "https://x/y?[redacted]", "func()"} {
			if !strings.Contains(text, kept) {
				t.Errorf("%s: %q is not in the log:\n%s", format, kept, text)
			}
		}
		if format == "json" && !json.Valid(out.Bytes()) {
			t.Errorf("not JSON: %s", text)
		}
	}
	if _, err := telemetry.New(telemetry.Options{Format: "xml"}); err == nil {
		t.Error("an unknown format is accepted")
	}
}
