package compare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Format names a rendering.
type Format string

// The renderings of a report.
const (
	FormatText     Format = "text"
	FormatJSON     Format = "json"
	FormatJUnit    Format = "junit"
	FormatMarkdown Format = "markdown"
	FormatHTML     Format = "html"
)

// ParseFormat returns the format called name. The error is a *UsageError.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case FormatText, FormatJSON, FormatJUnit, FormatMarkdown, FormatHTML:
		return f, nil
	}
	return "", &UsageError{fmt.Errorf("format %q: want text, json, junit, markdown or html", name)}
}

// NewReport judges the evidence and puts both together.
func NewReport(ev *Evidence, p Policy) Report {
	return Report{Schema: Schema, Verdict: Judge(*ev, p), Evidence: ev}
}

// Write renders the report. color is for FormatText on a terminal.
func (r Report) Write(w io.Writer, f Format, color bool) error {
	switch f {
	case FormatText:
		return r.writeText(w, color)
	case FormatJSON:
		return r.writeJSON(w)
	case FormatJUnit:
		return r.writeJUnit(w)
	case FormatMarkdown:
		return r.writeMarkdown(w)
	case FormatHTML:
		return r.writeHTML(w)
	}
	return &UsageError{fmt.Errorf("format %q: want text, json, junit, markdown or html", f)}
}

func (r Report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// DecodeEvidence reads an evidence document. A document of another schema is returned as far as its schema number, for
// Judge to refuse; one of this schema must hold nothing that this build does not know.
func DecodeEvidence(data []byte) (*Evidence, error) {
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if head.Schema != Schema {
		return &Evidence{Schema: head.Schema}, nil
	}
	ev := new(Evidence)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(ev); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("evidence: something follows the document")
	}
	return ev, nil
}

// instant writes microseconds since the epoch for people.
func instant(micros int64) string {
	if micros == 0 {
		return ""
	}
	return time.UnixMicro(micros).UTC().Format("2006-01-02 15:04:05.000 MST")
}

// describes says in a few words what an example shows.
func (x Example) describes() string {
	switch x.Kind {
	case Missing:
		return "in live, not in staging"
	case Extra:
		return "in staging, not in live"
	case Dead:
		return "failed alone at " + string(x.Side)
	case Doubled:
		return fmt.Sprintf("%d rows on %s", x.Copies, x.Side)
	case LostByBoth:
		return "in neither dataset"
	case Skipped:
		return "stored raw, without an outcome on either side"
	case Misrouted:
		return fmt.Sprintf("sent by %s with the credential of %s", x.Side, or(Visible(x.Sink), "nobody known"))
	case Undelivered:
		return "never handed to " + string(x.Side)
	case Pending:
		return "not yet stored by " + string(x.Side)
	}
	return ""
}
