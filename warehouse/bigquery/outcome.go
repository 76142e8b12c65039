package bigquery

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// outcome is what an answer of the Storage API means for the append.
type outcome int

const (
	unknown outcome = iota // it may or may not be in: send the same again, at the same offset
	stored                 // it is in
	lost                   // the stream takes nothing any more from us: take the table over again, which tells what is in
	drifted                // the table lacks a column of ours: add it, and send the same again
	refused                // it is not in, and never will be
)

// rowError says which rows made an append fail. None of its rows were stored.
type rowError struct{ rows []*storagepb.RowError }

func (e *rowError) Error() string {
	var parts []string
	for i, r := range e.rows {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("and %d more", len(e.rows)-i))
			break
		}
		// The message may quote the value, which a client chose.
		parts = append(parts, fmt.Sprintf("row %d: %s", r.GetIndex(), r.GetCode()))
	}
	return "BigQuery refuses " + strings.Join(parts, ", ")
}

// classify tells what an error of the Storage API means.
func classify(err error) outcome {
	if err == nil {
		return stored
	}
	var rows *rowError
	if errors.As(err, &rows) {
		return refused
	}
	s, ok := status.FromError(err)
	if !ok {
		return unknown
	}
	switch storageCode(s) {
	case storagepb.StorageError_OFFSET_ALREADY_EXISTS:
		return stored
	case storagepb.StorageError_OFFSET_OUT_OF_RANGE, storagepb.StorageError_STREAM_NOT_FOUND, storagepb.StorageError_STREAM_FINALIZED,
		storagepb.StorageError_STREAM_ALREADY_COMMITTED, storagepb.StorageError_INVALID_STREAM_STATE, storagepb.StorageError_INVALID_STREAM_TYPE:
		return lost
	case storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS:
		return drifted
	case storagepb.StorageError_TABLE_NOT_FOUND:
		return unknown // not to be seen yet, or again
	}
	switch s.Code() {
	case codes.OK, codes.AlreadyExists:
		return stored
	case codes.OutOfRange:
		return lost
	case codes.InvalidArgument:
		return refused
	}
	return unknown
}

// storageCode returns the code that the Storage API adds to some errors.
func storageCode(s *status.Status) storagepb.StorageError_StorageErrorCode {
	for _, d := range s.Details() {
		if e, ok := d.(*storagepb.StorageError); ok {
			return e.GetCode()
		}
	}
	return storagepb.StorageError_STORAGE_ERROR_CODE_UNSPECIFIED
}

// missing reports whether the error says that the stream or its table is not there.
func missing(err error) bool {
	s, ok := status.FromError(err)
	return ok && (s.Code() == codes.NotFound || slices.Contains([]storagepb.StorageError_StorageErrorCode{storagepb.StorageError_STREAM_NOT_FOUND, storagepb.StorageError_TABLE_NOT_FOUND}, storageCode(s)))
}

func unauthenticated(err error) bool { return status.Code(err) == codes.Unauthenticated }

// brief is an error of the Storage API without what it may quote.
func brief(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	if code := storageCode(s); code != storagepb.StorageError_STORAGE_ERROR_CODE_UNSPECIFIED {
		return fmt.Errorf("BigQuery answers %s (%s)", s.Code(), code)
	}
	if s.Code() == codes.InvalidArgument {
		return fmt.Errorf("BigQuery answers %s", s.Code())
	}
	return fmt.Errorf("BigQuery answers %s: %.200s", s.Code(), s.Message())
}

// statusError is the error of an answer as if the call had ended with it.
func statusError(s *spb.Status) error { return status.FromProto(s).Err() }
