package ingest

import (
	"crypto/x509"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// certificateFault says why a connection does not show a client certificate
// that holds name, "" when it does. The handshake has checked who signed it, and
// when it ends: a connection may outlive that.
//
// Where a proxy ends TLS there is no certificate here, and nothing that the
// proxy may say of one is believed.
func (s *Server) certificateFault(ctx *fasthttp.RequestCtx, name string, now time.Time) (detail string) {
	state := ctx.TLSConnectionState()
	switch {
	case state == nil:
		return "certificate_without_tls"
	case s.cfg.TLS == nil || !s.cfg.TLS.asksClients():
		return "certificate_without_ca"
	case len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0:
		return "certificate_missing"
	}
	leaf := state.VerifiedChains[0][0]
	switch {
	case now.After(leaf.NotAfter):
		return "certificate_expired"
	case !certificateHolds(leaf, name):
		return "certificate_other_name"
	}
	return ""
}

// certificateHolds reports whether name is one of the certificate's: a DNS name
// (in any case; one with a star stands for itself only), a URI, an e-mail
// address, or the subject's common name.
func certificateHolds(c *x509.Certificate, name string) bool {
	for _, dns := range c.DNSNames {
		if strings.EqualFold(dns, name) {
			return true
		}
	}
	for _, uri := range c.URIs {
		if uri.String() == name {
			return true
		}
	}
	for _, mail := range c.EmailAddresses {
		if mail == name {
			return true
		}
	}
	return c.Subject.CommonName == name
}
