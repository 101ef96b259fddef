package mount

import (
	"slices"
	"testing"
)

const mountinfo = `22 27 0:20 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 27 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:5 - cgroup cgroup rw,cpu
90 27 0:51 / /state/kubelet/pods/a\040b/volumes rw - tmpfs tmpfs rw,size=1k
91 90 0:4 net:[4026532] /state/containerd/netns/cni-1 rw shared:7 master:2 - nsfs nsfs rw
92 27 0:52 / /state-of-somebody-else rw - tmpfs tmpfs rw
this line means nothing
`

func TestParseReadsPointsTypesAndOptions(t *testing.T) {
	mounts := Parse(mountinfo)
	if len(mounts) != 6 {
		t.Fatalf("%d mounts: %+v", len(mounts), mounts)
	}
	cgroup := mounts[2]
	if cgroup.Type != "cgroup" || !slices.Contains(cgroup.Options, "cpu") {
		t.Errorf("optional fields before the dash are not skipped: %+v", cgroup)
	}
	if mounts[3].Point != "/state/kubelet/pods/a b/volumes" {
		t.Errorf("escapes are not undone: %q", mounts[3].Point)
	}
}

func TestBelowReturnsTheNewestFirstAndNoNeighbours(t *testing.T) {
	got := Below(Parse(mountinfo), "/state")
	want := []string{"/state/containerd/netns/cni-1", "/state/kubelet/pods/a b/volumes"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
