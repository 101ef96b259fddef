package main

import (
	"os"
	"path/filepath"

	"lodge.dev/cluster/component"
)

func main() {
	if component.Run(filepath.Base(os.Args[0])) {
		return
	}
}
