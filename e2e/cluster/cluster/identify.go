package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/network"
	"lodge.dev/cluster/process"
)

// identify finds out which cluster this is, or makes up its identity. By the time
// it returns the identity is on disk, so that whatever is made from now on
// can be found and removed again.
func (s *start) identify(kind identity.Kind) error {
	known, err := s.load()
	if err != nil {
		return err
	}
	if known != nil && known.Kind != kind {
		return fmt.Errorf("%s holds a cluster of kind %q, not %q; choose another directory with --state DIR, "+
			"or remove it with: lodge-cluster down --state %s", s.Layout.Root, known.Kind, kind, s.Layout.Root)
	}
	if kind == identity.Node {
		if err := s.clearDeadClusters(); err != nil {
			return err
		}
	}
	if known == nil {
		if known, err = s.newIdentity(kind); err != nil {
			return err
		}
	}
	s.known = known
	if err := s.forgetFormerBoot(); err != nil {
		return fmt.Errorf("leftovers of before the last reboot: %w", err)
	}
	return s.save()
}

// save writes the identity to the state directory and, for a cluster that leaves
// traces on the machine, to the machine's registry.
func (s *start) save() error {
	for _, folder := range s.Layout.Folders() {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := s.known.Save(s.Layout.Identity()); err != nil {
		return err
	}
	if s.known.Kind == identity.APIOnly {
		return nil
	}
	return s.Registry.Add(*s.known)
}

// newIdentity begins a cluster. What one with the same state directory left,
// whose files somebody has deleted, goes first.
func (s *start) newIdentity(kind identity.Kind) (*identity.Identity, error) {
	id := identity.IDOf(s.Layout.Root)
	former, err := s.Registry.Find(id)
	if err != nil {
		return nil, err
	}
	if former == nil {
		if err := refuseForeignFiles(s.Layout.Root); err != nil {
			return nil, err
		}
	}
	if former != nil || kind == identity.Node {
		if err := s.clear(s.Layout, former, quietly); err != nil {
			return nil, fmt.Errorf("leftovers of a former cluster in %s: %w", s.Layout.Root, err)
		}
	}
	known := identity.Identity{Kind: kind, ID: id, Root: s.Layout.Root}
	if kind == identity.APIOnly {
		known.Address = netip.MustParseAddr("127.0.0.1")
		known.Services = network.APIOnlyServices
		return &known, nil
	}
	used, err := network.Used(known.Name())
	if err != nil {
		return nil, err
	}
	ranges, err := network.ChooseRanges(used)
	if err != nil {
		return nil, err
	}
	known.Address, known.Pods, known.Services = ranges.Node, ranges.Pods, ranges.Services
	return &known, nil
}

// refuseForeignFiles protects a folder that is not a cluster's.
func refuseForeignFiles(root string) error {
	entries, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != "lock" {
			return fmt.Errorf("%s has files but no cluster.json, so it is not a cluster's state directory; "+
				"choose another one with --state DIR, or empty it", root)
		}
	}
	return nil
}

// forgetFormerBoot removes what means nothing after a reboot of the machine:
// on a system with /run in memory it would be gone by itself.
func (s *start) forgetFormerBoot() error {
	boot, err := identity.BootID()
	if err != nil || s.known.Boot == boot {
		return err
	}
	if s.known.Boot != "" {
		s.known.Sysctls = nil
		stale := []string{s.Layout.ContainerdState(), s.Layout.Runc(), filepath.Dir(s.Layout.ContainerdSocket())}
		for _, folder := range stale {
			if err := os.RemoveAll(folder); err != nil {
				return err
			}
		}
	}
	s.known.Boot = boot
	return nil
}

// clearDeadClusters removes what other clusters of ours, whose processes were
// ended from outside, left on the machine. It refuses to go on beside one
// that runs: both would write the same service rules.
func (s *start) clearDeadClusters() error {
	all, err := s.Registry.List()
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Root == s.Layout.Root {
			continue
		}
		alive, err := process.All(process.StartedBy(filepath.Join(other.Root, "bin")))
		if err != nil {
			return err
		}
		if len(alive) > 0 {
			return fmt.Errorf("the cluster in %s is running, and a machine can have one at a time; "+
				"use it with --state %s, or remove it with: lodge-cluster down --state %s",
				other.Root, other.Root, other.Root)
		}
		fmt.Fprintf(s.Out, "clearing what the ended cluster in %s left on this machine\n", other.Root)
		if err := s.clearMachine(other, quietly); err != nil {
			return fmt.Errorf("leftovers of the ended cluster in %s: %w", other.Root, err)
		}
		if err := s.Registry.Remove(other.ID); err != nil {
			return err
		}
	}
	return nil
}
