package mirror

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// pathOfEvents is Sparrow's own: what is sent there is events, so a request without a body is refused. On other paths a
// request is taken as it comes, since what it says may stand in its query.
const pathOfEvents = "/v1/events"

// Bounds of what can be configured to be taken.
const (
	maxRoutes    = 64
	maxRoutePath = 256
)

// takable are the methods that can be. OPTIONS is the browsers' question whether they may send the others.
var takable = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// route is what is taken on a path.
type route struct {
	methods []string
	allow   []string // value of Allow
	cors    []string // value of Access-Control-Allow-Methods
	events  bool     // a request must have a body
	wrong   *refusal // of another method
}

// routes are the paths on which requests are taken.
type routes struct {
	exact   map[string]*route
	below   []below // longest first
	events  *route  // of pathOfEvents, if POST is taken there; else nil
	nowhere *refusal
}

// below is a route for all paths that begin so.
type below struct {
	path string // with a slash at its end
	*route
}

// newRoutes reads entries "METHOD /path"; a path that ends in /* stands for all below it.
func newRoutes(list []string) (*routes, error) {
	if len(list) == 0 || len(list) > maxRoutes {
		return nil, fmt.Errorf("mirror: %d kinds of requests are to be taken: want 1 to %d", len(list), maxRoutes)
	}
	type entry struct{ method, path string }
	var all []entry
	for _, text := range list {
		method, path, _ := strings.Cut(text, " ")
		bare, open := strings.CutSuffix(path, "/*")
		switch {
		case !slices.Contains(takable, method):
			return nil, fmt.Errorf("mirror: request %q: want a method of %s, a space, and a path", text, strings.Join(takable, ", "))
		case !strings.HasPrefix(path, "/") || strings.ContainsAny(bare, "*?# \r\n\t") || len(path) > maxRoutePath:
			return nil, fmt.Errorf("mirror: request %q: the path must begin with /, without a query, and may end in /* for all that is below it", text)
		case path == "/sparrow.js":
			return nil, fmt.Errorf("mirror: request %q: the script is served there", text)
		}
		if open {
			path = bare + "/"
		}
		all = append(all, entry{method, path})
		if open {
			all[len(all)-1].path += "*"
		}
	}
	r := &routes{exact: map[string]*route{}, nowhere: &refusal{http.StatusNotFound, "path", "nothing is taken here", false}}
	for _, e := range all {
		begin, open := strings.CutSuffix(e.path, "*")
		n := &route{events: e.path == pathOfEvents}
		for _, x := range all { // what is taken on all paths above is taken here too
			above, covers := strings.CutSuffix(x.path, "*")
			if x.path == e.path || covers && strings.HasPrefix(begin, above) {
				if !slices.Contains(n.methods, x.method) {
					n.methods = append(n.methods, x.method)
				}
			}
		}
		text := strings.Join(n.methods, ", ")
		n.allow, n.cors = []string{text + ", OPTIONS"}, []string{text}
		n.wrong = &refusal{http.StatusMethodNotAllowed, "method", "what is taken here is sent with " + text, false}
		if open {
			r.below = append(r.below, below{begin, n})
		} else {
			r.exact[e.path] = n
		}
		if n.events {
			r.nowhere = &refusal{http.StatusNotFound, "path", "nothing is here: events are sent to POST /v1/events", false}
		}
	}
	if n := r.exact[pathOfEvents]; n != nil && n.takes(http.MethodPost) {
		r.events = n
	}
	slices.SortStableFunc(r.below, func(a, b below) int { return len(b.path) - len(a.path) })
	return r, nil
}

// find returns the route of a path; nil if nothing is taken there.
func (r *routes) find(path string) *route {
	if n := r.exact[path]; n != nil {
		return n
	}
	for _, b := range r.below {
		if strings.HasPrefix(path, b.path) {
			return b.route
		}
	}
	return nil
}

func (n *route) takes(method string) bool {
	for _, m := range n.methods {
		if m == method {
			return true
		}
	}
	return false
}

// pixel is what a browser expects of an address that a page asks for as an image: a transparent one.
var pixel = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

var (
	imageGIF      = []string{"image/gif"}
	lengthOfPixel = []string{fmt.Sprint(len(pixel))}
	noStore       = []string{"no-store"}
)

// thank answers a request that is durable.
func thank(w http.ResponseWriter, method string) {
	h := w.Header()
	if method == http.MethodGet || method == http.MethodHead {
		h["Content-Type"], h["Content-Length"], h["Cache-Control"] = imageGIF, lengthOfPixel, noStore // or the next one stays in a cache
		w.Write(pixel)
		return
	}
	h["Content-Type"], h["Content-Length"] = plainText, lengthOfOK
	w.Write(ok)
}
