package webhook_test

import (
	"testing"

	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker/contract"
	"github.com/sparrowhq/sparrow/trace/tracker/webhook"
)

func TestContract(t *testing.T) {
	for name, o := range map[string]webhook.Options{
		"single":  {},
		"list":    {Events: 100},
		"wrapped": {Events: 100, Wrap: "batch"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := webhook.New(o)
			if err != nil {
				t.Fatal(err)
			}
			contract.Run(t, contract.Subject{Vendor: w, Which: sandbox.Webhook})
		})
	}
}
