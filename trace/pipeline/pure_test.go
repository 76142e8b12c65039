package pipeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

// everything returns all that p derives from the requests, as bytes.
func everything(t testing.TB, p *Pipeline, requests []*event.Request) []byte {
	t.Helper()
	var out bytes.Buffer
	for i, r := range requests {
		b := process(t, p, r)
		for j := range b.Events {
			e := &b.Events[j]
			e.Request = uint32(i)
			out.Write(e.Append(nil))
			text, err := json.Marshal(*e)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(text)
			for _, tracker := range p.Trackers() {
				v, decision, o := p.View(tracker, e)
				fmt.Fprintf(&out, "%s %d %+v %x", tracker, decision, o, v.Append(nil))
			}
		}
		outcomes, err := json.Marshal(b.Outcomes)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(outcomes)
		fmt.Fprintf(&out, "%+v %+v\n", b.Unknown, b.Touched)
	}
	return out.Bytes()
}

// goldenRequests cover every stage of the pipeline.
func goldenRequests() []*event.Request {
	list := []*event.Request{
		request(benchEvent),
		request(`[{"event":"zone.delete","deviceId":"d","userId":"u","messageId":"m","timestamp":"2026-01-15T11:59:59+00:00","properties":{"zone":"z","records":12345678901234567890,"names":["jim@example.com","b"],"labels":{"jim@example.com":"4111 1111 1111 1111","x":{"y":"203.0.113.9"}},"items":[{"price":1.50,"sku":"s","z":1}],"unlisted":1,"owner":{"name":"Bearer abcdef123456","x":1}}},{"event":"Zone.Delete","deviceId":"d"},7,{"event":"pageview","deviceId":"d","properties":{"pathname":"/a?b=c","url":"https://u:p@www.example.com/a?utm_source=x&y=z","consent":{"ads":true}}}]`),
		with(request(`{"batch":[{"event":"empty","deviceId":"d"},{"event":"empty"}],"sentAt":1}`), "Sec-GPC", "1"),
		request(`{"event":`), request(`[]`), request("\xff"),
	}
	for i, r := range list {
		r.Id = bytes.Repeat([]byte{byte(i + 1)}, 16)
	}
	return list
}

// The golden hash changes with any change of what the pipeline derives. When it changes on purpose, so do digests, and
// the two builds will differ in compare: say so in the changelog.
const golden = "3e0502a2be6a8ec702b60341048319eeb4d2d48a1583ed7327fb3c263037221e"

func TestSameInputGivesSameBytes(t *testing.T) {
	config := testConfig + "scrub: {patterns: [{name: customer, match: 'KD-[0-9]+', action: hash}]}\n"
	p := mustPipeline(t, config)
	first := everything(t, p, goldenRequests())
	for range 20 {
		if !bytes.Equal(everything(t, p, goldenRequests()), first) {
			t.Fatal("the same pipeline derives different bytes from the same requests")
		}
		// Another process has other map orders; compiling again gives some of that.
		if !bytes.Equal(everything(t, mustPipeline(t, config), goldenRequests()), first) {
			t.Fatal("an equal pipeline derives different bytes")
		}
	}
	sum := sha256.Sum256(first)
	if got := hex.EncodeToString(sum[:]); got != golden {
		t.Errorf("derived bytes have changed: hash %s, golden %s", got, golden)
	}
}

func TestClockChangesNothing(t *testing.T) {
	now := everything(t, mustPipeline(t, testConfig), goldenRequests())
	synctest.Test(t, func(t *testing.T) { // in here it is the year 2000
		if year := time.Now().Year(); year != 2000 {
			t.Fatalf("the clock says %d", year)
		}
		p := mustPipeline(t, testConfig)
		if !bytes.Equal(everything(t, p, goldenRequests()), now) {
			t.Error("another clock, other bytes")
		}
		time.Sleep(40 * 365 * 24 * time.Hour)
		if !bytes.Equal(everything(t, p, goldenRequests()), now) {
			t.Error("forty years later, other bytes")
		}
	})
}

func TestProcessIsSafeForConcurrentUse(t *testing.T) {
	p := mustPipeline(t, testConfig)
	want := everything(t, p, goldenRequests())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				if !bytes.Equal(everything(t, p, goldenRequests()), want) {
					t.Error("different bytes under concurrency")
				}
			}
		})
	}
	group.Wait()
}

// The request belongs to the caller: the log keeps it, and others read it at the same time.
func TestRequestIsNotChanged(t *testing.T) {
	p := mustPipeline(t, testConfig)
	for i, r := range goldenRequests() {
		body := bytes.Clone(r.Body)
		process(t, p, r)
		p.Explain(1, 0, r)
		if !bytes.Equal(r.Body, body) {
			t.Errorf("request %d: the body was changed", i)
		}
	}
}

// No clock, no randomness, no I/O: by what the sources import and call, not by what tests happen to see.
func TestSourcesAreWithoutClockAndIO(t *testing.T) {
	pure := []string{"bytes", "cmp", "container/heap", "crypto/hmac", "crypto/sha256", "encoding/base32", "encoding/base64", "encoding/json", "errors", "fmt", "hash", "hash/fnv", "io", "iter", "maps", "math",
		"net/netip", "net/url", "path", "reflect", "regexp", "runtime/debug", "slices", "strconv", "strings", "sync", "sync/atomic", "time", "unicode/utf16", "unicode/utf8",
		"github.com/google/uuid", "github.com/sparrowhq/sparrow/event", "github.com/sparrowhq/sparrow/event/body", "go.yaml.in/yaml/v3", "google.golang.org/protobuf/encoding/protowire"}
	allowedTime := []string{"Duration", "Parse", "ParseDuration", "RFC3339Nano", "Minute", "Hour", "Time"}
	set := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		files++
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range file.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); !slices.Contains(pure, path) {
				t.Errorf("%s imports %s: it is not on the list of pure packages", name, path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			switch {
			case !ok:
			case x.Name == "time" && !slices.Contains(allowedTime, s.Sel.Name):
				t.Errorf("%s uses time.%s", set.Position(s.Pos()), s.Sel.Name)
			case x.Name == "uuid" && s.Sel.Name != "UUID":
				t.Errorf("%s uses uuid.%s", set.Position(s.Pos()), s.Sel.Name)
			}
			return true
		})
	}
	if files < 15 {
		t.Fatalf("only %d files were looked at", files)
	}
}
