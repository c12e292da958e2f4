package admission

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/vectors"
)

// What the child reads:
//
//	u32       length of the head, little endian
//	head      JSON
//	code, config, vectors, back to back; their lengths stand in the head
//
// What it writes are JSON lines: {"step":"compile"} for each step that it
// begins, at last {"verdict":{…}} or {"error":"…"}.
type head struct {
	Code, Config, Vectors int // bytes

	FuelMax  int64
	Limits   rewrite.Limits
	CacheDir string
	Bounds   bounds
}

type line struct {
	Step    step     `json:"step,omitempty"`
	Verdict *Verdict `json:"verdict,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// step is what the child is at.
type step string

const (
	stepRead    step = "read" // limits are set, the request is being read
	stepRewrite step = "rewrite"
	stepCompile step = "compile"
	stepStart   step = "start"
	stepVectors step = "vectors"
)

const (
	headBytesMax   = 64 << 10
	answerBytesMax = 4 << 20
)

// encode gives what the child reads.
func encode(r *Request, b bounds) (io.Reader, error) {
	text, err := json.Marshal(head{Code: len(r.Code), Config: len(r.Config), Vectors: len(r.Vectors),
		FuelMax: r.FuelMax, Limits: r.Limits, CacheDir: r.CacheDir, Bounds: b})
	if err != nil {
		return nil, fmt.Errorf("encode admission request: %w", err)
	}
	begin := append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
	return io.MultiReader(bytes.NewReader(begin), bytes.NewReader(r.Code), bytes.NewReader(r.Config), bytes.NewReader(r.Vectors)), nil
}

// readHead reads the request as far as its head.
func readHead(in io.Reader) (h head, err error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return h, fmt.Errorf("read admission request: %w", err)
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > headBytesMax {
		return h, fmt.Errorf("read admission request: a head of %d bytes: at most %d", n, headBytesMax)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(in, text); err != nil {
		return h, fmt.Errorf("read admission request: %w", err)
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, fmt.Errorf("read admission request: %w", err)
	}
	for _, part := range [][2]int{{h.Code, h.Limits.ModuleBytesMax}, {h.Config, ConfigBytesMax}, {h.Vectors, vectors.ArchiveBytesMax}} {
		if part[0] < 0 || part[0] > part[1] {
			return h, fmt.Errorf("read admission request: a part of %d bytes: at most %d", part[0], part[1])
		}
	}
	return h, nil
}

// readBody reads what follows the head.
func readBody(in io.Reader, h head) (*Request, error) {
	r := &Request{Code: make([]byte, h.Code), Config: make([]byte, h.Config), Vectors: make([]byte, h.Vectors),
		FuelMax: h.FuelMax, Limits: h.Limits, CacheDir: h.CacheDir}
	for _, part := range [][]byte{r.Code, r.Config, r.Vectors} {
		if _, err := io.ReadFull(in, part); err != nil {
			return nil, fmt.Errorf("read admission request: %w", err)
		}
	}
	if h.Config == 0 {
		r.Config = nil
	}
	return r, nil
}

// answer is what a child wrote, as far as it can be read.
type answer struct {
	step    step // the last one that it began, "" when it did not get that far
	verdict *Verdict
	err     string
}

func decode(out []byte) (a answer) {
	d := json.NewDecoder(bytes.NewReader(out))
	for {
		var l line
		if d.Decode(&l) != nil {
			return a
		}
		if l.Step != "" {
			a.step = l.Step
		}
		if l.Verdict != nil || l.Error != "" {
			a.verdict, a.err = l.Verdict, l.Error
			return a
		}
	}
}
