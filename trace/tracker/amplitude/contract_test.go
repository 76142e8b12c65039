package amplitude_test

import (
	"testing"

	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker/amplitude"
	"github.com/sparrowhq/sparrow/trace/tracker/contract"
)

func TestContract(t *testing.T) {
	contract.Run(t, contract.Subject{Vendor: amplitude.New(amplitude.Options{}), Which: sandbox.Amplitude})
}
