package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lodge.dev/cluster/mount"
)

const hybrid = `31 27 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct
32 27 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 27 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 27 0:29 / /proc rw - proc proc rw
`

func TestFindPicksBothVersions(t *testing.T) {
	found := Find(mount.Parse(hybrid))
	if len(found) != 3 || found[0].Unified || !found[2].Unified {
		t.Fatalf("got %+v", found)
	}
}

func TestMissingNamesTheControllersThatNoHierarchyHas(t *testing.T) {
	if missing := Missing(Find(mount.Parse(hybrid))); !slices.Equal(missing, []string{"cpuset"}) {
		t.Errorf("missing %q, want cpuset alone", missing)
	}
}

func TestVersionTwoCountsCpuacctAsPartOfCpu(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "cgroup.controllers"), "cpuset cpu io memory pids\n")
	if missing := Missing([]Hierarchy{{Point: folder, Unified: true}}); len(missing) != 0 {
		t.Errorf("missing %q", missing)
	}
}

func TestANewCpusetInheritsItsProcessors(t *testing.T) {
	parent := t.TempDir()
	child := filepath.Join(parent, "child")
	if err := os.Mkdir(child, 0o755); err != nil {
		t.Fatal(err)
	}
	for folder, content := range map[string]string{parent: "0-1\n", child: "\n"} {
		write(t, filepath.Join(folder, "cpuset.cpus"), content)
		write(t, filepath.Join(folder, "cpuset.mems"), content)
	}
	h := Hierarchy{Point: parent, Controllers: []string{"cpuset"}}
	if err := h.prepare(child); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(child, "cpuset.cpus"))
	if err != nil || string(content) != "0-1\n" {
		t.Errorf("got %q, %v", content, err)
	}
}

func TestAGroupThatIsNotThereHasNoMembersAndIsRemovedAlready(t *testing.T) {
	hierarchies := []Hierarchy{{Point: t.TempDir()}}
	if killed, err := Kill(hierarchies, "lodge-none", 0); killed != 0 || err != nil {
		t.Errorf("killed %d, %v", killed, err)
	}
	if err := Remove(hierarchies, "lodge-none", 0); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
