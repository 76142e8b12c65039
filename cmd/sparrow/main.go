// Command sparrow carries product events to a warehouse, and proves a new build of that pipeline on production traffic
// before it goes live. The program is package cmd; see `sparrow help`.
package main

import (
	"os"

	"github.com/sparrowhq/sparrow/cmd"
)

func main() { os.Exit(profiled(func() int { return cmd.Main(cmd.Extension{}) })) }
