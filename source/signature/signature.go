// Package signature tells whether a request comes from who holds a source's
// secret, by any scheme that senders of postbacks use.
//
// A Spec says in JSON or YAML what a sender signs, with which algorithm, and
// where the signature stands; Compile turns it into a Verifier, which is
// immutable and safe for concurrent use. Everything is computed from the raw
// bytes of the request: a URL that was decoded and encoded again, or a body
// that was parsed and printed again, is another text with another digest.
//
// A field that is signed must be the field that is mapped. Where a request
// names a signed field twice with different values, in whatever case and in
// whichever of query, form and JSON, it is refused.
package signature

import (
	"crypto"
	"time"
)

// Limits of a scheme and of a request.
const (
	TemplateBytesMax    = 2048      // of a template
	TemplatePartsMax    = 64        // literals and placeholders of a template
	PipeWordsMax        = 8         // transforms of one value
	AlternativesMax     = 4         // of one scheme
	ListedFieldsMax     = 64        // names in one list of a scheme
	SettingBytesMax     = 256       // of any other text of a scheme
	SecretBytesMax      = 1024      // of a secret as given
	SignatureBytesMax   = 2048      // of the value that holds the signatures
	CandidatesMax       = 8         // signatures in one request
	KeysMax             = 16        // public keys tried when a request names none
	FieldsMax           = 1024      // of a request's query, form and JSON together
	SortedFieldsMax     = 256       // that are signed in order
	NameBytesMax        = 512       // of a field's name, dots and all
	IDBytesMax          = 256       // of a message's id
	RequestBytesMax     = 1 << 20   // of URL and body together
	InputBytesMax       = 4 << 20   // of the text that is signed
	JSONDepthMax        = 32        // objects and arrays in one another
	ToleranceSecondsMax = 7 * 86400 // of a timestamp
)

// Reason says in one machine word why a request is refused.
type Reason string

// Reasons. None of them depends on a secret's bytes, but for SignatureWrong.
const (
	SignatureMissing   Reason = "signature_missing"   // nothing stands where the signature should
	SignatureMalformed Reason = "signature_malformed" // it is not of the scheme's form or length, or is there twice
	SignatureWrong     Reason = "signature_wrong"     // no live secret or key gives it
	TimestampMissing   Reason = "timestamp_missing"
	TimestampMalformed Reason = "timestamp_malformed"
	TimestampOld       Reason = "timestamp_old"
	TimestampAhead     Reason = "timestamp_ahead"
	IDMissing          Reason = "id_missing"
	FieldMissing       Reason = "field_missing"   // a signed field is absent, or empty where it must not be
	FieldMalformed     Reason = "field_malformed" // a signed field is not what its transform needs, such as a number
	FieldRepeated      Reason = "field_repeated"  // a signed field has two values
	BodyMissing        Reason = "body_missing"    // the body alone is signed, and there is none
	BodyMalformed      Reason = "body_malformed"  // the body is not the form or JSON it should be
	BodyUnsigned       Reason = "body_unsigned"   // only the URL is signed, and the body says something
	TailUnsigned       Reason = "tail_unsigned"   // parameters follow where the signed URL ends
	KeyUnknown         Reason = "key_unknown"     // no public key of that id, or none at all
	ObjectUnknown      Reason = "object_unknown"  // nothing was issued under that object
	SecretMissing      Reason = "secret_missing"  // the source has no secret
	SecretMalformed    Reason = "secret_malformed"
	TooLong            Reason = "too_long"
	TooMany            Reason = "too_many"
)

// Request is one request as it was received. Verify keeps nothing of it.
type Request struct {
	Method string

	// URL is the request target as it stood in the request line, path and raw
	// query: /p/abc?x=1. What stands before it comes from PublicBase, else from
	// Scheme ("" is https) and Host.
	URL        string
	Scheme     string
	Host       string
	PublicBase string // "https://in.example.com": what senders are told; a proxy changes the rest

	ContentType string

	// Header gives a header's value by its name in any case. Of a header that
	// was sent twice it must give both, joined by ", ". May be nil.
	Header func(name string) (value string, ok bool)

	HeaderNames []string // of the headers there are, for Detect alone

	Query []byte // the raw query, used when URL has no '?'
	Body  []byte // raw
}

// PublicKey is an ed25519.PublicKey or an *ecdsa.PublicKey of P-256.
type PublicKey = crypto.PublicKey

// Secrets are what a source's requests are checked against. Verify reads them
// and keeps nothing; they must not change while it runs.
type Secrets struct {
	Current       []byte    // as the sender shows it, see Spec.SecretEncoding
	Previous      []byte    // still good, during a rotation
	PreviousUntil time.Time // when Previous ceases to be good; zero is never

	Keys map[string]PublicKey // by key id, of asymmetric schemes

	// Lookup gives the secret of one object, when the scheme says that each has
	// its own (Spec.Object). It must answer alike fast for what it does not know.
	Lookup func(object string) (secret []byte, ok bool)

	Signer crypto.Signer // of asymmetric schemes, for Sign alone
	Mask   []string      // further texts that Explain must not show, such as the token in the path
}

// Which says which secret a signature was made with.
type Which uint8

const (
	WhichNone Which = iota
	WhichCurrent
	WhichPrevious
	WhichObject // that of the object
	WhichKey    // a public key, see Outcome.KeyID
)

var whichNames = [...]string{"none", "current", "previous", "object", "key"}

func (w Which) String() string { return whichNames[w] }

// Outcome is what Verify found. A refusal has a Reason, and in Field what it
// is about, a name out of the scheme or, cut short, out of the request.
type Outcome struct {
	OK          bool
	Reason      Reason
	Field       string
	ID          string    // of the message, when the scheme has one; a copy
	At          time.Time // of the scheme's timestamp, zero when it has none
	Secret      Which
	KeyID       string // the key of Secrets.Keys that fits
	Alternative int    // 0 is the scheme itself, n its nth alternative
}

// Step is one line of an explanation.
type Step struct {
	Name string `json:"name"` // signature, timestamp, id, key, input, digest, result
	OK   bool   `json:"ok"`
	Text string `json:"text"` // a sentence; secrets are ***
}

// Verifier is a compiled Spec.
type Verifier struct {
	schemes []scheme // the scheme, then its alternatives
	weak    string
	runs    runPool
}

// Weak says in words what the scheme does not protect, "" when there is
// nothing to say: "md5, and only user_id, value, token are signed".
func (v *Verifier) Weak() string { return v.weak }
