package identity

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
)

// nodePorts are the listeners of a cluster with a node, with the port that each
// usually has. Its address is the cluster's own, so the usual port is
// mostly free.
var nodePorts = []portWish{
	{"kube-apiserver", 6443},
	{"etcd", 2379},
	{"etcd-peer", 2380},
	{"kube-controller-manager", 10257},
	{"kube-scheduler", 10259},
	{"kubelet", 10250},
	{"kubelet-health", 10248},
	{"kube-proxy-health", 10256},
	{"kube-proxy-metrics", 10249},
	{"coredns-ready", 8181},
}

// apiOnlyPorts are the listeners of an API server on its own. All such
// servers share the loopback address, so each gets ports of its own.
var apiOnlyPorts = []portWish{
	{"kube-apiserver", 0},
	{"etcd", 0},
	{"etcd-peer", 0},
}

type portWish struct {
	name string
	port int
}

// The ports for servers that share an address come from below Linux's range for
// outgoing connections, so that none is taken by a passing client.
const (
	sharedPortsFrom = 16000
	sharedPortsTo   = 32000
	attempts        = 200
)

// IsFree reports whether a listener can be opened there.
type IsFree func(netip.AddrPort) bool

// Listens opens a listener to find out, and closes it.
func Listens(at netip.AddrPort) bool {
	listener, err := net.Listen("tcp", at.String())
	if err != nil {
		return false
	}
	_ = listener.Close()
	return true
}

// ChoosePorts fills in a free port for every listener in want, and for those
// that have none yet. It reports whether it changed any.
func (i *Identity) ChoosePorts(want func(name string) bool, isFree IsFree) (bool, error) {
	if i.Ports == nil {
		i.Ports = map[string]int{}
	}
	taken := map[netip.AddrPort]bool{}
	changed := false
	for index, wish := range i.wishes() {
		address := i.AddressOf(wish.name)
		current, known := i.Ports[wish.name]
		if known && !want(wish.name) {
			taken[netip.AddrPortFrom(address, uint16(current))] = true
			continue
		}
		start := current
		if !known {
			start = i.firstPort(wish, index)
		}
		port, err := nextFree(address, start, taken, isFree)
		if err != nil {
			return changed, fmt.Errorf("port for %s: %w", wish.name, err)
		}
		taken[netip.AddrPortFrom(address, uint16(port))] = true
		changed = changed || port != current
		i.Ports[wish.name] = port
	}
	return changed, nil
}

// PortNames lists the listeners of this kind of cluster.
func (i Identity) PortNames() []string {
	var names []string
	for _, wish := range i.wishes() {
		names = append(names, wish.name)
	}
	return names
}

func (i Identity) wishes() []portWish {
	if i.Kind == APIOnly {
		return apiOnlyPorts
	}
	return nodePorts
}

// firstPort is where the search for a free port begins. For servers that share
// an address it differs by cluster, so that two that start at the same moment
// do not look at the same port.
func (i Identity) firstPort(wish portWish, index int) int {
	if wish.port != 0 {
		return wish.port
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(i.Root))
	span := uint32(sharedPortsTo - sharedPortsFrom - attempts)
	return sharedPortsFrom + int(hash.Sum32()%span) + index
}

func nextFree(address netip.Addr, start int, taken map[netip.AddrPort]bool, isFree IsFree) (int, error) {
	for port := start; port < start+attempts && port < 65536; port++ {
		at := netip.AddrPortFrom(address, uint16(port))
		if !taken[at] && isFree(at) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port on %s from %d on", address, start)
}
