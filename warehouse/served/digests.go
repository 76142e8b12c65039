package served

import (
	"context"
	"net/http"

	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/warehouse"
)

// digested is the answer of GET /v1/digests.
type digested struct {
	Frames uint64 `json:"frames"`
}

func (h *handler) digests(w http.ResponseWriter, r *http.Request) {
	var out digested
	if e, ok := h.o.Warehouse.(warehouse.Digester); ok {
		var err error
		if out.Frames, err = e.DigestFrames(r.Context()); err != nil {
			h.refuse(w, r, err)
			return
		}
	}
	service.JSON(w, out)
}

var _ warehouse.Digester = (*Client)(nil)

// DigestFrames implements warehouse.Digester, for whatever engine is on the other side.
func (c *Client) DigestFrames(ctx context.Context) (uint64, error) {
	var out digested
	err := c.json(ctx, http.MethodGet, "/v1/digests", nil, nil, &out)
	return out.Frames, err
}
