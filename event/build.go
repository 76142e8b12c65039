package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// BuildOf returns the build that runs binary with the given pipeline configuration: what makes two processes produce
// the same from the same, and nothing else. Addresses, credentials and sinks do not belong in pipeline, or green and
// blue of one build would seem to differ. version is what people read and no part of the id.
func BuildOf(binary io.Reader, pipeline []byte, version string) (Build, error) {
	h := sha256.New()
	if _, err := io.Copy(h, binary); err != nil {
		return Build{}, fmt.Errorf("build id: %w", err)
	}
	// The hash of the binary, not the binary, goes before the configuration, so that no byte can move from one to the
	// other unseen.
	id := sha256.Sum256(append(h.Sum(nil), pipeline...))
	return Build{ID: hex.EncodeToString(id[:]), Version: version}, nil
}
