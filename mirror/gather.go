package mirror

import "time"

// dense is how many requests in one delivery are many: more will come soon, and one delivery of them costs the stack and
// the warehouse little more than one of a few.
const dense = 64

// gatherFor is how long requests are left to gather after d was taken. Where they come densely that is Linger, as long as a
// delivery is not near its bound by then: a stack that catches up is not held up. A stack that is called request by request
// gains nothing by it.
func (f *feed) gatherFor(d *delivery) time.Duration {
	if f.stack.web != nil || d.requests < dense || d.full || 2*d.bytes >= min(f.bytes, f.o.MaxBytes) {
		return f.o.Gather
	}
	return f.o.Linger
}
