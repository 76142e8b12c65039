package bigquery

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// description is what a log's description says: which stream may be written to, and which before it may not be
// finalised yet. A description is the only thing about a table that BigQuery changes by compare-and-set (an etag) and
// shows at once. Whoever takes a table over first puts its new stream there, then finalises those that were there before.
type description struct {
	writer string   // empty: there never was one
	before []string // streams that wrote before it
}

var descriptionForm = regexp.MustCompile(`\bformat=(\d+)\b(?:.*\bwriter=(\S+))?(?:.*\bbefore=(\S+))?`)

// describe writes a description.
func describe(d description) string {
	s := fmt.Sprintf("Written by Sparrow; do not edit. format=%d", format)
	if d.writer != "" {
		s += " writer=" + d.writer
	}
	if len(d.before) > 0 {
		s += " before=" + strings.Join(d.before, ",")
	}
	return s
}

// parseDescription reads the description of a table.
func parseDescription(table, text string) (d description, err error) {
	m := descriptionForm.FindStringSubmatch(text)
	if m == nil {
		return d, fmt.Errorf("the description of table %s no longer says which stream writes it: stop every sparrow warehouse, wait a minute so that nothing is on its way any more, and set it to %q", table, describe(d))
	}
	have, err := strconv.Atoi(m[1])
	if err != nil || have > format {
		return d, fmt.Errorf("table %s is of format %s, this build reads %d; run the newer build", table, m[1], format)
	}
	d.writer = m[2]
	if m[3] != "" {
		d.before = strings.Split(m[3], ",")
	}
	return d, nil
}

// claimed is the description after stream took the place of the writer.
func (d description) claimed(stream string) description {
	next := description{writer: stream}
	if d.writer != "" {
		next.before = append(next.before, d.writer)
	}
	next.before = append(next.before, d.before...)
	return next
}
