package ga4_test

import (
	"testing"

	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker/contract"
	"github.com/sparrowhq/sparrow/trace/tracker/ga4"
)

func TestContract(t *testing.T) {
	contract.Run(t, contract.Subject{Vendor: ga4.New(), Which: sandbox.GA4})
}
