package warehouse

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
)

// ErrNotSupported says that the engine cannot do that.
var ErrNotSupported = errors.New("this warehouse engine does not support it")

// Kinds of ids by which a person is known.
const (
	ByDevice = "device" // deviceId
	ByUser   = "user"   // userId
)

// Person names whose events are meant. The id must not come into logs, errors, file names or command lines.
type Person struct {
	Kind string `json:"kind"` // ByDevice or ByUser
	ID   string `json:"id"`
}

// maxPersonID bounds an id, in bytes.
const maxPersonID = 4096

// Check refuses what names nobody.
func (p Person) Check() error {
	switch {
	case p.Kind != ByDevice && p.Kind != ByUser:
		return fmt.Errorf("a person is known by %s or %s, not by %.100q", ByDevice, ByUser, p.Kind)
	case p.ID == "":
		return errors.New("the id is empty")
	case len(p.ID) > maxPersonID || !utf8.ValidString(p.ID):
		return fmt.Errorf("the id is not UTF-8 or longer than %d bytes", maxPersonID)
	}
	return nil
}

// Key is the field of an event that holds the id.
func (p Person) Key() string {
	return map[string]string{ByDevice: "deviceId", ByUser: "userId"}[p.Kind]
}

// In reports whether an event as it was sent names the person: by any of its fields of that key, in any case (trace takes
// the last of equal keys, raw_normalized shows the first), alone or within a list. What is no JSON object counts as the
// person's if the id is anywhere in it.
func (p Person) In(data []byte) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	named := false
	begin, err := d.Token()
	if err == nil && begin != json.Delim('{') {
		err = errors.New("no object")
	}
	for err == nil && d.More() {
		var key json.Token
		var value any
		if key, err = d.Token(); err == nil {
			err = d.Decode(&value)
		}
		named = named || err == nil && strings.EqualFold(key.(string), p.Key()) && p.is(value)
	}
	if err == nil {
		_, err = d.Token() // its end
	}
	if err == nil && d.More() {
		err = errors.New("more than one value")
	}
	return named || err != nil && bytes.Contains(data, []byte(p.ID))
}

// is reports whether a value is the id, or holds it.
func (p Person) is(value any) bool {
	switch v := value.(type) {
	case string:
		return v == p.ID
	case json.Number:
		return string(v) == p.ID
	case []any:
		return slices.ContainsFunc(v, p.is)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), p.is)
	}
	return false
}

// Salted returns a random salt and the hash of the person under it, both in hexadecimal digits. Ids can be guessed, and
// hashes of them without a salt looked up.
func (p Person) Salted() (salt, hash string) {
	b := make([]byte, 16)
	rand.Read(b)
	salt = hex.EncodeToString(b)
	return salt, p.Hash(salt)
}

// Hash is the person under a salt: whoever knows the id can tell that it was the one.
func (p Person) Hash(salt string) string {
	sum := sha256.Sum256([]byte(salt + "\x00" + p.Kind + "\x00" + p.ID))
	return hex.EncodeToString(sum[:])
}

// Erased counts what an erasure changed.
type Erased struct {
	Events   int                    `json:"events"`   // positions
	Rows     map[event.Stack]uint64 `json:"rows"`     // of raw
	Outcomes map[event.Stack]uint64 `json:"outcomes"` // of all stages, corrections included
	Salt     string                 `json:"salt"`
	Hash     string                 `json:"hash"` // of the person under the salt, as in the table erasures
	At       int64                  `json:"at"`   // microseconds since the epoch

	Scanned int64 `json:"scanned,omitempty"` // bytes that the engine bills for, if it does
}

// LaterError says that a part of an erasure cannot be done yet, since the engine cannot change rows so soon after they
// were written. What was done stays done: Erase again, until it succeeds.
type LaterError struct {
	Rows  int64         // that wait, or more
	After time.Duration // for which the engine may refuse to change them
}

func (e *LaterError) Error() string {
	return fmt.Sprintf("%d rows or more cannot be changed yet: they were written a short while ago, and can be within %s; erase again then", e.Rows, e.After)
}

// Eraser is an engine that can forget a person.
type Eraser interface {
	// Erase takes what a person sent out of the raw rows and outcomes of both stacks, in all runs. In the place of each row
	// stays a tombstone with its position, eventId, time and build, so that the ledger, counts and digests still agree; it
	// is not in live, staging or raw_normalized. by is who asked for it, for the record that is kept in the table erasures.
	// Appends go on meanwhile, with pauses. What was appended while Erase looked is looked for once more; only what comes
	// after that is missed, so a person's traffic should have ended. After an error a part may be done, and Erase again does
	// the rest. Errors: ErrNotSupported, *LaterError, context errors.
	Erase(ctx context.Context, who Person, by string) (Erased, error)
}
