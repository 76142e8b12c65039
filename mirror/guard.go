package mirror

import (
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/sparrowhq/sparrow/service"
)

// hosts are the names under which the admin listener answers. A page that has its own name resolve to our address (DNS
// rebinding) sends that name as Host; an IP address or localhost cannot be rebound.
type hosts map[string]bool

func newHosts(names []string) hosts {
	h := hosts{"localhost": true}
	for _, name := range names {
		h[strings.ToLower(name)] = true
	}
	return h
}

func (h hosts) known(host string) bool {
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	return h[strings.ToLower(name)]
}

func (h hosts) check(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.known(r.Host) {
			service.Problem(w, http.StatusMisdirectedRequest, "the admin listener is not known under this name: use its address, or add the name to the admin hosts")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sameSite refuses what a page of another site makes a browser send.
func sameSite(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Sec-Fetch-Site") {
		case "", "same-origin", "none":
		default:
			service.Problem(w, http.StatusForbidden, "a page of another site may not use the admin API")
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
				service.Problem(w, http.StatusForbidden, "a page of another origin may not use the admin API")
				return
			}
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
				service.Problem(w, http.StatusUnsupportedMediaType, "send application/json")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
