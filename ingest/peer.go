package ingest

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// ParseTrustedProxies reads addresses and prefixes such as 10.0.0.0/8. A
// prefix that holds every address is refused: whoever may be anybody's proxy
// may also claim to be anybody.
func ParseTrustedProxies(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		p, err := source.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("trusted proxy %q: want an address or a prefix such as 10.0.0.0/8", text)
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("trusted proxy %q trusts every sender's X-Forwarded-For: name the addresses of your proxies", text)
		}
		out = append(out, p)
	}
	return out, nil
}

// peerOf is the address that a request counts for: the connection's, or, when
// that is a trusted proxy, the first one from the right of X-Forwarded-For
// that is not. Something unreadable there ends the walk at the proxy that
// wrote it.
func (s *Server) peerOf(ctx *fasthttp.RequestCtx, h *header) netip.Addr {
	peer := connectionPeer(ctx)
	if !s.trusted(peer) {
		return peer
	}
	for i := len(h.forwarded) - 1; i >= 0; i-- {
		for rest, more := h.forwarded[i], true; more; {
			hop := rest
			if j := bytes.LastIndexByte(rest, ','); j >= 0 {
				hop, rest = rest[j+1:], rest[:j]
			} else {
				more = false
			}
			addr, ok := parseHop(bytes.Trim(hop, " \t"))
			if !ok {
				return peer
			}
			if peer = addr; !s.trusted(peer) {
				return peer
			}
		}
	}
	return peer
}

// connectionPeer is who has connected, not valid when that is no address.
func connectionPeer(ctx *fasthttp.RequestCtx) netip.Addr {
	tcp, ok := ctx.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parseHop reads an address as proxies write it: bare, or with a port.
func parseHop(hop []byte) (netip.Addr, bool) {
	text := event.View(hop)
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}
