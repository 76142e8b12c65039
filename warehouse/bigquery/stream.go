package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// storage is the Storage Write API.
type storage struct {
	client  storagepb.BigQueryWriteClient
	tokens  *tokens // nil: none are asked for
	timeout time.Duration
}

// call runs a unary call, once more with a new token if the old one was refused.
func (s *storage) call(ctx context.Context, route string, fn func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		bounded, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "x-goog-request-params", route), s.timeout)
		with, token, err := s.tokens.authorize(bounded)
		if err == nil {
			err = fn(with)
		}
		cancel()
		if attempt == 0 && token != "" && unauthenticated(err) {
			s.tokens.reject(token)
			continue
		}
		return err
	}
}

// create makes a stream whose rows can be read as soon as an append of them is answered, and that checks offsets.
func (s *storage) create(ctx context.Context, parent string) (name string, err error) {
	err = s.call(ctx, "parent="+url.QueryEscape(parent), func(ctx context.Context) error {
		w, err := s.client.CreateWriteStream(ctx, &storagepb.CreateWriteStreamRequest{
			Parent: parent, WriteStream: &storagepb.WriteStream{Type: storagepb.WriteStream_COMMITTED},
		})
		name = w.GetName()
		return err
	})
	return name, err
}

// finalise ends a stream for ever and returns how many rows it took; -1 if there is no such stream any more.
func (s *storage) finalise(ctx context.Context, stream string) (rows int64, err error) {
	err = s.call(ctx, "name="+url.QueryEscape(stream), func(ctx context.Context) error {
		a, err := s.client.FinalizeWriteStream(ctx, &storagepb.FinalizeWriteStreamRequest{Name: stream})
		rows = a.GetRowCount()
		return err
	})
	if missing(err) {
		return -1, nil
	}
	return rows, err
}

// stream appends to one write stream over one long-lived call. It is not safe for concurrent use.
//
// It is ours, not managedwriter's: see docs/decisions/0018-bigquery.md.
type stream struct {
	storage    *storage
	name       string
	descriptor *descriptorpb.DescriptorProto

	call    storagepb.BigQueryWrite_AppendRowsClient // nil: none is open
	cancel  context.CancelFunc
	token   string
	started bool // the call has had its first request
}

// append sends rows at an offset (below 0: none, for a default stream) and waits for the answer. After an error the call
// is gone, and what became of the append is for classify to say.
func (s *stream) append(ctx context.Context, offset int64, rows [][]byte) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	// A call that hangs is cut, so that nothing that is sent again can queue up behind it.
	cut := time.AfterFunc(s.storage.timeout, s.cancel)
	defer cut.Stop()
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	err := s.exchange(offset, rows)
	if err == nil && (!cut.Stop() || !stop()) {
		s.close() // answered in time, but the call is being cut
		return nil
	}
	if err != nil {
		if unauthenticated(err) && s.token != "" {
			s.storage.tokens.reject(s.token)
		}
		s.close()
	}
	return err
}

func (s *stream) open(ctx context.Context) error {
	if s.call != nil {
		return nil
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	base = metadata.AppendToOutgoingContext(base, "x-goog-request-params", "write_stream="+url.QueryEscape(s.name))
	bounded, done := context.WithTimeout(ctx, s.storage.timeout)
	defer done()
	_, token, err := s.storage.tokens.authorize(bounded)
	if err != nil {
		cancel()
		return err
	}
	if token != "" {
		base = metadata.AppendToOutgoingContext(base, "authorization", "Bearer "+token)
	}
	opening := context.AfterFunc(bounded, cancel)
	call, err := s.storage.client.AppendRows(base)
	if !opening() && err == nil {
		err = context.Cause(bounded)
	}
	if err != nil {
		cancel()
		return err
	}
	s.call, s.cancel, s.token, s.started = call, cancel, token, false
	return nil
}

func (s *stream) exchange(offset int64, rows [][]byte) error {
	data := &storagepb.AppendRowsRequest_ProtoData{Rows: &storagepb.ProtoRows{SerializedRows: rows}}
	request := &storagepb.AppendRowsRequest{Rows: &storagepb.AppendRowsRequest_ProtoRows{ProtoRows: data}}
	if offset >= 0 {
		request.Offset = wrapperspb.Int64(offset)
	}
	if !s.started {
		request.WriteStream, request.TraceId = s.name, "sparrow"
		data.WriterSchema = &storagepb.ProtoSchema{ProtoDescriptor: s.descriptor}
		s.started = true
	}
	// An error of Send is always io.EOF and says nothing; Recv has the server's.
	if err := s.call.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	answer, err := s.call.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the server ended the call without an answer: %w", io.ErrUnexpectedEOF)
	case err != nil:
		return err
	case len(answer.GetRowErrors()) > 0:
		return &rowError{answer.GetRowErrors()}
	case answer.GetError() != nil:
		return statusError(answer.GetError())
	case answer.GetAppendResult() == nil:
		return fmt.Errorf("the answer says nothing about the append: %w", io.ErrUnexpectedEOF)
	}
	if at := answer.GetAppendResult().GetOffset(); offset >= 0 && at != nil && at.GetValue() != offset {
		return fmt.Errorf("the answer is about offset %d, the append was at %d: %w", at.GetValue(), offset, io.ErrUnexpectedEOF)
	}
	return nil
}

// close ends the call; the next append opens another.
func (s *stream) close() {
	if s.call == nil {
		return
	}
	s.cancel()
	for { // the call's resources are free once Recv says so
		if _, err := s.call.Recv(); err != nil {
			break
		}
	}
	s.call = nil
}
