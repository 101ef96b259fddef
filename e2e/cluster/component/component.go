//go:build kubernetes

// Package component holds the programs of a Kubernetes cluster in one binary.
//
// Each program is the published one, started through its own command
// constructor; nothing of it is changed here. Which one runs is decided by the
// name the binary is called by, so the cluster's state directory contains
// links such as kube-apiserver that all lead to one file.
//
// This is the only package of the module that imports all of Kubernetes. The build
// tag "kubernetes" keeps it, and the command that contains it, out of
// `go vet ./...` and `go test ./...`, which take seconds without.
package component

import (
	"fmt"
	"os"
	"sort"
)

// programs maps the name a binary is called by to its main function. A main
// function ends the process itself when it fails.
var programs = map[string]func(){
	"etcd":                    runEtcd,
	"kube-apiserver":          runAPIServer,
	"kube-controller-manager": runControllerManager,
	"kube-scheduler":          runScheduler,
	"kubelet":                 runKubelet,
	"kube-proxy":              runProxy,
	"coredns":                 runCoreDNS,
	"kubectl":                 runKubectl,
	"helm":                    runHelm,
	"volume-provisioner":      runVolumeProvisioner,
}

// Names lists the programs of this binary in alphabetical order.
func Names() []string {
	names := make([]string, 0, len(programs))
	for name := range programs {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Run becomes the program called name and does not return when there is one.
// It reports false when this binary has no program of that name.
func Run(name string) bool {
	run, ok := programs[name]
	if !ok {
		return false
	}
	run()
	os.Exit(0)
	return true
}

// exit ends the process after a program could not be set up.
func exit(name string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	os.Exit(1)
}
