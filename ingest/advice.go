package ingest

import (
	"strings"

	"github.com/tallyhook/tallyhook/source/signature"
)

// Reasons of refusals, in Refusal.Reason, beside codeLimited and the codes of
// answers 400, 413 and 415. They are what operators read and never part of an
// answer, which is alike for all that fail to show who they are.
const (
	reasonIP          = "ip"
	reasonCertificate = "certificate"
	reasonMethod      = "method_not_allowed"
	reasonSecret      = "secret"
	reasonSignature   = "signature"
	reasonCallKey     = "call_key"
	reasonCallID      = "bad_call_id"
)

const adviceSecret = "Give this sender the source's secret, or rotate it when it is not known any more."

// advices say what to do about a refusal, by the detail, else by the reason.
// What a detail is about stands in the detail itself.
var advices = map[string]string{
	"address_not_allowed":     "Requests from this address are not let in: if it is the sender's, add it to allow_ips; if it is your proxy's, name the proxy in trusted-proxies.",
	"certificate_without_tls": "The source asks for a client certificate, but this node does not end TLS itself: give it tls-cert, tls-key and client-ca, or take client_name off the source.",
	"certificate_without_ca":  "The source asks for a client certificate, but this node knows no authority of such: give it client-ca.",
	"certificate_missing":     "The sender shows no client certificate: install one at the sender that the authority in client-ca has signed.",
	"certificate_expired":     "The sender's client certificate has expired during its connection: renew it at the sender.",
	"certificate_other_name":  "The sender's client certificate does not hold the source's client_name: correct that, or have the certificate issued with this name.",

	"secret_missing": "The header X-Webhook-Secret is missing, or is there twice: have the sender send it once.",
	"secret_wrong":   "The header X-Webhook-Secret holds another secret. " + adviceSecret,
	"key_missing":    "The URL has no key: give the buyer the set_value_url that the answer to the call's upload holds.",
	"key_wrong":      "The key is not that of this call: give the buyer the set_value_url of the call itself.",
	reasonSignature + "/" + string(signature.SecretMissing): "The source checks signatures and has no secret yet: set the one that the sender shows you.",

	string(signature.SignatureMissing):   "The request is not signed where the source expects it: switch signing on at the sender, or have the scheme learnt from its requests.",
	string(signature.SignatureMalformed): "What stands where the signature is expected is none: check the place, the prefix and the encoding of the source's scheme, or have it learnt.",
	string(signature.SignatureWrong):     "The signature does not fit: check that the secret is the sender's, then that the scheme is, for example with source verify-request; behind a proxy, set public-url.",
	string(signature.TimestampMissing):   "The time of signing is missing: check the place that the scheme names for it.",
	string(signature.TimestampMalformed): "The time of signing cannot be read: check the unit that the scheme names for it.",
	string(signature.TimestampOld):       "The request was signed too long ago: it may be a replay; if the sender retries with old signatures or its clock is wrong, raise tolerance_seconds.",
	string(signature.TimestampAhead):     "The request was signed in the future: compare the clocks of the sender and of this node.",
	string(signature.IDMissing):          "The message's id is missing: check the place that the scheme names for it.",
	string(signature.FieldMissing):       "A field that is signed is not there: add it to the URL at the sender, or mark it optional in the scheme.",
	string(signature.FieldMalformed):     "A field that is signed is not of the form that the scheme expects, such as a number: check its macro at the sender.",
	string(signature.FieldRepeated):      "A field that is signed is there twice with different values: have the sender send it once, or name another one to be signed.",
	string(signature.BodyMissing):        "The body is signed, and there is none: check that the sender posts one.",
	string(signature.BodyMalformed):      "The body is not the form or JSON that it says it is: check its content type at the sender.",
	string(signature.BodyUnsigned):       "The request has a body, and only its URL is signed: have the sender send it without one, or allow unsigned_body.",
	string(signature.TailUnsigned):       "Fields follow the signature, where the signed URL ends: put the signature last at the sender, or name them in tail.",
	string(signature.KeyUnknown):         "No public key of the source fits the one that the request names: add the sender's.",
	string(signature.ObjectUnknown):      "Nothing was issued under what the request names: check the macro at the sender.",
	string(signature.SecretMalformed):    "The source's secret is not of the encoding that its scheme names: set it again as the sender shows it.",
	string(signature.TooLong):            "The request is longer than what is checked: have the sender send less.",
	string(signature.TooMany):            "The request has more fields, signatures or keys than are checked: have the sender send less.",

	reasonMethod:                   "The source does not take this method: change it at the sender, or add it to methods.",
	codeLimited:                    "The source or the address sent more than its limit: raise the source's limits if that is wanted.",
	"bad_request":                  "The request is not well-formed HTTP: look for a proxy that changes it.",
	"body_too_large":               "The body is too large: have the sender send fewer postbacks at once.",
	"record_too_large":             "The request is too large for the journal: have the sender send fewer postbacks at once.",
	"gzip_broken":                  "The body is not the gzip that its header says: look for a proxy that unpacks it.",
	"unsupported_content_type":     "The body's content type is not read: have the sender send a query, a form or JSON, or give the source a mapper.",
	"unsupported_content_encoding": "The body's encoding is not read: have the sender send gzip or none.",
	reasonCallID:                   "The path does not hold the id of a call: check the macro at the buyer.",
}

// advice gives a sentence on a refusal, "" when there is none.
func advice(reason, detail string) string {
	word, _, _ := strings.Cut(detail, ":")
	for _, key := range [...]string{reason + "/" + word, word, reason} {
		if s := advices[key]; s != "" {
			return s
		}
	}
	return ""
}
