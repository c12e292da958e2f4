package store

import (
	"errors"
	"fmt"
)

// Kinds of error, told apart with errors.Is. The last, and everything
// else, is the world's fault: the database or the file system.
var (
	// ErrNotFound: the named object is not there, or was deleted.
	ErrNotFound = errors.New("not found")
	// ErrExists: an object of that id is or was there; ids are not used twice.
	ErrExists = errors.New("exists already")
	// ErrInvalid: what the caller asked for cannot be; the text says why.
	ErrInvalid = errors.New("invalid")
	// ErrWrongKey: something was sealed with another key than this one. A node
	// that meets it refuses to start.
	ErrWrongKey = errors.New("wrong key")
	// ErrUnavailable: the database cannot be reached, was lost, or did not answer
	// in time. Whether a change was made then is not known.
	ErrUnavailable = errors.New("store unavailable")
)

// fault is an error of one of the kinds above whose text is its cause's alone.
type fault struct{ kind, cause error }

func (f *fault) Error() string   { return f.cause.Error() }
func (f *fault) Unwrap() []error { return []error{f.kind, f.cause} }

func notFound(format string, args ...any) error {
	return &fault{ErrNotFound, fmt.Errorf(format, args...)}
}

func exists(format string, args ...any) error {
	return &fault{ErrExists, fmt.Errorf(format, args...)}
}

func invalid(format string, args ...any) error {
	return &fault{ErrInvalid, fmt.Errorf(format, args...)}
}

// asInvalid marks err, when there is one, as the caller's fault.
func asInvalid(err error) error {
	if err == nil {
		return nil
	}
	return &fault{ErrInvalid, err}
}

// Limits of the list methods.
const (
	ListRowsDefault = 100
	ListRowsMax     = 1000
)

// listLimit checks a listing's limit; zero takes the default.
func listLimit(limit int) (int, error) {
	if limit == 0 {
		return ListRowsDefault, nil
	}
	if limit < 1 || limit > ListRowsMax {
		return 0, invalid("limit %d: want 1 to %d", limit, ListRowsMax)
	}
	return limit, nil
}
