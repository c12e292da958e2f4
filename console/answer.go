package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/store"
)

// failure is an error as a client reads it: {"ok":false,"error":code,
// "message":message}. cause is for the log alone.
type failure struct {
	status  int
	code    string
	message string
	cause   error
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.message + ": " + f.cause.Error()
	}
	return f.message
}

func (f *failure) Unwrap() error { return f.cause }

func refuse(status int, code, format string, args ...any) *failure {
	return &failure{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// badRequest is input that cannot be meant; the text names the value.
func badRequest(format string, args ...any) *failure {
	return refuse(http.StatusBadRequest, "bad_request", format, args...)
}

// failureOf turns what a handler returned into what the client reads. list
// names where to look for what was not found. Errors of no known kind are the
// world's fault: their text may name files or servers and stays in the log.
func failureOf(err error, list string) *failure {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, store.ErrNotFound), errors.Is(err, sink.ErrNotFound):
		return &failure{status: http.StatusNotFound, code: "not_found", message: err.Error() + list}
	case errors.Is(err, store.ErrForbidden):
		return &failure{status: http.StatusForbidden, code: "forbidden", message: err.Error()}
	case errors.Is(err, store.ErrState):
		return &failure{status: http.StatusConflict, code: "conflict", message: err.Error()}
	case errors.Is(err, store.ErrExists):
		return &failure{status: http.StatusConflict, code: "exists", message: err.Error()}
	case errors.Is(err, store.ErrInvalid), errors.Is(err, sink.ErrInvalid):
		return &failure{status: http.StatusBadRequest, code: "bad_request", message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{status: http.StatusServiceUnavailable, code: "timed_out", cause: err,
			message: "the answer took too long: ask for less (a shorter time, a smaller limit) or try again when the node is less busy"}
	case errors.Is(err, store.ErrUnavailable):
		return &failure{status: http.StatusServiceUnavailable, code: "store_unavailable", cause: err,
			message: "the primary store cannot be reached now: postbacks are taken in all the same; try again when /readyz says that the store is ok"}
	case errors.Is(err, context.Canceled):
		return &failure{status: statusGone, code: "cancelled", message: "the client went away", cause: err}
	}
	return &failure{status: http.StatusInternalServerError, code: "internal", cause: err,
		message: "the node could not do this; its log says why"}
}

// statusGone counts requests whose client went away; nobody reads it.
const statusGone = 499

// fault is the shape of every error on the wire.
type fault struct {
	OK      bool   `json:"ok"` // always false
	Error   string `json:"error"`
	Message string `json:"message"`
}

func (f *failure) wire() fault { return fault{false, f.code, f.message} }

func writeFailure(w http.ResponseWriter, f *failure) { writeJSON(w, f.status, f.wire()) }

// writeJSON answers with v. What cannot be encoded is a broken invariant.
func writeJSON(w http.ResponseWriter, status int, v any) {
	p, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("bug: answer of type %T does not encode: %v", v, err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(p, '\n'))
}

// listing is the shape of every list.
type listing[T any] struct {
	Rows []T    `json:"rows"`
	Next string `json:"next"`
}

// list makes a listing whose rows are never null.
func list[T any](rows []T, next string) listing[T] {
	if rows == nil {
		rows = []T{}
	}
	return listing[T]{rows, next}
}
