package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"lodge.dev/cluster/cgroup"
	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/layout"
	"lodge.dev/cluster/mount"
	"lodge.dev/cluster/network"
	"lodge.dev/cluster/process"
)

// clearLimit is how long processes and control groups get to vanish.
const clearLimit = 10 * time.Second

// report receives what was removed.
type report func(format string, args ...any)

func quietly(string, ...any) {}

// Down ends the cluster and removes everything it made. It touches nothing when
// there is no cluster.
func (c Cluster) Down() error {
	known, err := c.load()
	if err != nil {
		// The identifier follows from the directory, which is enough to remove it.
		known = nil
	}
	if known == nil {
		if known, err = c.Registry.Find(identity.IDOf(c.Layout.Root)); err != nil {
			return err
		}
	}
	if known == nil && !c.hasIdentityFile() {
		fmt.Fprintf(c.Out, "there is no cluster in %s\n", c.Layout.Root)
		return nil
	}
	if (known == nil || known.Kind == identity.Node) && os.Geteuid() != 0 {
		return fmt.Errorf("removing the cluster in %s needs root", c.Layout.Root)
	}
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	begin := time.Now()
	say := func(format string, args ...any) { fmt.Fprintf(c.Out, "  "+format+"\n", args...) }
	if err := c.clear(c.Layout, known, say); err != nil {
		return fmt.Errorf("remove the cluster in %s: %w", c.Layout.Root, err)
	}
	if err := os.RemoveAll(c.Layout.Root); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "removed the cluster in %s (%.1f s)\n", c.Layout.Root, time.Since(begin).Seconds())
	return nil
}

func (c Cluster) hasIdentityFile() bool {
	_, err := os.Stat(c.Layout.Identity())
	return err == nil
}

// clear removes a cluster from the machine, and its files. known may be nil, when
// all that there is is the directory.
func (c Cluster) clear(where layout.Layout, known *identity.Identity, say report) error {
	if known == nil {
		known = &identity.Identity{Kind: identity.Node, ID: identity.IDOf(where.Root), Root: where.Root}
	}
	if err := c.clearMachine(*known, say); err != nil {
		return err
	}
	if err := removeFiles(where); err != nil {
		return err
	}
	return c.Registry.Remove(known.ID)
}

// clearMachine removes what a cluster has outside of its state directory: its
// processes first, the makers before what they make.
func (c Cluster) clearMachine(known identity.Identity, say report) error {
	where := layout.Layout{Root: known.Root}
	count, err := killAll(process.StartedBy(where.Programs()))
	if err != nil {
		return err
	}
	say("ended %d processes", count)
	if known.Kind == identity.APIOnly {
		return nil
	}
	if err := clearContainers(where, known, say); err != nil {
		return err
	}
	points, err := mount.RemoveBelow(where.Root)
	if err != nil {
		return err
	}
	say("removed %d mounts", points)
	pods := network.Network{Name: known.Name(), Node: known.Address, Pods: known.Pods}
	if err := pods.Remove(known.Sysctls); err != nil {
		return err
	}
	if refuseOtherProxy(where) == nil {
		if err := network.RemoveProxyTables(); err != nil {
			return err
		}
	}
	say("removed the network %s", pods.Name)
	return clearTraces(where)
}

// clearContainers ends what runs in pods, and the shims that hold it.
func clearContainers(where layout.Layout, known identity.Identity, say report) error {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return err
	}
	shims, err := killAll(process.ShimOf(where.ContainerdSocket()))
	if err != nil {
		return err
	}
	members, err := cgroup.Kill(hierarchies, known.Name(), clearLimit)
	if err != nil {
		return err
	}
	if err := cgroup.Remove(hierarchies, known.Name(), clearLimit); err != nil {
		return err
	}
	say("ended %d containers with %d processes", shims, members)
	return nil
}

// killAll ends all matching processes by force, first all and then waiting for each.
func killAll(matches func(process.Process) bool) (int, error) {
	found, err := process.All(matches)
	if err != nil {
		return 0, err
	}
	for _, p := range found {
		if err := process.Stop(p, 0); err != nil {
			return 0, err
		}
	}
	return len(found), nil
}

// removeFiles empties the state directory. The lock stays, as the caller holds it.
func removeFiles(where layout.Layout) error {
	entries, err := os.ReadDir(where.Root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(where.Root, entry.Name())
		if path == where.Lock() {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
