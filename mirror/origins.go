package mirror

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// origins are the web pages that may read answers (CORS). Requests of other pages are journaled all the same: whether
// an origin may use a write key is decided later, where it can be shown.
type origins struct {
	exact   map[string]bool
	anyPort map[string]bool // scheme and host
	maxAge  []string
}

// Shared header values: net/http does not change them.
var (
	varyOrigin   = []string{"Origin"}
	exposed      = []string{"Sparrow-Request-Id, Retry-After"}
	allowHeaders = []string{"Content-Type, Content-Encoding"}
)

func newOrigins(list []string, maxAge time.Duration) (*origins, error) {
	o := &origins{exact: map[string]bool{}, anyPort: map[string]bool{}, maxAge: []string{strconv.Itoa(int(maxAge.Seconds()))}}
	for _, origin := range list {
		bare, anyPort := strings.CutSuffix(origin, ":*")
		u, err := url.Parse(bare)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != bare || strings.ContainsAny(bare, "* ") {
			return nil, fmt.Errorf("mirror: origin %q: must read https://host or https://host:port, or with * for any port", origin)
		}
		if anyPort && u.Port() != "" {
			return nil, fmt.Errorf("mirror: origin %q names two ports", origin)
		}
		if anyPort {
			o.anyPort[strings.ToLower(bare)] = true
		} else {
			o.exact[strings.ToLower(bare)] = true
		}
	}
	return o, nil
}

func (o *origins) allowed(origin string) bool {
	if o.exact[origin] {
		return true
	}
	if len(o.anyPort) == 0 {
		return false
	}
	host := origin
	if i := strings.LastIndexByte(origin, ':'); i > len("https:") && !strings.HasSuffix(origin, "]") {
		if _, err := strconv.ParseUint(origin[i+1:], 10, 16); err != nil {
			return false
		}
		host = origin[:i]
	}
	return o.anyPort[host]
}

// answer sets the headers by which a browser decides whether the page may read the answer, and reports whether it may.
func (o *origins) answer(h http.Header, r *http.Request) bool {
	h["Vary"] = varyOrigin
	origin := r.Header["Origin"]
	if len(origin) != 1 || !o.allowed(origin[0]) {
		return false
	}
	h["Access-Control-Allow-Origin"] = origin
	h["Access-Control-Expose-Headers"] = exposed
	return true
}

// preflight answers OPTIONS.
func (o *origins) preflight(w http.ResponseWriter, r *http.Request, route *route) {
	h := w.Header()
	if o.answer(h, r) && r.Header.Get("Access-Control-Request-Method") != "" {
		h["Access-Control-Allow-Methods"] = route.cors
		h["Access-Control-Allow-Headers"] = allowHeaders
		h["Access-Control-Max-Age"] = o.maxAge
	}
	h["Allow"] = route.allow
	w.WriteHeader(http.StatusNoContent)
}
