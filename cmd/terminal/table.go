package terminal

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// MaxCell is the widest a cell of a table gets, unless Screen says otherwise, in columns of the screen. JSON and CSV
// show everything.
const MaxCell = 60

// Column is one column of a table.
type Column struct {
	Name  string
	Right bool // numbers
}

// Columns are columns of text; a name that begins with ">" is one of numbers.
func Columns(names ...string) []Column {
	var all []Column
	for _, name := range names {
		name, right := strings.CutPrefix(name, ">")
		all = append(all, Column{Name: name, Right: right})
	}
	return all
}

// Table writes rows under their columns: with lines on a terminal, plain elsewhere. Cells that are too wide are cut
// with "…"; characters that would move the cursor or change the text's direction are shown, not sent.
func (s Screen) Table(columns []Column, rows [][]string) error {
	t := table.NewWriter()
	style := table.StyleLight
	if !s.Terminal {
		style = table.StyleDefault
		style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
		style.Options = table.Options{}
	}
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	most := cmp.Or(s.MaxCell, MaxCell)
	var header table.Row
	var configs []table.ColumnConfig
	for i, c := range columns {
		header = append(header, Cell(c.Name, most))
		config := table.ColumnConfig{Number: i + 1, Align: text.AlignLeft, AlignHeader: text.AlignLeft}
		if c.Right {
			config.Align, config.AlignHeader = text.AlignRight, text.AlignRight
		}
		configs = append(configs, config)
	}
	t.AppendHeader(header)
	t.SetColumnConfigs(configs)
	for _, row := range rows {
		var cells table.Row
		for _, cell := range row {
			cells = append(cells, Cell(cell, most))
		}
		t.AppendRow(cells)
	}
	for line := range strings.Lines(t.Render() + "\n") {
		if _, err := io.WriteString(s.Out, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// Cell returns value as it can safely be shown in at most width columns.
func Cell(value string, width int) string {
	value = Printable(value)
	if text.StringWidth(value) <= width {
		return value
	}
	return text.Trim(value, width-1) + "…"
}

// Printable replaces what a terminal would obey instead of show: control characters, changes of direction, and bytes
// that are not UTF-8. Cells come from what strangers sent.
func Printable(value string) string {
	clean := func(r rune) bool { return !unicode.IsControl(r) && !turns(r) && r != utf8.RuneError }
	if strings.IndexFunc(value, func(r rune) bool { return !clean(r) }) < 0 {
		return value
	}
	var b strings.Builder
	for len(value) > 0 {
		r, size := utf8.DecodeRuneInString(value)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, value[0])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		case turns(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		value = value[size:]
	}
	return b.String()
}

// turns reports whether r changes the direction of the text after it.
func turns(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x061c
}

// Width is how many columns of the screen a line takes.
func Width(line string) int {
	return text.StringWidthWithoutEscSequences(strings.TrimRight(line, "\n"))
}
