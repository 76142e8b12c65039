// Package terminal is how the program looks to people: tables, a status that is refreshed in place, and numbers.
//
// Invariant: on anything but a terminal only plain lines are written, without escape sequences; and nothing that a
// stranger sent reaches a terminal as a control character.
package terminal

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"
)

// Screen is where output goes.
type Screen struct {
	Out      io.Writer
	Terminal bool // a person watches; escape sequences may be used
	MaxCell  int  // of tables; 0: the constant
}

// Wide returns the screen with room for wider cells: for sentences, which help only when they are whole.
func (s Screen) Wide(cell int) Screen {
	s.MaxCell = cell
	return s
}

// NewScreen returns the screen behind out. It is a terminal only if out is one, plain is false, and the environment
// ("NAME=value") does not say TERM=dumb.
func NewScreen(out io.Writer, environ []string, plain bool) Screen {
	f, ok := out.(*os.File)
	dumb := false
	for _, entry := range environ {
		dumb = dumb || entry == "TERM=dumb"
	}
	return Screen{Out: out, Terminal: ok && !plain && !dumb && term.IsTerminal(int(f.Fd()))}
}

// Size returns the terminal's width and height in characters.
func (s Screen) Size() (width, height int) {
	if f, ok := s.Out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			return w, h
		}
	}
	return 80, 24
}

// Style wraps text in escape sequences on a terminal.
type Style string

// The styles there are.
const (
	Bold   Style = "1"
	Faint  Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
)

// Styled returns text in a style, or as it is where there is no terminal.
func (s Screen) Styled(style Style, text string) string {
	if !s.Terminal || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// Count writes n with separators: 1,234,567.
func Count[N ~int | ~int64 | ~uint64 | ~uint32](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if rest, negative := strings.CutPrefix(digits, "-"); negative {
		sign, digits = "-", rest
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Bytes writes n in the largest unit that leaves at least 1: 1.5 GiB.
func Bytes[N ~int | ~int64 | ~uint64](n N) string {
	x, unit := float64(n), 0
	names := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for x >= 1024 && unit < len(names)-1 {
		x, unit = x/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", x, names[unit])
}

// Bar draws how much of size is done, width columns wide; of an unknown size (0) it draws nothing.
func Bar(done, size int64, width int) string {
	if size <= 0 || width < 3 {
		return ""
	}
	part := min(float64(done)/float64(size), 1)
	full := int(part * float64(width))
	return fmt.Sprintf("%s%s %3.0f %%", strings.Repeat("█", full), strings.Repeat("░", width-full), math.Floor(part*100))
}

// Elapsed writes d with as much detail as a person wants: 950ms, 2.3s, 12s, 4m05s, 3h12m, 5d2h.
func Elapsed(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}
