package event

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func someRecord() *Record {
	return &Record{
		Kind: RecordPostback, Flags: FlagTest | FlagReply, Source: "default", Method: "POST", Query: "payout=50&x=%20",
		ContentType: "application/json", Peer: "192.0.2.1:4711", Headers: []Pair{{"User-Agent", "curl"}, {"X-Empty", ""}},
		Body: []byte(`{"ref_id":"r"}`),
	}
}

func TestRecordRoundTrip(t *testing.T) {
	f := func(name string, r *Record) {
		t.Helper()
		var got Record
		if err := DecodeRecord(&got, AppendRecord([]byte{}, r)); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !sameRecord(&got, r) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, *r)
		}
	}
	f("full", someRecord())
	f("empty", &Record{Kind: RecordCalls})
	f("long", &Record{Kind: RecordPostback, Query: strings.Repeat("q", 70_000), Body: bytes.Repeat([]byte{0, 255}, 70_000)})
	f("not UTF-8", &Record{Kind: RecordPostback, Source: "\xff\x00", Body: []byte("\xc3")})
}

// sameRecord compares what is in the bytes; nil and empty are the same.
func sameRecord(a, b *Record) bool {
	x, y := *a, *b
	x.ID, x.ReceivedAt, y.ID, y.ReceivedAt = ID{}, 0, ID{}, 0
	if len(x.Headers)+len(y.Headers) == 0 {
		x.Headers, y.Headers = nil, nil
	}
	if len(x.Body)+len(y.Body) == 0 {
		x.Body, y.Body = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

func TestRecordDamaged(t *testing.T) {
	whole := AppendRecord(nil, someRecord())
	for n := range whole {
		if err := DecodeRecord(new(Record), whole[:n:n]); err == nil {
			t.Errorf("cut to %d of %d bytes: no error", n, len(whole))
		}
	}
	if err := DecodeRecord(new(Record), append(bytes.Clone(whole), 0)); err == nil {
		t.Error("a byte too many: no error")
	}
	for kind := range 256 {
		p := bytes.Clone(whole)
		p[1] = byte(kind)
		known := RecordKind(kind) == RecordPostback || RecordKind(kind) == RecordCalls
		if err := DecodeRecord(new(Record), p); (err == nil) != known {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
	p := bytes.Clone(whole)
	p[0] = 2
	if err := DecodeRecord(new(Record), p); err == nil || !strings.Contains(err.Error(), "record version 2") {
		t.Errorf("version 2: error %v does not name it", err)
	}
	huge := append(AppendRecord(nil, &Record{Kind: RecordPostback})[:8], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)
	if err := DecodeRecord(new(Record), huge); err == nil {
		t.Error("2^64−1 headers: no error")
	}
}

func TestRecordForgetsHeaders(t *testing.T) {
	r := new(Record)
	for _, want := range []*Record{someRecord(), {Kind: RecordPostback}, someRecord()} {
		if err := DecodeRecord(r, AppendRecord(nil, want)); err != nil || !sameRecord(r, want) {
			t.Errorf("decoded over another: %+v, %v; want %+v", *r, err, *want)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(AppendRecord(nil, someRecord()))
	f.Add(AppendRecord(nil, &Record{Kind: RecordCalls, Body: []byte{1}}))
	f.Add([]byte{1, 1, 0, 0x80, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		var first, second Record
		if DecodeRecord(&first, p) != nil {
			return
		}
		if err := DecodeRecord(&second, AppendRecord(nil, &first)); err != nil || !sameRecord(&first, &second) {
			t.Fatalf("decoded %+v, again %+v, %v", first, second, err)
		}
	})
}
