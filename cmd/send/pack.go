package send

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/event/body"
)

// maxBatchBytes keeps a batch well below what a mirror takes by default.
const maxBatchBytes = 512 << 10

// parcel is the body of one request and what it carries.
type parcel struct {
	body   []byte
	list   bool
	events []int // line number of each event
}

// ids returns the eventId of each event, given the id that the mirror gave the request.
func (p *parcel) ids(request uuid.UUID) []string {
	all := make([]string, len(p.events))
	for i := range all {
		all[i] = event.ID(request, uint32(i), p.list)
	}
	return all
}

// single is a line sent as a body of its own.
func single(l Line) *parcel {
	p := &parcel{body: l.Body, events: []int{l.Number}}
	// Only a body that may be a list needs to be read: any other is one event, readable or not.
	if l.Body[0] != '[' && !bytes.Contains(l.Body, []byte("batch")) && l.Body[0] != ' ' && l.Body[0] != '\t' {
		return p
	}
	var b body.Body
	if body.Split(l.Body, math.MaxInt, &b) == "" && b.List {
		p.list, p.events = true, nil
		for range b.Items {
			p.events = append(p.events, l.Number)
		}
	}
	return p
}

// packer makes parcels of up to size events each, as JSON arrays; 0: each line is a body.
type packer struct {
	src     Source
	size    int
	waiting *Line // read, but did not fit
	err     error // to be returned once what was read is sent
}

// next returns the next parcel; its error is that of the source.
func (p *packer) next() (*parcel, error) {
	if p.size == 0 {
		line, err := p.src.Next()
		if err != nil {
			return nil, err
		}
		return single(line), nil
	}
	batch := &parcel{list: true}
	for len(batch.events) < p.size {
		line, err := p.read()
		if err != nil {
			p.err = err
			break
		}
		if !batchable(line.Body) {
			if len(batch.events) == 0 {
				return single(line), nil
			}
			p.waiting = &line
			break
		}
		if len(batch.events) > 0 && len(batch.body)+len(line.Body) > maxBatchBytes {
			p.waiting = &line
			break
		}
		batch.body = append(append(batch.body, "[,"[min(len(batch.events), 1)]), line.Body...)
		batch.events = append(batch.events, line.Number)
	}
	if len(batch.events) == 0 {
		return nil, p.err
	}
	batch.body = append(batch.body, ']')
	return batch, nil
}

func (p *packer) read() (Line, error) {
	if l := p.waiting; l != nil {
		p.waiting = nil
		return *l, nil
	}
	if p.err != nil {
		return Line{}, p.err
	}
	return p.src.Next()
}

// batchable reports whether a line can be an item of an array. Anything else is sent alone, as a client would that
// cannot put it in its batch.
func batchable(line []byte) bool { return line[0] == '{' && json.Valid(line) }

// requestID reads the header in which the mirror tells a request's id.
func requestID(header string) (uuid.UUID, error) {
	id, err := uuid.Parse(header)
	if err != nil {
		return uuid.Nil, fmt.Errorf("answered 200 without a Sparrow-Request-Id (%q): no mirror is at this address", header)
	}
	return id, nil
}
