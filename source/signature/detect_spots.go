package signature

import (
	"slices"
	"strings"
)

// Headers that are looked at even when the request does not list its own.
var (
	signatureHeaders = []string{"Signature", "X-Signature", "X-Signature-256", "X-Signature-SHA256", "X-Hub-Signature-256", "X-Hub-Signature", "X-Webhook-Signature",
		"webhook-signature", "svix-signature", "Stripe-Signature", "X-Slack-Signature", "X-Ayetstudios-Security-Hash", "X-HMAC", "X-HMAC-SHA256", "X-HMAC-Signature",
		"X-Shopify-Hmac-Sha256", "X-Twilio-Signature", "X-Outpost-Signature", "x-justcall-signature", "X-Callback-Signature", "X-Postback-Signature", "X-Webhook-Secret", "X-API-Key", "X-Auth-Token", "X-Token"}
	timestampHeaders = []string{"webhook-timestamp", "svix-timestamp", "X-Timestamp", "X-Signature-Timestamp", "X-Webhook-Timestamp", "X-Request-Timestamp", "X-Slack-Request-Timestamp", "x-justcall-request-timestamp"}
	idHeaders        = []string{"webhook-id", "svix-id", "X-Webhook-Id", "X-Request-Id", "X-Event-Id", "X-Delivery-Id"}
)

// spot is a value that may be a signature.
type spot struct {
	place     Place
	digest    []byte
	timestamp *Timestamp // that stands beside it
}

// headers lists the names worth looking at.
func (d *detector) headers(known []string) []string {
	names := slices.Clone(known)
	for _, n := range d.r.HeaderNames {
		if len(names) < 2*ListedFieldsMax && !slices.ContainsFunc(names, func(k string) bool { return strings.EqualFold(k, n) }) {
			names = append(names, n)
		}
	}
	return names
}

func (d *detector) header(name string) string {
	if d.r.Header == nil {
		return ""
	}
	v, _ := d.r.Header(name)
	return v
}

// spots finds what looks like a digest.
func (d *detector) spots() (list []spot) {
	for _, n := range d.headers(signatureHeaders) {
		if v := d.header(n); v != "" && len(v) <= SignatureBytesMax {
			list = append(list, spotsIn("header:"+n, v)...)
		}
	}
	for i := range d.u.params.list {
		f := &d.u.params.list[i]
		place := ref{origin: f.origin, name: string(d.u.params.name(f))}.String()
		list = append(list, spotsIn(place, string(d.u.params.value(f)))...)
		if f.origin != fromJSON { // base64 whose plus was not escaped
			_, raw := d.u.params.raw(f)
			for _, s := range spotsIn(place, string(appendUnescape(nil, raw, false))) {
				if !slices.ContainsFunc(list, func(t spot) bool { return t.place == s.place }) {
					list = append(list, s)
				}
			}
		}
	}
	return list[:min(len(list), detectSpotsMax)]
}

// spotsIn reads one value as a digest: bare, after a prefix, or in a list.
func spotsIn(in, value string) (list []spot) {
	add := func(p Place, item string, t *Timestamp) {
		p.In = in
		for _, name := range [...]string{"hex", "base64", "base64url"} {
			digest, ok := appendDecoded(nil, encodingNames[name], item)
			if !ok || len(hashesOf(len(digest))) == 0 {
				continue
			}
			if p.Encoding = name; name == "hex" {
				p.Encoding = ""
			}
			list = append(list, spot{p, digest, t})
			return
		}
	}
	add(Place{}, value, nil)
	if len(list) > 0 {
		return list
	}
	if name, item, ok := strings.Cut(value, "="); ok && len(name) < 16 {
		first, _, _ := strings.Cut(item, ",")
		if add(Place{Prefix: name + "=", List: ","}, first, nil); len(list) > 0 {
			return list
		}
	}
	for _, sep := range [...]string{",", " ", ";"} {
		for item := range strings.SplitSeq(value, sep) {
			item = strings.Trim(item, " ")
			at := strings.IndexAny(item, "=,")
			if at < 1 || at > 15 {
				continue
			}
			add(Place{List: sep, Each: item[:at+1]}, item[at+1:], timestampIn(in, value, sep))
		}
		if len(list) > 0 {
			return list
		}
	}
	return list
}

// timestampIn finds t=… or the like beside a signature.
func timestampIn(in, value, sep string) *Timestamp {
	for item := range strings.SplitSeq(value, sep) {
		name, digits, ok := strings.Cut(strings.Trim(item, " "), "=")
		if unit, good := unitOf(digits); ok && good {
			return &Timestamp{Place: Place{In: in, List: sep, Each: name + "="}, Unit: unit}
		}
	}
	return nil
}

func unitOf(s string) (unit string, ok bool) {
	if !allDigits([]byte(s)) {
		return "", false
	}
	switch len(s) {
	case 10:
		return "", true
	case 13:
		return "ms", true
	}
	return "", false
}

// hashesOf names the hashes whose digests have so many bytes.
func hashesOf(size int) (list []string) {
	for _, a := range algorithms {
		if a.family == familyHash && a.bytes == size {
			list = append(list, a.name)
		}
	}
	return list
}
