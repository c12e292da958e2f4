//go:build linux

package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// encode writes the engine's answer as the client reads it.
func (q *request) encode(answer []byte) ([]byte, error) {
	if q.format == "Native" && q.revision > 0 {
		var err error
		if answer, err = encodeBlocks(answer, q.revision); err != nil {
			return nil, err
		}
		if len(answer) == 0 {
			answer = encodeEmpty(q.columns, q.revision)
		}
	}
	if !q.compress {
		return answer, nil
	}
	return encodeFrames(answer, q.method)
}

// encodeBlocks writes Native blocks of revision 0 again in another revision:
//
//	revision 0:  columns rows { name type        prefix data }
//	54454 on:    info columns rows { name type 0 prefix data }
//
// where info is what a distributed query would need and the 0 says that the
// column has no custom serialization. Only who can decode a column knows where
// the next one begins.
func encodeBlocks(answer []byte, revision uint64) ([]byte, error) {
	reader := chproto.NewReader(bytes.NewReader(answer))
	out := &chproto.Buffer{Buf: make([]byte, 0, len(answer)+64)}
	for {
		block := proto.Block{ServerContext: &column.ServerContext{Timezone: time.UTC}}
		err := block.Decode(reader, 0)
		if errors.Is(err, io.EOF) && len(block.Columns) == 0 {
			return out.Buf, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the engine's answer: %w", err)
		}
		if block.Rows() == 0 {
			continue // clickhouse-go writes such a block otherwise than it reads one
		}
		if err := block.Encode(out, revision); err != nil {
			return nil, fmt.Errorf("write the answer in revision %d: %w", revision, err)
		}
	}
}

// describe asks for the columns of a SELECT without rows: the engine then
// answers nothing at all, a server one block that names them.
func (q *request) describe(query Query) {
	if q.format != "Native" || !selectWord.Match(q.statement.text) {
		return
	}
	text := fmt.Sprintf("DESCRIBE (%s\n)", answerWord.ReplaceAll(q.statement.text, nil))
	table, err := query(Statement{Text: []byte(text), Format: "TSVRaw", Parameters: q.parameters})
	if err != nil {
		return // not to be described; the client sees no columns
	}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Split(line, "\t"); len(fields) > 2 { // name, type, five more
			q.columns = append(q.columns, [2]string{fields[0], fields[1]})
		}
	}
}

// encodeEmpty writes a block without rows; see encodeBlocks.
func encodeEmpty(columns [][2]string, revision uint64) []byte {
	if len(columns) == 0 {
		return nil
	}
	var out chproto.Buffer
	var info proto.Block // without columns it is what precedes them, and two counts of 0
	if err := info.EncodeHeader(&out, revision); err != nil {
		panic("bug: a block without columns cannot be encoded: " + err.Error())
	}
	out.Buf = out.Buf[:len(out.Buf)-2]
	out.PutUVarInt(uint64(len(columns)))
	out.PutUVarInt(0)
	for _, c := range columns {
		out.PutString(c[0])
		out.PutString(c[1])
		if revision >= proto.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION {
			out.PutBool(false)
		}
	}
	return out.Buf
}

// frameBytesMax is the size of what a server compresses at once.
const frameBytesMax = 1 << 20

func encodeFrames(answer []byte, method compress.Method) ([]byte, error) {
	w := compress.NewWriter(compress.LevelZero, method)
	var out []byte
	for len(answer) > 0 {
		n := min(len(answer), frameBytesMax)
		if err := w.Compress(answer[:n]); err != nil {
			return nil, fmt.Errorf("compress the answer: %w", err)
		}
		out, answer = append(out, w.Data...), answer[n:]
	}
	return out, nil
}
