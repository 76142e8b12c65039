package journal

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// get reads one message through the stream's leader: the last of the subject, or with from > 0 the first at or after
// from. (The client library's own call wants a handle of the stream first, which costs a question of its own.)
func (e *engine) get(ctx context.Context, stream, subject string, from uint64) (*jetstream.RawStreamMsg, error) {
	ask := map[string]any{"last_by_subj": subject}
	if from > 0 {
		ask = map[string]any{"seq": from, "next_by_subj": subject}
	}
	q, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	ctx, cancel := e.call(ctx)
	defer cancel()
	m, err := e.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, q)
	if err != nil {
		return nil, fmt.Errorf("%w: reading %s from %d: %w", ErrUnavailable, subject, from, err)
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
		return nil, fmt.Errorf("%w: reading %s from %d: %w", ErrUnavailable, subject, from, err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return nil, fmt.Errorf("%w: reading %s from %d: %w", ErrUnavailable, subject, from, answer.Error)
	case answer.Message == nil:
		return nil, fmt.Errorf("%w: reading %s from %d: the server answered neither message nor error", ErrUnavailable, subject, from)
	}
	data, err := base64.StdEncoding.DecodeString(answer.Message.Data)
	if err != nil {
		return nil, fmt.Errorf("%w: reading %s from %d: %w", ErrUnavailable, subject, from, err)
	}
	return &jetstream.RawStreamMsg{Subject: answer.Message.Subject, Sequence: answer.Message.Sequence, Data: data}, nil
}
