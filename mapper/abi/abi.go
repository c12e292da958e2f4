// Package abi is the contract between the host and a mapper module, version 1:
// names of exports, layout of the input that the host writes into the module's
// buffer, layout of the output that the module leaves in its memory, and the
// word that says where.
//
//	host: Begin, Pair…, End ──► buffer ──► mapper_v1_map(length) ──► Result ──► Read, Next…
//
// It needs the standard library only, allocates nothing on the way of an event,
// and believes nothing that a module says: every length is checked before use.
// plugins/ABI.md tells the same to those who write mappers.
package abi

import "strconv"

// Names of a module's exports. Those of ExportInitialize, ExportInit and
// ExportRawBody may be missing.
const (
	ExportMemory     = "memory"             // the one memory, defined by the module
	ExportBuffer     = "mapper_v1_buffer"   // () -> i64: address << 32 | capacity of the buffer
	ExportMap        = "mapper_v1_map"      // (length i32) -> i64: maps the input in the buffer, gives a Result
	ExportInitialize = "_initialize"        // (): start-up of a language's runtime
	ExportInit       = "mapper_v1_init"     // (length i32) -> i32: takes the configuration in the buffer, 0 is good
	ExportRawBody    = "mapper_v1_raw_body" // () -> anything, never called: the module reads bodies itself
)

// ImportModule and ImportLog name the one import of our own that a module may
// have: (level i32, address i32, length i32).
const (
	ImportModule = "mapper_v1"
	ImportLog    = "log"
)

// Limits of both directions.
const (
	Magic             = 0x314D4854 // "THM1", little endian
	HeaderBytes       = 32
	PairBytes         = 6 // before a pair's name
	FieldBytes        = 4 // before a field's value
	BufferBytesMin    = 16 << 10
	OutputBytesMax    = 16 << 10
	TextBytesMax      = 65535 // of a name or value of the input
	ValueBytesMax     = 256   // of a field
	LongValueBytesMax = 1024  // of an extension, key and value together, and of an error text
	ReportsMax        = 256   // of one output
	ExtensionsMax     = 64    // of one report
)

// FlagTest marks a postback that is a test of the integration.
const FlagTest uint16 = 1

// Kind says where a pair of the input comes from.
type Kind uint8

const (
	KindRequest Kind = iota // names method, peer, content_type
	KindQuery               // percent-decoded
	KindHeader              // name in lower case
	KindForm                // a field of a form body, percent-decoded
	KindJSON                // a leaf of a JSON body: dotted path, numbers with the digits as sent
)

var kindNames = [...]string{"request", "query", "header", "form", "json"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// Ids of the output's fields.
const (
	FieldNextReport    uint16 = 0 // no value: what follows is the next report of the same request
	FieldRefID         uint16 = 1
	FieldCallID        uint16 = 2
	FieldNetworkCallID uint16 = 3
	FieldCaller        uint16 = 4
	FieldDuration      uint16 = 5 // whole seconds
	FieldPayout        uint16 = 6 // plain decimal
	FieldCurrency      uint16 = 7
	FieldStartedAt     uint16 = 8 // RFC 3339, or Unix seconds or milliseconds
	FieldOccurredAt    uint16 = 9 // the same
	FieldStatus        uint16 = 10
	FieldTransactionID uint16 = 11
	FieldKind          uint16 = 12     // conversion, reversal, adjustment
	FieldError         uint16 = 0x7fff // the report is invalid, and a person reads this
	FieldExtension     uint16 = 0x8000 // key length u16, key, value

	fieldLast = FieldKind
)

var fieldNames = [...]string{
	"next_report", "ref_id", "call_id", "network_call_id", "caller", "duration", "payout", "currency",
	"started_at", "occurred_at", "status", "transaction_id", "kind",
}

// FieldName is the name of a field in our terms, such as ref_id.
func FieldName(id uint16) string {
	switch {
	case int(id) < len(fieldNames):
		return fieldNames[id]
	case id == FieldError:
		return "error"
	case id == FieldExtension:
		return "extension"
	}
	return "field " + strconv.Itoa(int(id))
}

// Codes of a Result without a place. 4 to 999 are reserved, those from
// CodeOwnMin on are the mapper's own.
const (
	CodeDrop         uint32 = 0 // nothing to report: the event ends as ignored
	CodeMalformed    uint32 = 1
	CodeFieldMissing uint32 = 2
	CodeUnsupported  uint32 = 3
	CodeOwnMin       uint32 = 1000
)

// Result is the word that mapper_v1_map returns:
//
//	63        32 31         0
//	┌───────────┬────────────┐
//	│ address   │ length     │  address not 0: the output lies there
//	│ 0         │ code       │  address 0: no output, a code instead
//	└───────────┴────────────┘
type Result uint64

// Place is where the output lies in the module's memory, as the module claims:
// neither number is checked. It is not ok when the result is a code.
func (r Result) Place() (ptr, n uint32, ok bool) {
	return uint32(r >> 32), uint32(r), r>>32 != 0
}

// Code is the reason for having no output, 0 (CodeDrop) when there is one.
func (r Result) Code() uint32 {
	if r>>32 != 0 {
		return 0
	}
	return uint32(r)
}
