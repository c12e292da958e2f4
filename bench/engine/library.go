//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Library is the ClickHouse engine loaded into this process. It has one
// connection and runs one query at a time, on a thread of its own, because the
// engine keeps state per thread. A process can hold one Library.
type Library struct {
	calls chan call
	c     functions
	conn  unsafe.Pointer
}

// functions are those of chdb.h that are used here; a result belongs to the
// engine until destroy.
type functions struct {
	connect func(argc int32, argv **byte) *unsafe.Pointer
	close   func(conn *unsafe.Pointer)
	signals func(enabled int32)
	query   func(conn unsafe.Pointer, query *byte, queryLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) unsafe.Pointer
	failure func(result unsafe.Pointer) string
	buffer  func(result unsafe.Pointer) *byte
	length  func(result unsafe.Pointer) uintptr
	destroy func(result unsafe.Pointer)
}

// call is work for the engine's thread.
type call struct {
	ctx  context.Context
	run  func()
	done chan error
}

// Statement is one query for the engine.
type Statement struct {
	Text       []byte            // what follows an INSERT … FORMAT and a line's end is data
	Format     string            // of the answer, when the text does not say
	Parameters map[string]string // values of {name:Type}, in the engine's escaped text form
}

// Query runs one statement and gives its answer.
type Query func(Statement) ([]byte, error)

// Exception is an error that the engine reports.
type Exception struct {
	Code int // as the engine numbers them; 0 when the text has none
	Text string
}

func (e *Exception) Error() string { return e.Text }

// ErrBusy is returned when more queries wait than the queue holds.
var ErrBusy = errors.New("too many queries are waiting for the engine, which runs one at a time")

// Open loads libchdb.so and opens the database in the folder data, which is
// made when missing. QueueMax is how many queries may wait.
func Open(library, data string, queueMax int) (*Library, error) {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load the engine: %w", err)
	}
	l := &Library{calls: make(chan call, queueMax)}
	for name, f := range map[string]any{
		"chdb_connect": &l.c.connect, "chdb_close_conn": &l.c.close, "chdb_set_signal_handlers_enabled": &l.c.signals,
		"chdb_query_with_params_n": &l.c.query, "chdb_result_error": &l.c.failure, "chdb_result_buffer": &l.c.buffer,
		"chdb_result_length": &l.c.length, "chdb_destroy_query_result": &l.c.destroy,
	} {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("%s has no %s; take the version that scripts/services installs: %w", library, name, err)
		}
		purego.RegisterFunc(f, symbol)
	}
	opened := make(chan error)
	go l.serve(data, opened)
	return l, <-opened
}

// baseline takes back what the library sets otherwise than a server: there, a
// text that is no statement is a syntax error.
const baseline = "SET implicit_select = 0"

// serve is the engine's thread.
func (l *Library) serve(data string, opened chan<- error) {
	runtime.LockOSThread()
	// The engine's own handlers hold a crashed process for minutes.
	l.c.signals(0)
	argv := []*byte{cString("clickhouse"), cString("--path=" + data), nil}
	conn := l.c.connect(int32(len(argv)-1), &argv[0])
	runtime.KeepAlive(argv)
	if conn == nil || *conn == nil {
		opened <- fmt.Errorf("the engine cannot open %s; does another process use it?", data)
		return
	}
	l.conn = *conn
	if _, err := l.query(Statement{Text: []byte(baseline)}); err != nil {
		opened <- fmt.Errorf("prepare the engine's connection: %w", err)
		return
	}
	opened <- nil
	for c := range l.calls {
		if err := c.ctx.Err(); err != nil { // whoever asked has gone
			c.done <- err
			continue
		}
		c.run()
		c.done <- nil
	}
	l.c.close(conn)
}

// Do runs f on the engine's thread; inside, Query may be called any number of
// times without another caller's in between. A call that waits ends with ctx;
// one that has begun cannot be stopped, the engine knows no cancel.
func (l *Library) Do(ctx context.Context, f func(Query) error) error {
	var err error
	c := call{ctx: ctx, done: make(chan error, 1), run: func() { err = f(l.query) }}
	select {
	case l.calls <- c:
	default:
		return ErrBusy
	}
	if stopped := <-c.done; stopped != nil {
		return stopped
	}
	return err
}

// query runs a statement. One that fails half-way leaves what it had written
// so far to the next one's answer, so something harmless takes it away.
func (l *Library) query(s Statement) ([]byte, error) {
	answer, err := l.call(s)
	for tries := 0; err != nil && tries < drainTriesMax; tries++ {
		if rest, drainErr := l.call(Statement{Text: []byte("SELECT 1 FORMAT Null")}); drainErr == nil && len(rest) == 0 {
			break
		}
	}
	return answer, err
}

// drainTriesMax bounds the attempts to empty the engine's output.
const drainTriesMax = 10

// call copies the answer out of the engine's memory.
func (l *Library) call(s Statement) ([]byte, error) {
	text, format := append(s.Text, 0), append([]byte(s.Format), 0) // &text[0] wants one byte
	names, values := make([]*byte, 0, len(s.Parameters)+1), make([]*byte, 0, len(s.Parameters)+1)
	nameLens, valueLens := make([]uintptr, 0, len(s.Parameters)+1), make([]uintptr, 0, len(s.Parameters)+1)
	for name, value := range s.Parameters {
		names, nameLens = append(names, cString(name)), append(nameLens, uintptr(len(name)))
		values, valueLens = append(values, cString(value)), append(valueLens, uintptr(len(value)))
	}
	result := l.c.query(l.conn, &text[0], uintptr(len(s.Text)), &format[0], uintptr(len(s.Format)),
		unsafe.SliceData(names), unsafe.SliceData(nameLens), unsafe.SliceData(values), unsafe.SliceData(valueLens), uintptr(len(names)))
	runtime.KeepAlive(text)
	runtime.KeepAlive(format)
	runtime.KeepAlive(names)
	runtime.KeepAlive(values)
	if result == nil {
		return nil, errors.New("the engine gives no result")
	}
	defer l.c.destroy(result)
	if text := l.c.failure(result); text != "" {
		return nil, newException(text)
	}
	answer := make([]byte, l.c.length(result))
	if len(answer) > 0 {
		copy(answer, unsafe.Slice(l.c.buffer(result), len(answer)))
	}
	return answer, nil
}

// Close lets the queries that wait run, and closes the database.
func (l *Library) Close() { close(l.calls) }

var codePattern = regexp.MustCompile(`Code: (\d+)\.`)

func newException(text string) *Exception {
	e := &Exception{Text: text}
	if m := codePattern.FindStringSubmatch(text); m != nil {
		e.Code, _ = strconv.Atoi(m[1]) // digits; more than an int holds is no code
	}
	return e
}

// cString gives the text followed by the zero that C expects.
func cString(s string) *byte { return &append([]byte(s), 0)[0] }
