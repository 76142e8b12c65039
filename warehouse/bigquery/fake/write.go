package fake

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// maxRequest is what an append may have at most.
const maxRequest = 10_000_000

// stream is a write stream. The default stream of a table has no state but its table.
type stream struct {
	name  string
	table *table
	plain bool // the default stream: no offsets, at least once

	mu        sync.Mutex // held for the whole of an append
	rows      int64
	finalised bool
}

func (s *Server) authorized(ctx context.Context) error {
	if s.o.Token == nil {
		return nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		if token, ok := strings.CutPrefix(v, "Bearer "); ok && s.o.Token(token) {
			return nil
		}
	}
	return errToken
}

func (s *Server) checkStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	if err := s.authorized(ss.Context()); err != nil {
		return err
	}
	return h(srv, ss)
}

func (s *Server) checkUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if err := s.authorized(ctx); err != nil {
		return nil, err
	}
	return h(ctx, req)
}

// tableFor returns a table as writers see it: a new one may be hidden from them for a while.
func (s *Server) tableFor(parent string) (*table, error) {
	parts := strings.Split(parent, "/")
	if len(parts) != 6 || parts[0] != "projects" || parts[2] != "datasets" || parts[4] != "tables" {
		return nil, status.Errorf(codes.InvalidArgument, "Invalid table name %q", parent)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[parts[3]+"."+parts[5]]
	if t == nil || parts[1] != s.o.Project {
		return nil, storageError(codes.NotFound, storagepb.StorageError_TABLE_NOT_FOUND, parent, "Requested entity was not found.")
	}
	if t.hidden > 0 {
		t.hidden--
		return nil, storageError(codes.NotFound, storagepb.StorageError_TABLE_NOT_FOUND, parent, "Requested entity was not found.")
	}
	return t, nil
}

// faulty runs a unary call with the faults that strike it.
func (s *Server) faulty(ctx context.Context, f *Fault, do func() error) error {
	s.pass()
	if f.Kind == Hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := f.before(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if f.Kind == AnswerHangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.after()
}

// CreateWriteStream implements the Storage API.
func (s *Server) CreateWriteStream(ctx context.Context, r *storagepb.CreateWriteStreamRequest) (w *storagepb.WriteStream, err error) {
	f := s.strike("CreateWriteStream", nil)
	if f.Kind == TableHidden {
		return nil, storageError(codes.NotFound, storagepb.StorageError_TABLE_NOT_FOUND, r.GetParent(), "Requested entity was not found.")
	}
	err = s.faulty(ctx, f, func() error {
		if r.GetWriteStream().GetType() != storagepb.WriteStream_COMMITTED {
			return status.Errorf(codes.Unimplemented, "this fake has committed streams only")
		}
		t, err := s.tableFor(r.GetParent())
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.serial++
		name := fmt.Sprintf("%s/streams/Cig%06dZmFrZQ", r.GetParent(), s.serial)
		s.streams[name] = &stream{name: name, table: t}
		w = &storagepb.WriteStream{Name: name, Type: storagepb.WriteStream_COMMITTED, CreateTime: timestamppb.Now(), Location: "US"}
		return nil
	})
	return w, err
}

// FinalizeWriteStream implements the Storage API.
func (s *Server) FinalizeWriteStream(ctx context.Context, r *storagepb.FinalizeWriteStreamRequest) (a *storagepb.FinalizeWriteStreamResponse, err error) {
	err = s.faulty(ctx, s.strike("FinalizeWriteStream", nil), func() error {
		st, err := s.streamFor(r.GetName())
		if err != nil {
			return err
		}
		st.mu.Lock()
		defer st.mu.Unlock()
		st.finalised = true
		a = &storagepb.FinalizeWriteStreamResponse{RowCount: st.rows}
		return nil
	})
	return a, err
}

func (s *Server) streamFor(name string) (*stream, error) {
	if parent, ok := strings.CutSuffix(name, "/streams/_default"); ok {
		t, err := s.tableFor(parent)
		if err != nil {
			return nil, err
		}
		return &stream{name: name, table: t, plain: true}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[name]
	if st == nil {
		return nil, storageError(codes.NotFound, storagepb.StorageError_STREAM_NOT_FOUND, name, "Requested entity was not found.")
	}
	return st, nil
}

// AppendRows implements the Storage API.
func (s *Server) AppendRows(call storagepb.BigQueryWrite_AppendRowsServer) error {
	var st *stream
	var form protoreflect.MessageDescriptor
	for {
		r, err := call.Recv()
		if err != nil {
			return nil // the caller is done
		}
		f := s.strike("AppendRows", nil)
		s.pass()
		if err := f.before(); err != nil {
			return err
		}
		if st == nil || r.GetWriteStream() != "" && r.GetWriteStream() != st.name {
			if r.GetWriteStream() == "" {
				return status.Error(codes.InvalidArgument, "Invalid stream name. Entity: ")
			}
			if st, err = s.streamFor(r.GetWriteStream()); err != nil {
				return err
			}
		}
		if schema := r.GetProtoRows().GetWriterSchema(); schema != nil {
			if form, err = compile(schema.GetProtoDescriptor()); err != nil {
				return status.Errorf(codes.InvalidArgument, "Invalid proto schema: %v", err)
			}
		}
		if form == nil {
			return status.Error(codes.InvalidArgument, "the first request of a call must have a writer schema")
		}
		answer, err := s.appendWith(call.Context(), f, st, form, r)
		if err != nil {
			return err
		}
		if err := call.Send(answer); err != nil {
			return err
		}
	}
}

// appendWith does one append, with what goes wrong with it.
func (s *Server) appendWith(ctx context.Context, f *Fault, st *stream, form protoreflect.MessageDescriptor, r *storagepb.AppendRowsRequest) (*storagepb.AppendRowsResponse, error) {
	hidden := 0
	switch f.Kind {
	case Hang:
		<-ctx.Done()
		return nil, ctx.Err()
	case DeliveredLate:
		kept := proto.Clone(r).(*storagepb.AppendRowsRequest)
		s.mu.Lock()
		s.late = append(s.late, &lateAppend{calls: f.After, arrives: func() { s.append(st, form, kept, 0) }})
		s.mu.Unlock()
		return nil, errBroken
	case Finalized:
		st.mu.Lock()
		st.finalised = !st.plain
		st.mu.Unlock()
	case StreamGone:
		s.mu.Lock()
		delete(s.streams, st.name)
		s.mu.Unlock()
		return nil, storageError(codes.NotFound, storagepb.StorageError_STREAM_NOT_FOUND, st.name, "Requested entity was not found.")
	case TableHidden:
		return nil, storageError(codes.NotFound, storagepb.StorageError_TABLE_NOT_FOUND, st.name, "Requested entity was not found.")
	case SchemaBehind:
		return nil, storageError(codes.InvalidArgument, storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS, st.name, "Input schema has more fields than BigQuery schema")
	case Stopped:
		return &storagepb.AppendRowsResponse{
			Response:  &storagepb.AppendRowsResponse_Error{Error: status.New(codes.InvalidArgument, "Errors found while processing rows. Please refer to the row_errors field for details.").Proto()},
			RowErrors: []*storagepb.RowError{{Index: 0, Code: storagepb.RowError_FIELDS_ERROR, Message: "refused by fault"}},
		}, nil
	case RowsHidden:
		hidden = f.After
	}
	answer, err := s.append(st, form, r, hidden)
	if err != nil {
		return nil, err
	}
	if f.Kind == AnswerHangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := f.after(); err != nil {
		return nil, err
	}
	return answer, nil
}

// append stores all rows of a request, or none. hidden is for how many queries they cannot be read.
func (s *Server) append(st *stream, form protoreflect.MessageDescriptor, r *storagepb.AppendRowsRequest, hidden int) (*storagepb.AppendRowsResponse, error) {
	if n := proto.Size(r); n > maxRequest {
		return nil, status.Errorf(codes.InvalidArgument, "AppendRows request too large: %d limit %d", n, maxRequest)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.finalised {
		return nil, storageError(codes.InvalidArgument, storagepb.StorageError_STREAM_FINALIZED, st.name, "Stream is finalized")
	}
	s.mu.Lock()
	_, known := s.streams[st.name]
	s.mu.Unlock()
	if !known && !st.plain {
		return nil, storageError(codes.NotFound, storagepb.StorageError_STREAM_NOT_FOUND, st.name, "Requested entity was not found.")
	}
	rows := r.GetProtoRows().GetRows().GetSerializedRows()
	at := st.rows
	if r.GetOffset() != nil {
		at = r.GetOffset().GetValue()
		switch {
		case st.plain:
			return nil, status.Error(codes.InvalidArgument, "Offset must not be set for the default stream")
		case at < st.rows:
			return nil, storageError(codes.AlreadyExists, storagepb.StorageError_OFFSET_ALREADY_EXISTS, st.name, fmt.Sprintf("The offset is within stream, expected offset %d, received %d", st.rows, at))
		case at > st.rows:
			return nil, storageError(codes.OutOfRange, storagepb.StorageError_OFFSET_OUT_OF_RANGE, st.name, fmt.Sprintf("The offset is beyond stream, expected offset %d, received %d", st.rows, at))
		}
	}
	if extra := st.table.lacks(form); extra != "" {
		return nil, storageError(codes.InvalidArgument, storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS, st.name, "Input schema has more fields than BigQuery schema, extra fields: '"+extra+"'")
	}
	values, bad := st.table.decode(form, rows, s.now())
	if len(bad) > 0 {
		return &storagepb.AppendRowsResponse{
			Response:  &storagepb.AppendRowsResponse_Error{Error: status.New(codes.InvalidArgument, "Errors found while processing rows. Please refer to the row_errors field for details.").Proto()},
			RowErrors: bad,
		}, nil
	}
	if err := s.insert(st.table, values, hidden); err != nil {
		return nil, status.Errorf(codes.Internal, "the fake cannot store: %v", err)
	}
	result := &storagepb.AppendRowsResponse_AppendResult{}
	if !st.plain {
		result.Offset = wrapperspb.Int64(at)
		st.rows += int64(len(rows))
	}
	return &storagepb.AppendRowsResponse{Response: &storagepb.AppendRowsResponse_AppendResult_{AppendResult: result}, WriteStream: st.name}, nil
}
