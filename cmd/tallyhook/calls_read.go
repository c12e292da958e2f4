package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lineReader reads lines of bounded length and counts them.
type lineReader struct {
	r    *bufio.Reader
	line int // of the last line that was read, from 1
}

func newLineReader(r io.Reader) *lineReader {
	b := bufio.NewReaderSize(r, lineBytesMax+2)
	if head, _ := b.Peek(3); string(head) == "\xef\xbb\xbf" { // spreadsheets put it there
		b.Discard(3)
	}
	return &lineReader{r: b}
}

// next gives a line without its end, valid until the next call. One that is
// too long is read over and a *lineFault.
func (l *lineReader) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if len(line) == 0 && err != nil {
		return nil, err
	}
	l.line++
	long := false
	for err == bufio.ErrBufferFull {
		long = true
		_, err = l.r.ReadSlice('\n')
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	line = bytes.TrimRight(line, "\r\n")
	if long || len(line) > lineBytesMax {
		return nil, &lineFault{fmt.Sprintf("the line is longer than %d KiB", lineBytesMax>>10)}
	}
	return line, nil
}

// jsonCalls reads one call a line.
type jsonCalls struct{ lines *lineReader }

func (j *jsonCalls) next() (int, []byte, error) {
	for {
		line, err := j.lines.next()
		if err != nil {
			return j.lines.line, nil, err
		}
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0:
			continue
		case j.lines.line == 1 && line[0] == '[':
			return 1, nil, errors.New("the file is one JSON array: write one call a line, for example with jq -c '.[]'")
		}
		return j.lines.line, line, nil
	}
}
