package backlog

import "sync"

// entry is a message that is decoded when the first lane wants it. data is what was encoded, and is never changed.
type entry struct {
	number uint64
	data   []byte

	once    sync.Once
	message *Message
	err     error
}

func (e *entry) decoded() (*Message, error) {
	e.once.Do(func() {
		if e.message, e.err = DecodeMessage(e.data); e.message != nil {
			e.message.Number = e.number
		}
	})
	return e.message, e.err
}

// cache keeps the messages last appended or read, so that lanes that go side by side decode each one once. It is not
// safe for concurrent use.
type cache struct {
	limit int64
	bytes int64
	at    map[uint64]*entry
	order []uint64 // as put
}

func (c *cache) get(n uint64) *entry { return c.at[n] }

func (c *cache) put(n uint64, data []byte) *entry {
	if e := c.at[n]; e != nil {
		return e
	}
	e := &entry{number: n, data: data}
	c.at[n] = e
	c.order = append(c.order, n)
	c.bytes += int64(len(data))
	for c.bytes > c.limit && len(c.order) > 1 {
		c.bytes -= int64(len(c.at[c.order[0]].data))
		delete(c.at, c.order[0])
		c.order = c.order[1:]
	}
	return e
}
