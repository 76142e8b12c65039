package terminal

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Live keeps a block of lines at the bottom of a terminal up to date, while other lines scroll by above it and stay in
// the terminal's history. On anything but a terminal the block is not shown at all, and lines are simply written.
//
// It is safe for concurrent use.
type Live struct {
	screen Screen

	mu    sync.Mutex
	block []string // as drawn; empty: nothing is
}

// NewLive returns a Live that draws on s.
func NewLive(s Screen) *Live { return &Live{screen: s} }

// Print writes a line above the block.
func (l *Live) Print(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	block := l.block
	l.write(l.eraseLocked() + strings.TrimRight(line, "\n") + "\n" + l.drawLocked(block))
}

// Draw replaces the block. Lines wider than the terminal are cut, since a wrapped line could not be erased again.
func (l *Live) Draw(block []string) {
	if !l.screen.Terminal {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(l.eraseLocked() + l.drawLocked(block))
}

// Close leaves the block, as it was drawn last, in the terminal's history.
func (l *Live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.block = nil
}

// Clear removes the block.
func (l *Live) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(l.eraseLocked())
}

// write writes for people: where nobody can read it, there is nobody to tell that either.
func (l *Live) write(text string) { _, _ = io.WriteString(l.screen.Out, text) }

// eraseLocked returns what removes the block from the screen: up to its first line, then clear to the end.
func (l *Live) eraseLocked() string {
	if len(l.block) == 0 {
		return ""
	}
	n := len(l.block)
	l.block = nil
	return fmt.Sprintf("\x1b[%dA\r\x1b[J", n)
}

func (l *Live) drawLocked(block []string) string {
	if !l.screen.Terminal || len(block) == 0 {
		return ""
	}
	width, height := l.screen.Size()
	if len(block) > height-1 {
		block = block[:max(height-1, 0)] // what scrolls off the top could not be erased
	}
	var b strings.Builder
	for _, line := range block {
		if text.StringWidthWithoutEscSequences(line) >= width {
			line = text.Trim(line, width-2) + "…"
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	l.block = block
	return b.String()
}
