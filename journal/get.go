package journal

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// get reads one message through the stream's leader. (The client library's own call wants a handle of the stream first,
// which costs a question of its own, and knows no start_time.)
func (e *engine) get(ctx context.Context, stream string, ask map[string]any) (*jetstream.RawStreamMsg, error) {
	q, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	ctx, cancel := e.call(ctx)
	defer cancel()
	m, err := e.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, q)
	if err != nil {
		return nil, fmt.Errorf("%w: reading stream %s at %v: %w", ErrUnavailable, stream, ask, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string `json:"subject"`
			Sequence uint64 `json:"seq"`
			Data     string `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("%w: reading stream %s at %v: %w", ErrUnavailable, stream, ask, err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return nil, fmt.Errorf("%w: reading stream %s at %v: %w", ErrUnavailable, stream, ask, answer.Error)
	case answer.Message == nil:
		return nil, fmt.Errorf("%w: reading stream %s at %v: the server answered neither message nor error", ErrUnavailable, stream, ask)
	}
	data, err := base64.StdEncoding.DecodeString(answer.Message.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: reading stream %s at %v: %w", ErrUnavailable, stream, ask, err)
	}
	return &jetstream.RawStreamMsg{Subject: answer.Message.Subject, Sequence: answer.Message.Sequence, Data: data}, nil
}
