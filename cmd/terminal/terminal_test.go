package terminal

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"
)

func TestPlainTable(t *testing.T) {
	var out bytes.Buffer
	s := Screen{Out: &out}
	rows := [][]string{
		{"ページ", "1,234", "x"},
		{"pageview", "7", strings.Repeat("長", 100)},
		{"evil \x1b[2J\n\u202e", "-1", "\xff"},
	}
	if err := s.Table(Columns("event", ">count", "data"), rows); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`event                 count  data`,
		`ページ                1,234  x`,
		`pageview                  7  ` + strings.Repeat("長", 29) + `…`,
		`evil \x1b[2J\n\u202e     -1  \xff`,
		``}, "\n")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTerminalTableAligns(t *testing.T) {
	var out bytes.Buffer
	s := Screen{Out: &out, Terminal: true}
	if err := s.Table(Columns("event", ">n"), [][]string{{"ページ", "1"}, {"a", "22"}}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if w := text.StringWidth(strings.TrimSuffix(line, "\n")); w != 15 {
			t.Errorf("width %d, want 15 as all others: %q", w, line)
		}
	}
}

// display is a terminal as far as Live needs one: it never scrolls, so lines are what a person sees and can scroll to.
type display struct {
	lines    []string
	row, col int
}

func (d *display) Write(p []byte) (int, error) {
	in := string(p)
	for in != "" {
		var n int
		switch {
		case strings.HasPrefix(in, "\x1b[J"):
			d.lines = d.lines[:d.row]
			in = in[3:]
		case strings.HasPrefix(in, "\x1b["):
			if _, err := fmt.Sscanf(in, "\x1b[%dA", &n); err != nil {
				return 0, fmt.Errorf("unknown sequence %q", in)
			}
			d.row -= n
			in = in[strings.IndexByte(in, 'A')+1:]
		case in[0] == '\r':
			d.col, in = 0, in[1:]
		case in[0] == '\n':
			d.row, d.col, in = d.row+1, 0, in[1:]
		default:
			end := strings.IndexAny(in, "\x1b\r\n")
			for len(d.lines) <= d.row {
				d.lines = append(d.lines, "")
			}
			d.lines[d.row] = d.lines[d.row][:d.col] + in[:end]
			d.col += end
			in = in[end:]
		}
	}
	return len(p), nil
}

func TestLiveKeepsHistoryAndOneBlock(t *testing.T) {
	d := &display{}
	l := NewLive(Screen{Out: d, Terminal: true})
	l.Print("first")
	l.Draw([]string{"status 1", "more"})
	l.Print("second")
	l.Draw([]string{"status 2", "more", "and more"})
	l.Draw([]string{"status 3"})
	l.Print("third")
	if diff := cmp.Diff([]string{"first", "second", "third", "status 3"}, d.lines); diff != "" {
		t.Error(diff)
	}
	l.Draw([]string{strings.Repeat("長", 80)})
	if got := d.lines[len(d.lines)-1]; text.StringWidth(got) >= 80 || !strings.HasSuffix(got, "…") {
		t.Errorf("a line as wide as the terminal or wider wraps and cannot be erased: %q", got)
	}
	l.Clear()
	if diff := cmp.Diff([]string{"first", "second", "third"}, d.lines); diff != "" {
		t.Error(diff)
	}
}

func TestNoEscapeSequencesOffTheTerminal(t *testing.T) {
	var out bytes.Buffer
	s := NewScreen(&out, nil, false)
	l := NewLive(s)
	l.Draw([]string{"status"})
	l.Print(s.Styled(Red, "gone"))
	l.Draw([]string{"status"})
	l.Clear()
	if out.String() != "gone\n" {
		t.Errorf("%q, want the printed line only", out.String())
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Count(0): "0", Count(999): "999", Count(1000): "1,000", Count(uint64(1234567)): "1,234,567", Count(-1234): "-1,234",
		Bytes(0): "0 B", Bytes(1023): "1023 B", Bytes(1536): "1.5 KiB", Bytes(int64(20) << 30): "20.0 GiB",
		Elapsed(950 * time.Millisecond): "950ms", Elapsed(2340 * time.Millisecond): "2.3s", Elapsed(12340 * time.Millisecond): "12s", Elapsed(245 * time.Second): "4m05s",
		Elapsed(192 * time.Minute): "3h12m", Elapsed(122 * time.Hour): "5d2h",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
