package event_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sparrowhq/sparrow/event"
)

func TestBuildOf(t *testing.T) {
	build := func(binary, pipeline, version string) event.Build {
		t.Helper()
		b, err := event.BuildOf(strings.NewReader(binary), []byte(pipeline), version)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one := build("binary", "pipeline", "v1")
	if want := (event.Build{ID: "e14cd7e0935242c46877ea753b87c625bb47ded7c390326e1385427ac8b6a26a", Version: "v1"}); one != want {
		t.Errorf("%v, want %v", one, want)
	}
	if got := build("binary", "pipeline", "v2"); got.ID != one.ID {
		t.Error("the version changes the id")
	}
	for _, other := range []event.Build{build("Binary", "pipeline", "v1"), build("binary", "Pipeline", "v1"), build("binaryp", "ipeline", "v1"), build("", "", "v1")} {
		if other.ID == one.ID {
			t.Error("another binary or configuration has the same id")
		}
	}
	fault := errors.New("disk")
	if _, err := event.BuildOf(io.MultiReader(strings.NewReader("bin"), iotest.ErrReader(fault)), nil, ""); !errors.Is(err, fault) {
		t.Errorf("a binary that cannot be read: %v", err)
	}
}
