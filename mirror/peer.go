package mirror

import (
	"net/http"
	"net/netip"
	"strings"
)

// proxies are the peers whose word is taken for whom they forward.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// client returns the address of the client: the peer's, or, if the peer is a trusted proxy, the right-most address in
// X-Forwarded-For that is not one. Each proxy appends whom it heard, so everything to the left of that is the client's
// own claim. What cannot be read ends the search at the last address that could.
func (p proxies) client(remote string, h http.Header) netip.Addr {
	peer := peerOf(remote)
	if !p.trust(peer) {
		return peer
	}
	return p.behind(peer, h["X-Forwarded-For"])
}

// peerOf is the address in a connection's remote address; the zero Addr if there is none.
func peerOf(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// behind is client for a peer that is trusted.
func (p proxies) behind(peer netip.Addr, lists []string) netip.Addr {
	for i := len(lists) - 1; i >= 0; i-- {
		rest := lists[i]
		for rest != "" {
			cut := strings.LastIndexByte(rest, ',')
			hop := hostAddr(strings.TrimSpace(rest[cut+1:]))
			if !hop.IsValid() {
				return peer
			}
			peer = hop
			if !p.trust(peer) {
				return peer
			}
			rest = rest[:max(cut, 0)]
		}
	}
	return peer
}

// hostAddr reads an IP address with or without a port; the zero Addr if there is none.
func hostAddr(text string) netip.Addr {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return a.Unmap().WithZone("")
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
