package duckdb

import (
	"errors"
	"fmt"
	"strings"

	native "github.com/duckdb/duckdb-go-bindings"
)

// This file and its neighbours statement.go, stream.go and appender.go are all that touches the C library. They sit on
// duckdb-go's bindings instead of its database/sql driver for three things the driver does not offer: answers that are
// streamed (the driver's are built whole, in memory outside memory_limit), appended rows without a boxed value per
// field, and a path that is passed as it is (the driver parses it as a URL).

// nativeError is what DuckDB itself said.
type nativeError struct {
	kind    native.ErrorType
	message string
}

func (e *nativeError) Error() string { return e.message }

// messageError makes an error of a message that comes without its kind; DuckDB puts the kind in front.
func messageError(message string) error {
	e := &nativeError{kind: native.ErrorTypeInvalid, message: message}
	prefix, _, _ := strings.Cut(message, ":")
	switch prefix {
	case "Parser Error":
		e.kind = native.ErrorTypeParser
	case "Permission Error":
		e.kind = native.ErrorTypePermission
	case "INTERRUPT Error":
		e.kind = native.ErrorTypeInterrupt
	case "Out of Memory Error":
		e.kind = native.ErrorTypeOutOfMemory
	case "FATAL Error":
		e.kind = native.ErrorTypeFatal
	case "IO Error":
		e.kind = native.ErrorTypeErrorIO
	case "TransactionContext Error":
		e.kind = native.ErrorTypeTransaction
	}
	return e
}

func isKind(err error, kinds ...native.ErrorType) bool {
	var e *nativeError
	if !errors.As(err, &e) {
		return false
	}
	for _, k := range kinds {
		if e.kind == k {
			return true
		}
	}
	return false
}

// outOfMemory reports whether the error says so. A failed COMMIT does in its text only.
func outOfMemory(err error) bool {
	if isKind(err, native.ErrorTypeOutOfMemory) {
		return true
	}
	for _, sign := range []string{"failed to pin block", "failed to allocate", "could not allocate", "bad allocation", "Allocation failure"} {
		if strings.Contains(err.Error(), sign) {
			return true
		}
	}
	return false
}

// database is an open file.
type database struct{ handle native.Database }

// openNative opens path with the given settings; an error says which setting or what about the file.
func openNative(path string, settings map[string]string) (*database, error) {
	var config native.Config
	if native.CreateConfig(&config) == native.StateError {
		native.DestroyConfig(&config)
		return nil, errors.New("DuckDB cannot make a configuration")
	}
	defer native.DestroyConfig(&config)
	for name, value := range settings {
		if native.SetConfig(config, name, value) == native.StateError {
			return nil, fmt.Errorf("DuckDB does not take the setting %s=%q", name, value)
		}
	}
	d := new(database)
	var message string
	if native.OpenExt(path, &d.handle, config, &message) == native.StateError {
		native.Close(&d.handle)
		return nil, messageError(message)
	}
	return d, nil
}

func (d *database) close() { native.Close(&d.handle) }

// connect opens a connection. It is not safe for concurrent use, except interrupt.
func (d *database) connect() (*conn, error) {
	c := new(conn)
	if native.Connect(d.handle, &c.handle) == native.StateError {
		return nil, errors.New("DuckDB does not give a connection: the database is being closed")
	}
	return c, nil
}

// conn is a connection: one transaction at a time.
type conn struct{ handle native.Connection }

func (c *conn) close() { native.Disconnect(&c.handle) }

// interrupt stops what the connection is doing. It may be called from another goroutine.
func (c *conn) interrupt() { native.Interrupt(c.handle) }

// exec runs SQL without parameters and throws its answer away.
func (c *conn) exec(sql string) error {
	var r native.Result
	defer native.DestroyResult(&r)
	if native.Query(c.handle, sql, &r) == native.StateError {
		return &nativeError{kind: native.ResultErrorType(&r), message: native.ResultError(&r)}
	}
	return nil
}

// execAll runs lists of statements without parameters.
func (c *conn) execAll(lists ...[]string) error {
	for _, list := range lists {
		for _, sql := range list {
			if err := c.exec(sql); err != nil {
				return fmt.Errorf("%.300s: %w", sql, err)
			}
		}
	}
	return nil
}

// run runs one statement with parameters.
func (c *conn) run(sql string, args ...any) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	defer s.close()
	_, err = s.exec(args...)
	return err
}

// transaction runs fn between BEGIN and COMMIT. After an error nothing of it remains, unless the error is COMMIT's:
// then the outcome is unknown.
func (c *conn) transaction(fn func() error) error {
	if err := c.exec("BEGIN TRANSACTION"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := fn(); err != nil {
		if undo := c.exec("ROLLBACK"); undo != nil && !isKind(undo, native.ErrorTypeTransaction) {
			err = errors.Join(err, fmt.Errorf("rollback: %w", undo))
		}
		return err
	}
	if err := c.exec("COMMIT"); err != nil {
		c.exec("ROLLBACK") // DuckDB leaves no transaction open after a failed commit; this is for the one that it might
		return &commitError{err}
	}
	return nil
}

// commitError is a failed COMMIT: what is on disk is not known until the file is opened again.
type commitError struct{ err error }

func (e *commitError) Error() string { return "commit: " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// broken reports whether the database must be opened again before it can be trusted: DuckDB refuses to go on after some
// errors, and after a failed commit its memory may know more than its log.
func broken(err error) bool {
	var c *commitError
	if errors.As(err, &c) && !isKind(err, native.ErrorTypeTransaction, native.ErrorTypeConstraint) {
		return true // these two kinds say that DuckDB undid it
	}
	return isKind(err, native.ErrorTypeFatal, native.ErrorTypeInternal) || strings.Contains(err.Error(), "database has been invalidated")
}
