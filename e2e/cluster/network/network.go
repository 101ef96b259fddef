// Package network makes the pod network of a cluster: a bridge that has the
// node's address, the kernel settings that packets need to pass between pods
// and services, and one nftables table of its own. All of it is named after the
// cluster, so that it can be found and removed.
package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Network is the pod network of one cluster.
type Network struct {
	// Name is the name of the bridge and of the nftables table.
	Name string
	Node netip.Addr
	Pods netip.Prefix
}

// sysctls are the kernel settings that a node needs: forwarding between bridge
// and machine, and packets that stay on the bridge seen by the service rules,
// or the answer of a service in the same range would not be translated back. The
// others kubelet would set by itself, and nobody would set them back.
var sysctls = map[string]string{
	"net/ipv4/ip_forward":                "1",
	"net/bridge/bridge-nf-call-iptables": "1",
	"vm/overcommit_memory":               "1",
	"vm/panic_on_oom":                    "0",
	"kernel/panic":                       "10",
	"kernel/panic_on_oops":               "1",
	"kernel/keys/root_maxkeys":           "1000000",
	"kernel/keys/root_maxbytes":          "25000000",
}

// Ensure makes what is missing. It reports whether it changed anything, and adds the
// former value of each kernel setting that it changed to before.
func (n Network) Ensure(before map[string]string) (bool, error) {
	if err := loadBridgeFilter(); err != nil {
		return false, err
	}
	changed := false
	for _, ensure := range []func() (bool, error){
		func() (bool, error) { return ensureSysctls(before) },
		n.ensureBridge,
		n.ensureMasquerade,
		n.ensureForward,
	} {
		did, err := ensure()
		if err != nil {
			return changed, err
		}
		changed = changed || did
	}
	return changed, nil
}

// Remove deletes the bridge with what is attached to it and the table, and
// sets the kernel settings in before back.
func (n Network) Remove(before map[string]string) error {
	n.removeForward()
	problems := []error{
		deleteTable("ip", n.Name),
		n.removeBridge(),
	}
	for key, value := range before {
		problems = append(problems, os.WriteFile(sysctlFile(key), []byte(value), 0o644))
	}
	return errors.Join(problems...)
}

// Exists tells whether the bridge is there.
func (n Network) Exists() bool {
	_, err := net.InterfaceByName(n.Name)
	return err == nil
}

func (n Network) ensureBridge() (bool, error) {
	wanted := netip.PrefixFrom(n.Node, n.Pods.Bits()).String()
	device, err := net.InterfaceByName(n.Name)
	if err == nil && device.Flags&net.FlagUp != 0 && hasAddress(device, wanted) {
		return false, nil
	}
	if err != nil {
		if err := run("ip", "link", "add", n.Name, "type", "bridge"); err != nil {
			return false, err
		}
	}
	if err := run("ip", "address", "replace", wanted, "dev", n.Name); err != nil {
		return true, err
	}
	return true, run("ip", "link", "set", n.Name, "up")
}

// removeBridge also removes the pods' ends of their connections. They go by
// themselves with the pods' network namespaces, but only after a while.
func (n Network) removeBridge() error {
	if !n.Exists() {
		return nil
	}
	ports, err := filepath.Glob(filepath.Join("/sys/class/net", n.Name, "brif", "*"))
	if err != nil {
		return err
	}
	for _, port := range ports {
		// It may be gone by now.
		_ = run("ip", "link", "delete", filepath.Base(port))
	}
	return run("ip", "link", "delete", n.Name)
}

func hasAddress(device *net.Interface, wanted string) bool {
	addresses, err := device.Addrs()
	if err != nil {
		return false
	}
	for _, address := range addresses {
		if address.String() == wanted {
			return true
		}
	}
	return false
}

// loadBridgeFilter makes the kernel offer the settings of bridges. Some kernels
// have them built in.
func loadBridgeFilter() error {
	folder := filepath.Dir(sysctlFile("net/bridge/bridge-nf-call-iptables"))
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	if err := run("modprobe", "br_netfilter"); err != nil {
		return fmt.Errorf("this kernel filters no bridges, and services need that: %w", err)
	}
	return nil
}

func ensureSysctls(before map[string]string) (bool, error) {
	changed := false
	for key, wanted := range sysctls {
		file := sysctlFile(key)
		content, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return changed, err
		}
		current := strings.TrimSpace(string(content))
		if current == wanted {
			continue
		}
		if _, known := before[key]; !known {
			before[key] = current
		}
		if err := os.WriteFile(file, []byte(wanted), 0o644); err != nil {
			return changed, fmt.Errorf("set %s to %s: %w", file, wanted, err)
		}
		changed = true
	}
	return changed, nil
}

func sysctlFile(key string) string { return filepath.Join("/proc/sys", key) }

// run runs a command. Its error has the command and what it said.
func run(name string, args ...string) error {
	_, err := output(name, args...)
	return err
}

func output(name string, args ...string) (string, error) {
	command := exec.Command(name, args...)
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s",
			name, strings.Join(args, " "), err, strings.TrimSpace(problems.String()))
	}
	return string(out), nil
}
