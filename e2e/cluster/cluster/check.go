package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"lodge.dev/cluster/cgroup"
	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/layout"
	"lodge.dev/cluster/process"
)

// tools are the programs of the machine that a cluster with a node uses.
var tools = []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "ip", "nft", "iptables"}

const wayOut = "or use a cluster that you have: LODGE_CONTEXT=<name> make up"

// check refuses a machine that cannot do it, before anything is touched.
func (c Cluster) check(kind identity.Kind) error {
	if kind == identity.APIOnly {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("a cluster with a node needs root; run it as root, %s", wayOut)
	}
	var missing []string
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing programs: %s; install them with e2e/cluster/install-packages, %s",
			strings.Join(missing, ", "), wayOut)
	}
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return err
	}
	if controllers := cgroup.Missing(hierarchies); len(controllers) > 0 {
		return fmt.Errorf("this machine has no control groups for %s mounted; mount them below /sys/fs/cgroup, %s",
			strings.Join(controllers, ", "), wayOut)
	}
	return nil
}

// refuseOtherProxy fails when a kube-proxy that is not this cluster's works on
// this machine's service rules.
func refuseOtherProxy(ours layout.Layout) error {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	others, err := process.All(func(p process.Process) bool {
		if filepath.Base(p.Args[0]) != "kube-proxy" || p.Args[0] == ours.Program("kube-proxy") {
			return false
		}
		there, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.PID))
		return err == nil && there == here
	})
	if err != nil || len(others) == 0 {
		return err
	}
	return fmt.Errorf("a kube-proxy of another cluster runs on this machine (process %d, %s), "+
		"and both would write the same rules; end that cluster, %s", others[0].PID, others[0].Args[0], wayOut)
}
