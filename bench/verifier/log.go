package verifier

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// The log is text, one line per fact, each ended by the CRC-32C of what stands
// before it on the line:
//
//	run  {…}                              CRC    first line: what makes the traffic again
//	send SCRIPT STEP ATTEMPT              CRC    before a request goes out
//	got  SCRIPT STEP ATTEMPT STATUS EVENT CRC    its answer; EVENT is - when none was named
//
// A send without a got is unknown: the node may have the request or not. The
// file only grows. A last line that was cut short is no line; any other damage
// makes the log useless, and Read says where.

// Log is an append-only log that syncs before it says yes. It is safe for
// concurrent use; what waits together is written and synced together.
type Log struct {
	mu       sync.Mutex
	idle     *sync.Cond
	f        *os.File
	waiting  []byte
	spare    []byte
	added    int64 // appends that were taken in
	synced   int64 // appends that are on disk
	flushing bool
	err      error
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CreateLog begins a log with its run; the file must not exist.
func CreateLog(path string, run Run) (*Log, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create verifier log: %w", err)
	}
	head, err := json.Marshal(run)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("create verifier log %s: %w", path, err)
	}
	l := &Log{f: f}
	l.idle = sync.NewCond(&l.mu)
	if err := l.Append(endLine(append([]byte("run "), head...), 0)); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// Append writes whole lines and returns when they are on disk. lines is the
// caller's again afterwards. After an error nothing more is taken.
func (l *Log) Append(lines []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, lines...)
	l.added++
	for mine := l.added; l.err == nil && l.synced < mine; {
		if l.flushing {
			l.idle.Wait()
			continue
		}
		batch, until := l.waiting, l.added
		l.waiting, l.flushing = l.spare[:0], true
		l.mu.Unlock()
		_, err := l.f.Write(batch)
		if err == nil {
			err = l.f.Sync()
		}
		l.mu.Lock()
		l.spare, l.flushing = batch, false
		if l.synced = until; err != nil {
			l.err = fmt.Errorf("append to verifier log: %w", err)
		}
		l.idle.Broadcast()
	}
	return l.err
}

// Close closes the file; every Append that returned is on disk.
func (l *Log) Close() error { return l.f.Close() }

// endLine ends the line that begins at start with its checksum.
func endLine(b []byte, start int) []byte {
	sum := crc32.Checksum(b[start:], castagnoli)
	return append(strconv.AppendUint(append(b, ' '), uint64(sum), 16), '\n')
}

func appendSend(b []byte, a attempt) []byte {
	start := len(b)
	return endLine(a.append(append(b, "send"...)), start)
}

func appendGot(b []byte, a attempt, status int, event string) []byte {
	start := len(b)
	b = a.append(append(b, "got"...))
	b = strconv.AppendInt(append(b, ' '), int64(status), 10)
	if event == "" || strings.ContainsAny(event, " \n") {
		event = "-"
	}
	return endLine(append(append(b, ' '), event...), start)
}

// attempt names one sending of one step of a script.
type attempt struct {
	script    uint64
	step, try int
}

func (a attempt) append(b []byte) []byte {
	b = strconv.AppendUint(append(b, ' '), a.script, 10)
	b = strconv.AppendInt(append(b, ' '), int64(a.step), 10)
	return strconv.AppendInt(append(b, ' '), int64(a.try), 10)
}

// answer is what a log knows of an attempt; status 0 is unknown.
type answer struct {
	status int
	event  string
}

// history is a log as it was read: per script and step the attempts in order.
type history struct {
	run      Run
	sent     map[uint64][][]answer
	requests int
	unknown  int
	torn     bool // the last line was cut short
}

// readLog reads a log back. It keeps what a dead verifier left behind.
func readLog(path string) (*history, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read verifier log: %w", err)
	}
	defer f.Close()
	h, in := &history{sent: map[uint64][][]answer{}}, bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			h.torn = len(line) > 0
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read verifier log %s: %w", path, err)
		}
		if err := h.take(n, line[:len(line)-1]); err != nil {
			return nil, fmt.Errorf("verifier log %s, line %d: %w; it cannot be judged by", path, n, err)
		}
	}
	if h.run.Sources == nil {
		return nil, fmt.Errorf("verifier log %s has no run line; it cannot be judged by", path)
	}
	for _, steps := range h.sent {
		for _, tries := range steps {
			for _, a := range tries {
				h.requests++
				if a.status == 0 {
					h.unknown++
				}
			}
		}
	}
	return h, nil
}

func (h *history) take(n int, line []byte) error {
	end := bytes.LastIndexByte(line, ' ')
	if end < 0 {
		return fmt.Errorf("%q has no checksum", line)
	}
	if sum, err := strconv.ParseUint(string(line[end+1:]), 16, 32); err != nil || uint32(sum) != crc32.Checksum(line[:end], castagnoli) {
		return fmt.Errorf("%q does not have its checksum", line)
	}
	word, rest, _ := strings.Cut(string(line[:end]), " ")
	if n == 1 && word == "run" {
		return json.Unmarshal([]byte(rest), &h.run)
	}
	var a attempt
	var got answer
	var err error
	switch word {
	case "send":
		_, err = fmt.Sscanf(rest, "%d %d %d", &a.script, &a.step, &a.try)
	case "got":
		_, err = fmt.Sscanf(rest, "%d %d %d %d %s", &a.script, &a.step, &a.try, &got.status, &got.event)
	default:
		err = fmt.Errorf("%q is no kind of line", word)
	}
	if err != nil {
		return err
	}
	return h.note(a, got, word == "send")
}

const stepsMax = 1000

// note keeps an attempt, or its answer. Attempts of a step come in order.
func (h *history) note(a attempt, got answer, send bool) error {
	steps := h.sent[a.script]
	if a.step < 0 || a.step > stepsMax {
		return fmt.Errorf("step %d is beyond %d", a.step, stepsMax)
	}
	for len(steps) <= a.step {
		steps = append(steps, nil)
	}
	h.sent[a.script] = steps
	tries := steps[a.step]
	switch {
	case send && a.try == len(tries):
		steps[a.step] = append(tries, answer{})
	case !send && a.try >= 0 && a.try < len(tries) && tries[a.try].status == 0 && got.status > 0:
		if got.event == "-" {
			got.event = ""
		}
		tries[a.try] = got
	default:
		return fmt.Errorf("attempt %d of step %d of script %d is out of order", a.try, a.step, a.script)
	}
	return nil
}
