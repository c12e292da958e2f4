package signature

// Spec is one scheme as an operator writes it. Two examples:
//
//	algorithm: md5                                # PubScale
//	input: "{@secret}.{user_id}.{value|int}.{token}"
//	signature: {in: "query:signature"}
//
//	algorithm: hmac-sha256                        # Standard Webhooks
//	input: "{@id}.{@timestamp}.{@body}"
//	secret_encoding: whsec
//	signature: {in: "header:webhook-signature", list: " ", each: "v1,", encoding: base64}
//	timestamp: {in: "header:webhook-timestamp"}
//	id: {in: "header:webhook-id"}
//
// # Fields
//
// A field is named by where it stands: query:NAME, form:NAME, json:a.b.0.c,
// header:NAME, path:N (the Nth part of the path, from 1; -1 is the last), or
// plainly by NAME, which is looked for in the query, the form, then the JSON.
// Escapes of URL and form are undone.
//
// # Templates
//
// Text stands for itself, {{ and }} for one brace. {FIELD} is a field's value.
// {@secret}, {@body}, {@url}, {@query}, {@path}, {@host}, {@method},
// {@timestamp}, {@id} and {@sorted} are what they say. After a bar follow
// transforms, applied from left to right: {value|int}, {name|trim|upper}.
//
// # Transforms
//
//	int            the whole part of a decimal, cut, not rounded: 100.9 is 100, -0.5 is 0
//	fixed:N        exactly N decimals, rounded half away from zero
//	upper, lower   letters A to Z only
//	trim           blanks at both ends go
//	urlencode      as PHP: blank is +, letters, digits and -_. stay
//	rawurlencode   as RFC 3986: blank is %20, letters, digits and -_.~ stay
//	queryescape    as Python's quote_plus: blank is +, letters, digits and -_.~ stay
//	formencode     as browsers: blank is +, letters, digits and *-._ stay
//	jsencode       as encodeURIComponent: blank is %20, letters, digits and -_.!~*'() stay
//	urldecode      undoes escapes, + is a blank; percentdecode leaves + alone
//	md5, sha1, sha256, sha512   the digest in lower-case hex
//	base64
//
// and, where a field's value is meant, the rules for what is not there:
//
//	optional       an absent field leaves nothing; without it, it refuses the request
//	skip_empty     an empty field counts as absent
//	required       an empty field refuses the request; without it, it is signed as empty
//
// Encoding twice is urlencode|urlencode.
type Spec struct {
	// Algorithm is md5, sha1, sha256, sha512 (the secret is then in the
	// template), hmac-md5, hmac-sha1, hmac-sha256, hmac-sha512, ed25519,
	// ecdsa-p256 (over SHA-256), or secret: the secret itself is sent.
	Algorithm string `json:"algorithm"`

	// Input is what is signed: body, url, query, sorted, or a template.
	// The first four are short for {@body} and so on.
	Input string `json:"input,omitempty"`

	// Inner is done to the whole input before the algorithm: "upper|md5" with
	// the algorithm sha1 gives sha1(md5(upper(input))).
	Inner string `json:"inner,omitempty"`

	Sorted *Sorted `json:"sorted,omitempty"` // what {@sorted} is
	URL    *URL    `json:"url,omitempty"`    // what {@url} and {@query} are

	// SecretEncoding is how the secret's text becomes bytes: raw (default), hex,
	// base64 (either alphabet, padded or not), or whsec (base64 after whsec_).
	// The secret itself is never part of a scheme.
	SecretEncoding string `json:"secret_encoding,omitempty"`

	// Object is the field that names the object whose own secret is used; the
	// caller looks it up. With the algorithm secret this is a key that was
	// issued for one call.
	Object string `json:"object,omitempty"`

	Signature Place      `json:"signature"`
	Timestamp *Timestamp `json:"timestamp,omitempty"`
	ID        *Place     `json:"id,omitempty"`     // the message's identity
	KeyID     *Place     `json:"key_id,omitempty"` // which public key; without it all are tried

	// ECDSA is how those signatures are written: der (default) or raw, r and s
	// of 32 bytes each.
	ECDSA string `json:"ecdsa,omitempty"`

	// UnsignedBody lets requests through whose body says something though only
	// the URL is signed.
	UnsignedBody bool `json:"unsigned_body,omitempty"`

	// Alternatives are tried in turn when the scheme refuses, for senders whose
	// own samples disagree. What one leaves out is as in the scheme itself.
	Alternatives []Spec `json:"alternatives,omitempty"`
}

// Place is where a value stands in a request and how it is wrapped.
type Place struct {
	// In is a field (see Spec), or bearer (the token of Authorization), basic
	// (its user:password), basic-user or basic-password.
	In string `json:"in"`

	Prefix string `json:"prefix,omitempty"` // taken off the whole: "sha256=", "v0="
	List   string `json:"list,omitempty"`   // what parts several values: " ", ","
	Each   string `json:"each,omitempty"`   // taken off each; values without it are passed over: "v1=", "v1,"

	// Encoding is hex (default, either case), base64 or base64url (padded or
	// not), or raw (the text itself). Of timestamps, ids and key ids it is raw.
	Encoding string `json:"encoding,omitempty"`
}

// Timestamp is where the time of signing stands and how far it may be off.
type Timestamp struct {
	Place
	Unit             string `json:"unit,omitempty"`              // s (default), ms, or rfc3339
	ToleranceSeconds int    `json:"tolerance_seconds,omitempty"` // into the past; 0 is 300, -1 is not checked
	AheadSeconds     int    `json:"ahead_seconds,omitempty"`     // into the future; 0 is as ToleranceSeconds, at most 300; -1 is not checked
}

// Sorted is a text made of fields in an order. The field that holds the
// signature is never part of it.
type Sorted struct {
	From   string   `json:"from,omitempty"`   // query (default), form, json, or params: query and form
	Only   []string `json:"only,omitempty"`   // just these; absent ones refuse the request unless optional
	Except []string `json:"except,omitempty"` // all but these

	// Placeholders names the fields by the words they are sorted by, where a
	// sender sorts by its macros' names: {request_uuid: rq}.
	Placeholders map[string]string `json:"placeholders,omitempty"`

	// By is key (default, by bytes), placeholder (default when there are some),
	// listed (as in Only), or sent (as in the request).
	By string `json:"by,omitempty"`

	Pair string  `json:"pair,omitempty"` // "{key}={value}" (default), or "{value}"
	Join *string `json:"join,omitempty"` // between pairs, "&" by default

	Raw    bool              `json:"raw,omitempty"`    // escapes of the query or form are left as sent
	Keys   string            `json:"keys,omitempty"`   // transforms of names
	Values string            `json:"values,omitempty"` // transforms and rules of values
	Fields map[string]string `json:"fields,omitempty"` // transforms and rules of single fields, instead of Values
}

// URL is how {@url} and {@query} are taken from a request.
type URL struct {
	Base string `json:"base,omitempty"` // stands before the path, instead of Request.PublicBase

	// Cut is what happens to a signature in the query: before (default), the
	// text ends before its parameter; out, the parameter is taken out; none.
	Cut string `json:"cut,omitempty"`

	// Tail are parameters that may follow a text that was cut before the
	// signature, without being signed. That of KeyID may anyway.
	Tail []string `json:"tail,omitempty"`

	Decode string `json:"decode,omitempty"` // percent or form: escapes are undone, + stays or is a blank
}
