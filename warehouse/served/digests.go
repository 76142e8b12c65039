package served

import (
	"context"
	"encoding/json"
	"fmt"
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

// wanted is the body of POST /v1/digests: frames, both included.
type wanted struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

func (h *handler) makeDigests(w http.ResponseWriter, r *http.Request) {
	var in wanted
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		h.refuse(w, r, &invalid{fmt.Errorf("digests: %w", err)})
		return
	}
	if e, ok := h.o.Warehouse.(warehouse.DigestMaker); ok {
		if err := e.MakeDigests(r.Context(), in.First, in.Last); err != nil {
			h.refuse(w, r, err)
			return
		}
	}
	service.JSON(w, struct{}{})
}

var (
	_ warehouse.Digester    = (*Client)(nil)
	_ warehouse.DigestMaker = (*Client)(nil)
)

// DigestFrames implements warehouse.Digester, for whatever engine is on the other side.
func (c *Client) DigestFrames(ctx context.Context) (uint64, error) {
	var out digested
	err := c.json(ctx, http.MethodGet, "/v1/digests", nil, nil, &out)
	return out.Frames, err
}

// MakeDigests implements warehouse.DigestMaker. Engines that make digests as rows are stored have nothing to do.
func (c *Client) MakeDigests(ctx context.Context, first, last uint64) error {
	body, err := json.Marshal(wanted{first, last})
	if err != nil {
		return fmt.Errorf("warehouse: digests: %w", err)
	}
	var out struct{}
	return c.json(ctx, http.MethodPost, "/v1/digests", body, http.Header{"Content-Type": {"application/json"}}, &out)
}
