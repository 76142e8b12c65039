package supervisor

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// failure puts an exit status and the process's own last words together.
func (c *child) failure(err error) string {
	c.log.read(c.logged) // what it wrote just before it ended
	c.mu.Lock()
	defer c.mu.Unlock()
	text := "exit status 0"
	if err != nil {
		text = err.Error()
	}
	if c.words != "" {
		text += ": " + c.words
	}
	return text
}

// logged takes one line of the process's log.
func (c *child) logged(line []byte) {
	e := parseLine(line)
	if e.text == "" {
		return
	}
	c.mu.Lock()
	if e.grave || !c.grave {
		c.words, c.grave = e.text, e.grave
	}
	c.mu.Unlock()
	switch {
	case e.grave:
		c.surface(e.text)
	case c.process.Account != "" && strings.HasPrefix(e.text, c.process.Account):
		c.s.report(c.process.Name, slog.LevelInfo, e.text)
	}
}

// An operator is told of at most floodLines errors of a process within floodTime, and then how many there were.
const (
	floodLines = 5
	floodTime  = 10 * time.Second
)

// surface tells of an error that the process logged. It is called by one goroutine at a time.
func (c *child) surface(text string) {
	c.mu.Lock()
	now := time.Now()
	var missed int
	if now.Sub(c.floodSince) > floodTime {
		missed = c.flood - floodLines
		c.floodSince, c.flood = now, 0
	}
	c.flood++
	told := c.flood <= floodLines
	c.mu.Unlock()
	if missed > 0 {
		c.s.report(c.process.Name, slog.LevelError, fmt.Sprintf("%d more errors like these: see logs/%s.log", missed, c.process.Name))
	}
	if told {
		c.s.report(c.process.Name, slog.LevelError, text)
	}
}
