// Grafana Alloy as the sandbox runs it: the released one's command line. Which
// components it has is decided by build-tools.sh, which cuts the others out.
package main

import (
	"os"

	"github.com/grafana/alloy/flowcmd"
)

func main() {
	if flowcmd.RootCommand().Execute() != nil {
		os.Exit(1) // the command has printed the error
	}
}
