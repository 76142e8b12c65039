package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/deploy"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
	"github.com/sparrowhq/sparrow/mirror"
)

// decided is the mirror as deploy sees it. The two know nothing of each other: what the mirror answers is turned into
// what deploy reads by the JSON that compare reads over HTTP, so that a decision and a verdict cannot differ in what
// they saw.
type decided struct {
	mirror *mirror.Mirror
}

var _ interface {
	deploy.Pipeline
	deploy.Log
} = (*decided)(nil)

// Status implements compare.Pipeline.
func (d *decided) Status(ctx context.Context) (compare.Status, error) {
	var s compare.Status
	is, err := d.mirror.Status(ctx)
	if err != nil {
		return s, err
	}
	err = reread(is, &s)
	return s, err
}

// Ledger implements compare.Pipeline.
func (d *decided) Ledger(ctx context.Context, from, to uint64) (compare.Ledger, error) {
	var l compare.Ledger
	is, err := d.mirror.Ledger(ctx, from, to)
	var inexact *mirror.InexactError
	if errors.As(err, &inexact) {
		return l, &compare.InexactError{Detail: err.Error(), Below: inexact.Below, Above: inexact.Above}
	}
	if err != nil {
		return l, err
	}
	err = reread(is, &l)
	return l, err
}

// Timeline implements compare.Pipeline.
func (d *decided) Timeline(ctx context.Context) (event.Timeline, error) {
	return d.mirror.Timeline(ctx)
}

// AppendControl implements deploy.Pipeline.
func (d *decided) AppendControl(ctx context.Context, c event.Control) (event.Record, error) {
	r, err := d.mirror.AppendControl(ctx, c)
	if errors.Is(err, journal.ErrConflict) {
		return r, fmt.Errorf("%w: %w", deploy.ErrConflict, err)
	}
	return r, err
}

// AppendRecord implements deploy.Log.
func (d *decided) AppendRecord(ctx context.Context, log string, value []byte) (uint64, error) {
	return d.mirror.AppendRecord(ctx, log, value)
}

// Records implements deploy.Log.
func (d *decided) Records(ctx context.Context, log string, from uint64, fn func(uint64, []byte) error) error {
	return d.mirror.Records(ctx, log, from, fn)
}

// reread fills to with what from is on the wire.
func reread(from, to any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}
