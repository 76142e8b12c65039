package heap_test

import (
	"testing"

	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker/contract"
	"github.com/sparrowhq/sparrow/trace/tracker/heap"
)

func TestContract(t *testing.T) {
	contract.Run(t, contract.Subject{Vendor: heap.New(), Which: sandbox.Heap})
}
