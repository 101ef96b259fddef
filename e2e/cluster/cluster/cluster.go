// Package cluster starts, watches and removes a cluster. It is the only package
// that knows the order of things.
//
// Up is a list of steps, each of which looks at what is there and adds what is
// missing. So a second Up changes nothing, one after a failure carries on, and
// one after processes were killed restarts just those.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"lodge.dev/cluster/config"
	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/image"
	"lodge.dev/cluster/kubeapi"
	"lodge.dev/cluster/layout"
	"lodge.dev/cluster/network"
	"lodge.dev/cluster/pki"
	"lodge.dev/cluster/process"
)

// Cluster is the cluster of one state directory, which may not exist yet.
type Cluster struct {
	Layout   layout.Layout
	Registry identity.Registry
	// Binary is the program whose links the components are.
	Binary string
	// Out receives what there is to say about progress.
	Out io.Writer
}

// lock keeps other commands on the same cluster waiting until it is released.
func (c Cluster) lock() (release func(), err error) {
	if err := os.MkdirAll(c.Layout.Root, 0o755); err != nil {
		return nil, err
	}
	for {
		file, err := os.OpenFile(c.Layout.Lock(), os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			// A command that was removing the cluster took the folder along.
			if err := os.MkdirAll(c.Layout.Root, 0o755); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := c.waitForLock(file); err != nil {
			_ = file.Close()
			return nil, err
		}
		if sameFile(file, c.Layout.Lock()) {
			return func() { _ = file.Close() }, nil
		}
		_ = file.Close()
	}
}

func (c Cluster) waitForLock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return err
	}
	fmt.Fprintf(c.Out, "waiting for another lodge-cluster command on %s\n", c.Layout.Root)
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
}

func sameFile(open *os.File, path string) bool {
	a, errA := open.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// load returns the identity in the state directory, or nil.
func (c Cluster) load() (*identity.Identity, error) {
	return identity.Load(c.Layout.Identity())
}

// components configures the parts of the cluster.
func (c Cluster) components(known identity.Identity) ([]config.Component, error) {
	desired, err := c.configuration(known)
	if err != nil {
		return nil, err
	}
	return desired.Components()
}

func (c Cluster) configuration(known identity.Identity) (config.Cluster, error) {
	facts, err := c.facts(known.Kind)
	if err != nil {
		return config.Cluster{}, err
	}
	authority, err := os.ReadFile(c.Layout.Cert(pki.ClusterAuthority))
	if err != nil {
		return config.Cluster{}, err
	}
	return config.Cluster{
		Identity:   known,
		Layout:     c.Layout,
		Facts:      facts,
		Authority:  authority,
		Credential: c.credential,
	}, nil
}

func (c Cluster) credential(name string) (certificate, key []byte, err error) {
	certificate, err = os.ReadFile(c.Layout.Cert(name))
	if err != nil {
		return nil, nil, err
	}
	key, err = os.ReadFile(c.Layout.Key(name))
	return certificate, key, err
}

// client talks to the cluster's API server as its administrator.
func (c Cluster) client(known identity.Identity) (*kubeapi.Client, error) {
	authority, err := os.ReadFile(c.Layout.Cert(pki.ClusterAuthority))
	if err != nil {
		return nil, err
	}
	certificate, key, err := c.credential(pki.Admin)
	if err != nil {
		return nil, err
	}
	return kubeapi.New(known.ServerURL(), authority, certificate, key)
}

func (c Cluster) daemon(component config.Component) process.Daemon {
	inputs := component.Inputs
	for _, file := range component.Files {
		inputs = append(inputs, file.Path)
	}
	return process.Daemon{
		Name:    component.Name,
		Program: c.Layout.Program(component.Name),
		Args:    component.Args,
		Inputs:  inputs,
		PidFile: c.Layout.PidFile(component.Name),
		LogFile: c.Layout.Log(component.Name),
	}
}

// program is the file that a component's link leads to. Only containerd is not ours.
func (c Cluster) program(component string) (string, error) {
	if component == config.Containerd {
		return exec.LookPath("containerd")
	}
	return c.Binary, nil
}

func (c Cluster) images(known identity.Identity) (image.Store, error) {
	facts, err := c.facts(known.Kind)
	return image.Store{
		Socket:      c.Layout.ContainerdSocket(),
		Snapshotter: facts.Snapshotter,
		Record:      c.Layout.Loaded(),
	}, err
}

// pause is the pause image, made of the program beside ours.
func (c Cluster) pause() (image.Pause, error) {
	return image.NewPause(filepath.Join(filepath.Dir(c.Binary), "lodge-pause"))
}

// podNetwork is the network of the pods.
func podNetwork(known identity.Identity) network.Network {
	return network.Network{Name: known.Name(), Node: known.Address, Pods: known.Pods}
}

// Load imports image archives into the cluster.
func (c Cluster) Load(ctx context.Context, files []string) error {
	known, err := c.load()
	if err != nil {
		return err
	}
	if known == nil || known.Kind != identity.Node {
		return fmt.Errorf("there is no cluster with a node in %s; start one with: lodge-cluster up", c.Layout.Root)
	}
	store, err := c.images(*known)
	if err != nil {
		return err
	}
	for _, file := range files {
		begin := time.Now()
		path, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		names, changed, err := store.Load(ctx, path)
		if err != nil {
			return fmt.Errorf("load %s: %w", file, err)
		}
		what := "already there"
		if changed {
			what = fmt.Sprintf("loaded in %.1f s", time.Since(begin).Seconds())
		}
		fmt.Fprintf(c.Out, "%s: %s %v\n", file, what, names)
	}
	return nil
}
