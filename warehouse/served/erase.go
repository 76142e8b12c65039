package served

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/warehouse"
)

// erasure is the body of POST /v1/erase: the id is in no address, where it would be logged.
type erasure struct {
	warehouse.Person
	By string `json:"by"`
}

func (h *handler) erase(w http.ResponseWriter, r *http.Request) {
	e, ok := h.o.Warehouse.(warehouse.Eraser)
	if !ok {
		h.refuse(w, r, fmt.Errorf("erase: %w", warehouse.ErrNotSupported))
		return
	}
	var who erasure
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields()
	err := dec.Decode(&who)
	if err == nil {
		err = who.Check()
	}
	if err == nil && len(who.By) > 256 {
		err = fmt.Errorf("by is longer than 256 bytes")
	}
	if err != nil {
		h.refuse(w, r, &invalid{fmt.Errorf("erase: %w", err)})
		return
	}
	out, err := e.Erase(r.Context(), who.Person, who.By)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	h.metrics.requests.WithLabelValues("erase", "ok").Inc()
	service.JSON(w, out)
}

var _ warehouse.Eraser = (*Client)(nil)

// Erase implements warehouse.Eraser, for whatever engine is on the other side.
func (c *Client) Erase(ctx context.Context, who warehouse.Person, by string) (warehouse.Erased, error) {
	var out warehouse.Erased
	if err := who.Check(); err != nil { // JSON would make valid what is not UTF-8
		return out, fmt.Errorf("warehouse: erase: %w", err)
	}
	body, err := json.Marshal(erasure{who, by})
	if err != nil {
		return out, fmt.Errorf("warehouse: erase: %w", err)
	}
	err = c.json(ctx, http.MethodPost, "/v1/erase", body, http.Header{"Content-Type": {"application/json"}}, &out)
	return out, err
}
