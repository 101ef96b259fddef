// Package cgroup keeps the pods of a cluster under one control group, so that
// everything in them can be found, ended and removed by that group's name.
//
// It knows version 1 (one hierarchy for each controller), version 2 (one
// hierarchy) and the mixture of both.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lodge.dev/cluster/mount"
)

// Hierarchy is one mounted tree of control groups.
type Hierarchy struct {
	Point string
	// Unified says that it is version 2.
	Unified bool
	// Controllers are those of a version 1 hierarchy.
	Controllers []string
}

// needed are the controllers that kubelet does not start without.
var needed = []string{"cpu", "cpuacct", "cpuset", "memory"}

// Hierarchies returns the trees that this machine has mounted.
func Hierarchies() ([]Hierarchy, error) {
	mounts, err := mount.List()
	if err != nil {
		return nil, err
	}
	return Find(mounts), nil
}

// Find picks the control group trees out of a list of mounts.
func Find(mounts []mount.Mount) []Hierarchy {
	var found []Hierarchy
	for _, m := range mounts {
		switch m.Type {
		case "cgroup2":
			found = append(found, Hierarchy{Point: m.Point, Unified: true})
		case "cgroup":
			found = append(found, Hierarchy{Point: m.Point, Controllers: m.Options})
		}
	}
	return found
}

// Missing lists the controllers that kubelet needs and that no hierarchy has.
func Missing(hierarchies []Hierarchy) []string {
	available := map[string]bool{}
	for _, h := range hierarchies {
		for _, controller := range h.controllers() {
			available[controller] = true
		}
		if h.Unified && available["cpu"] {
			// In version 2 accounting is not a controller of its own.
			available["cpuacct"] = true
		}
	}
	var missing []string
	for _, controller := range needed {
		if !available[controller] {
			missing = append(missing, controller)
		}
	}
	return missing
}

// Ensure makes the group in every hierarchy. It reports whether it made any.
func Ensure(hierarchies []Hierarchy, name string) (bool, error) {
	changed := false
	for _, h := range hierarchies {
		folder := filepath.Join(h.Point, name)
		err := os.Mkdir(folder, 0o755)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return changed, fmt.Errorf("make cgroup %s: %w", folder, err)
		}
		changed = changed || err == nil
		if err := h.prepare(folder); err != nil {
			return changed, fmt.Errorf("prepare cgroup %s: %w", folder, err)
		}
	}
	return changed, nil
}

// Kill ends every process in the group and below it, and returns how many there
// were. It looks again until there is none, for those that were just starting.
func Kill(hierarchies []Hierarchy, name string, limit time.Duration) (int, error) {
	killed := map[int]bool{}
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		pids, err := members(hierarchies, name)
		if err != nil {
			return len(killed), err
		}
		if len(pids) == 0 {
			return len(killed), nil
		}
		if time.Now().After(end) {
			return len(killed), fmt.Errorf("processes %v in cgroup %s do not end", pids, name)
		}
		for _, pid := range pids {
			killed[pid] = true
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return len(killed), fmt.Errorf("kill process %d in cgroup %s: %w", pid, name, err)
			}
		}
	}
}

// Remove deletes the group and everything below it. Its processes must have ended;
// the kernel may take a moment to notice, and until then it waits.
func Remove(hierarchies []Hierarchy, name string, limit time.Duration) error {
	end := time.Now().Add(limit)
	for _, h := range hierarchies {
		for {
			err := removeTree(filepath.Join(h.Point, name))
			if err == nil {
				break
			}
			if time.Now().After(end) {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// prepare makes a new group usable. In version 1 a cpuset is empty until it is
// given processors; in version 2 controllers are passed on by name.
func (h Hierarchy) prepare(folder string) error {
	if h.Unified {
		if err := passOn(h.Point, h.controllers()); err != nil {
			return err
		}
		return passOn(folder, h.controllers())
	}
	if !slices.Contains(h.Controllers, "cpuset") {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if err := inherit(h.Point, folder, file); err != nil {
			return err
		}
	}
	return nil
}

func (h Hierarchy) controllers() []string {
	if !h.Unified {
		return h.Controllers
	}
	content, err := os.ReadFile(filepath.Join(h.Point, "cgroup.controllers"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(content))
}

// passOn gives a version 2 group's controllers to the groups below it.
func passOn(folder string, controllers []string) error {
	file := filepath.Join(folder, "cgroup.subtree_control")
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	enabled := strings.Fields(string(content))
	for _, controller := range controllers {
		if slices.Contains(enabled, controller) {
			continue
		}
		if err := os.WriteFile(file, []byte("+"+controller), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func inherit(parent, child, file string) error {
	own, err := os.ReadFile(filepath.Join(child, file))
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(own)) != "" {
		return nil
	}
	content, err := os.ReadFile(filepath.Join(parent, file))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(child, file), content, 0o644)
}

func members(hierarchies []Hierarchy, name string) ([]int, error) {
	seen := map[int]bool{}
	var pids []int
	for _, h := range hierarchies {
		err := walk(filepath.Join(h.Point, name), func(folder string) error {
			content, err := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
			if err != nil {
				return ignoreGone(err)
			}
			for _, field := range strings.Fields(string(content)) {
				pid, err := strconv.Atoi(field)
				// 0 is a process outside of our own PID namespace.
				if err == nil && pid > 1 && !seen[pid] {
					seen[pid] = true
					pids = append(pids, pid)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return pids, nil
}

func removeTree(folder string) error {
	return walk(folder, func(folder string) error {
		return ignoreGone(os.Remove(folder))
	})
}

// walk visits the groups below folder, then folder.
func walk(folder string, visit func(string) error) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return ignoreGone(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := walk(filepath.Join(folder, entry.Name()), visit); err != nil {
			return err
		}
	}
	return visit(folder)
}

// ignoreGone leaves out the errors of a group that vanished in between.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}
