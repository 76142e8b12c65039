package cmd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/cmd/supervisor"
	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/event"
)

// say tells the person at the terminal, and the log.
func (u *installed) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if u.telemetry != nil {
		u.telemetry.Log.Info(text)
	}
	u.live.Print(text)
}

// report takes what the supervisor has to tell.
func (u *installed) report(e supervisor.Event) {
	u.telemetry.Log.Log(context.Background(), e.Level, e.Text, "name", e.Process)
	name := u.screen.Styled(terminal.Bold, e.Process)
	text := terminal.Printable(e.Text)
	if e.Level >= slog.LevelError {
		text = u.screen.Styled(terminal.Red, text)
	}
	u.live.Print(fmt.Sprintf("%s %s: %s", e.At.Format(time.TimeOnly), name, text))
}

// announce says what to do next.
func (u *installed) announce() {
	if err := u.endpoints().write(u.dir); err != nil {
		u.say("endpoints.json cannot be written, so that other commands will not find this Sparrow: %v", err)
	}
	var b strings.Builder
	u.p.writeNextSteps(&b, u)
	for line := range strings.Lines(b.String()) {
		u.live.Print(line)
	}
}

// shellWord quotes what a shell would not take as one word.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (p *program) writeNextSteps(w io.Writer, u *installed) {
	sparrow, data := p.Program, ""
	if p.data != "" || p.configFile != "" {
		data = " --data " + shellWord(u.dir)
	}
	e := u.endpoints()
	tell(w, `Sparrow is ready. Everything it keeps is in %s; Ctrl-C stops it in order.

  for clients    %s
  for operators  %s   token in %s
  green runs     %s
  blue runs      %s

Send an event, or a thousand made-up ones, and look at them:
  curl -d '{"event":"pageview","deviceId":"d1","properties":{"pathname":"/"}}' '%s/v1/events?k=dev'
  %s send%s --generate 1000
  %s query%s "SELECT event, count(*) AS n FROM live.raw GROUP BY event ORDER BY n DESC"
Compare what the two stacks stored, and make the candidate live:
  %s deploy candidate%s [--binary PATH]
  %s send%s --generate 1000
  %s compare%s --wait 1m
  %s deploy cutover%s
  %s deploy status%s
`, u.dir, e.Clients, e.Admin, e.TokenFile, u.version(event.Green), u.version(event.Blue), e.Clients,
		sparrow, data, sparrow, data, sparrow, data, sparrow, data, sparrow, data, sparrow, data, sparrow, data)
}
