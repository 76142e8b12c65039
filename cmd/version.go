package cmd

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker: -ldflags "-X github.com/sparrowhq/sparrow/cmd.version=v1.2.3".
var version string

// buildInfo is what `sparrow version` tells.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source, if it was built in its repository
	Modified bool   `json:"modified,omitempty"` // the source differed from that revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Sparrow  bool   `json:"sparrow"` // true: how `deploy candidate --binary` knows one of ours
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Sparrow: true}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		b.Version = cmp.Or(b.Version, "unknown")
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	// A candidate's main package may live in another module, with a version of its own.
	if b.Version == "" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	if b.Version == "" && b.Revision != "" {
		b.Version = b.Revision[:min(12, len(b.Revision))]
		if b.Modified {
			b.Version += "-modified"
		}
	}
	b.Version = cmp.Or(b.Version, "dev")
	return b
}

// parseBuildInfo reads what `version --json` printed.
func parseBuildInfo(out []byte) (buildInfo, error) {
	var b buildInfo
	if err := json.Unmarshal(out, &b); err != nil {
		return b, err
	}
	if !b.Sparrow {
		return b, errors.New("not a Sparrow")
	}
	return b, nil
}

func (p *program) version() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := readBuildInfo()
			if p.json {
				return p.printJSON(b)
			}
			_, err := fmt.Fprintf(p.Stdout, "sparrow %s (%s, %s)\n", b.Version, b.Go, b.Platform)
			return err
		},
	}
	p.jsonFlag(c)
	return c
}

// printJSON writes v, indented, as a document of its own.
func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(p.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
