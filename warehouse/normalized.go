package warehouse

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
)

// Property is a column of raw_normalized: one allowlisted property with its type.
type Property struct {
	Name string   `json:"name"` // the allowlist's path; the column's name is derived from it, see ColumnNames
	Keys []string `json:"keys"` // that lead to it inside properties
	Type string   `json:"type"` // string, integer, number, boolean, time, json
}

// The types of a Property. A value of another type, or none, is NULL.
const (
	TypeString  = "string"
	TypeInteger = "integer" // at most IntegerDigits digits with an optional minus; a longer one is NULL
	TypeNumber  = "number"  // any JSON number that a double can hold
	TypeBoolean = "boolean"
	TypeTime    = "time" // a string as in RFC 3339; shown in UTC, to the microsecond
	TypeJSON    = "json" // anything, as JSON text
)

// IntegerDigits is how many digits an integer of raw_normalized may have. So many BigQuery's NUMERIC holds; and a sum of
// a billion such integers still fits into 128 bits, so that no client can make a sum fail. Raw keeps every digit.
const IntegerDigits = 29

// Normaliser keeps the columns of raw_normalized.
type Normaliser interface {
	// Normalise makes the view raw_normalized of a stack anew: the fixed columns, then one for each property, under the
	// name that ColumnNames gives it. live.raw_normalized and staging.raw_normalized follow: each has the columns of the
	// stack that is live, or is the candidate, at the head of the timeline; rows of the other stack fill those that it
	// has too, by Property.Name, and leave NULL in the others. Durable on return; the same properties again change
	// nothing. It may block until transactions in progress end, and may be called concurrently; the last call counts.
	Normalise(ctx context.Context, stack event.Stack, properties []Property) error
}

// fixedColumns are those that raw_normalized always has; stack is in live and staging only.
var fixedColumns = []string{"eventId", "timestamp", "event", "frame", "request", "item", "run", "build", "context", "deviceId", "userId", "messageId", "stack"}

const (
	maxProperties = 5000
	maxKeys       = 64
	maxColumnName = 128
)

// CheckProperties refuses what no engine could make a view of.
func CheckProperties(properties []Property) error {
	if len(properties) > maxProperties {
		return fmt.Errorf("%d properties: raw_normalized has room for %d", len(properties), maxProperties)
	}
	names := make(map[string]bool, len(properties))
	for i, p := range properties {
		switch {
		case p.Name == "" || len(p.Name) > 4096 || !utf8.ValidString(p.Name):
			return fmt.Errorf("property %d: its name %.100q is empty, too long or not UTF-8", i, p.Name)
		case names[p.Name]:
			return fmt.Errorf("property %.100q is there twice", p.Name)
		case len(p.Keys) == 0 || len(p.Keys) > maxKeys:
			return fmt.Errorf("property %.100q: %d keys lead to it, want 1 to %d", p.Name, len(p.Keys), maxKeys)
		}
		names[p.Name] = true
		for _, k := range p.Keys {
			if len(k) > 4096 || !utf8.ValidString(k) || strings.ContainsRune(k, 0) {
				return fmt.Errorf("property %.100q: the key %.100q is too long, not UTF-8, or has a NUL in it", p.Name, k)
			}
		}
		switch p.Type {
		case TypeString, TypeInteger, TypeNumber, TypeBoolean, TypeTime, TypeJSON:
		default:
			return fmt.Errorf("property %.100q: unknown type %.100q", p.Name, p.Type)
		}
	}
	return nil
}

// ColumnNames returns the name of each property's column, the same in every engine: the property's name in lower case,
// with every run of anything but ASCII letters and digits as one underscore, none at its ends; beginning with a letter,
// at most 128 bytes, and unlike all others and the fixed columns whatever their case, by a suffix _2, _3 and so on. No
// name begins with an underscore, so none with a prefix that BigQuery keeps for itself. Names do not depend on the properties' order: those
// that already are column names keep them, and the others choose in the order of their names.
func ColumnNames(properties []Property) []string {
	taken := map[string]bool{}
	for _, name := range fixedColumns {
		taken[strings.ToLower(name)] = true
	}
	byName := make([]int, len(properties))
	for i := range byName {
		byName[i] = i
	}
	slices.SortStableFunc(byName, func(a, b int) int { return strings.Compare(properties[a].Name, properties[b].Name) })
	names := make([]string, len(properties))
	for _, exact := range []bool{true, false} {
		for _, i := range byName {
			column := columnName(properties[i].Name)
			if names[i] != "" || exact && column != properties[i].Name {
				continue
			}
			free := column
			for n := 2; taken[free]; n++ {
				suffix := "_" + strconv.Itoa(n)
				free = column[:min(len(column), maxColumnName-len(suffix))] + suffix
			}
			taken[free] = true
			names[i] = free
		}
	}
	return names
}

func columnName(name string) string {
	var b strings.Builder
	gap := false
	for _, r := range name {
		switch {
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
			fallthrough
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			if b.Len() == 0 && r <= '9' {
				b.WriteString("p_")
			} else if gap && b.Len() > 0 {
				b.WriteByte('_')
			}
			gap = false
			b.WriteRune(r)
		default:
			gap = true
		}
	}
	if b.Len() == 0 {
		return "property"
	}
	return b.String()[:min(b.Len(), maxColumnName)]
}
