package dispatcher

import (
	"fmt"
	"os"

	"github.com/sparrowhq/sparrow/event"
)

// BuildID returns the build that the executable at path is under a pipeline configuration. Green and blue of the same
// binary and configuration agree on it, wherever they run.
func BuildID(path string, pipeline []byte, version string) (event.Build, error) {
	f, err := os.Open(path)
	if err != nil {
		return event.Build{}, fmt.Errorf("build id: %w", err)
	}
	defer f.Close()
	return event.BuildOf(f, pipeline, version)
}
