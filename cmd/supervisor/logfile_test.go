package supervisor

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseLine(t *testing.T) {
	written := func(handler func(*bytes.Buffer) slog.Handler) []byte {
		var buf bytes.Buffer
		slog.New(handler(&buf)).With("process", "mirror").Error("feed stopped", "error", `reading "x": EOF`)
		return bytes.TrimSpace(buf.Bytes())
	}
	asText := func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }
	asJSON := func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) }
	for name, c := range map[string]struct {
		line []byte
		want logLine
	}{
		"slog text":     {written(asText), logLine{text: `feed stopped: reading "x": EOF`, grave: true}},
		"slog JSON":     {written(asJSON), logLine{text: `feed stopped: reading "x": EOF`, grave: true}},
		"info":          {[]byte("time=2026-01-01T00:00:00Z level=INFO msg=started"), logLine{text: "started"}},
		"panic":         {[]byte("panic: runtime error: index out of range"), logLine{text: "panic: runtime error: index out of range", grave: true}},
		"somebody else": {[]byte("  usage: frobnicate"), logLine{text: "usage: frobnicate"}},
		"half a line":   {[]byte(`time=2026 level=ERROR msg="cut sho`), logLine{text: `"cut`, grave: true}},
		"broken JSON":   {[]byte(`{"level":`), logLine{text: `{"level":`}},
		"empty":         {nil, logLine{}},
	} {
		if got := parseLine(c.line); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestLogIsBoundedAndLosesNoLineInPeace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.bound = 1000
	seen := 0
	count := func([]byte) { seen++ }
	const lines = 1000
	for i := range lines {
		fmt.Fprintf(l.File, "line %d of many\n", i)
		if i%10 == 0 {
			l.read(count)
			l.rotate(count)
		}
	}
	l.read(count)
	if seen != lines {
		t.Errorf("%d lines were passed on, want %d", seen, lines)
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) != 1+keepLog {
		t.Errorf("files: %v, want the log and %d older ones", files, keepLog)
	}
	var kept string
	for i := keepLog; i >= 0; i-- {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 1200 {
			t.Errorf("%s has %d bytes", name, len(data))
		}
		kept += string(data)
	}
	first := strings.Fields(kept)[1]
	var n int
	fmt.Sscan(first, &n)
	for _, line := range strings.Split(strings.TrimSpace(kept), "\n") {
		if want := fmt.Sprintf("line %d of many", n); line != want {
			t.Fatalf("%q where %q was expected", line, want)
		}
		n++
	}
	if n != lines {
		t.Errorf("the last line kept is %d, want %d", n-1, lines-1)
	}
}
