//go:build kubernetes

// Command lodge-cluster is a one-node Kubernetes in one program.
//
// Called by the name of a component (kube-apiserver, kubectl, …) it is that
// component; under its own name it starts and ends clusters made of them.
package main

import (
	"os"
	"path/filepath"

	"lodge.dev/cluster/command"
	"lodge.dev/cluster/component"
)

// version is set by the build.
var version = "unversioned"

func main() {
	if component.Run(filepath.Base(os.Args[0])) {
		return
	}
	os.Exit(command.Run(version))
}
