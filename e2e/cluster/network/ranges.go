package network

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
)

// Ranges are the addresses of a cluster.
type Ranges struct {
	// Node is the first address of the pods' range. The bridge has it.
	Node     netip.Addr
	Pods     netip.Prefix
	Services netip.Prefix
}

// candidates are blocks of 65536 addresses, the first sixteenth of which is for pods
// and the ninth for services. They are spread over the private ranges, because
// a machine may be in the middle of any one of them.
var candidates = []string{
	"10.87.0.0/16", "10.88.0.0/16", "10.89.0.0/16", "10.187.0.0/16", "10.213.0.0/16",
	"172.23.0.0/16", "172.24.0.0/16", "172.29.0.0/16",
	"100.87.0.0/16", "100.99.0.0/16",
}

// ChooseRanges picks the first candidate that overlaps nothing in used.
func ChooseRanges(used []netip.Prefix) (Ranges, error) {
	for _, candidate := range candidates {
		block := netip.MustParsePrefix(candidate)
		if !overlapsAny(block, used) {
			return rangesIn(block), nil
		}
	}
	return Ranges{}, fmt.Errorf(
		"no free address range for pods: this machine has routes into all of %s; "+
			"remove one, or use another cluster with LODGE_CONTEXT=<name>", strings.Join(candidates, ", "))
}

// APIOnlyServices is the services' range of a server without pods. No packet is
// ever sent there.
var APIOnlyServices = netip.MustParsePrefix("10.96.0.0/20")

// Used returns the ranges that this machine has addresses in or routes to,
// apart from those through the named interface.
func Used(except string) ([]netip.Prefix, error) {
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, err
	}
	used := parseRoutes(string(routes), except)
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, device := range interfaces {
		if device.Name == except {
			continue
		}
		addresses, err := device.Addrs()
		if err != nil {
			continue
		}
		for _, address := range addresses {
			if prefix, err := netip.ParsePrefix(address.String()); err == nil && prefix.Addr().Is4() {
				used = append(used, prefix.Masked())
			}
		}
	}
	return used, nil
}

func rangesIn(block netip.Prefix) Ranges {
	base := block.Masked().Addr().As4()
	services := base
	services[2] = 128
	return Ranges{
		Node:     netip.AddrFrom4(base).Next(),
		Pods:     netip.PrefixFrom(netip.AddrFrom4(base), 20),
		Services: netip.PrefixFrom(netip.AddrFrom4(services), 20),
	}
}

func overlapsAny(block netip.Prefix, used []netip.Prefix) bool {
	for _, prefix := range used {
		if block.Overlaps(prefix) {
			return true
		}
	}
	return false
}

// parseRoutes reads /proc/net/route: addresses and masks are hexadecimal
// numbers in the machine's byte order. The default route is no range.
func parseRoutes(text, except string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[0] == except {
			continue
		}
		destination, okDestination := parseHexAddress(fields[1])
		mask, okMask := parseHexAddress(fields[7])
		if !okDestination || !okMask {
			continue
		}
		bytes := mask.As4()
		ones, _ := net.IPMask(bytes[:]).Size()
		if ones == 0 {
			continue
		}
		prefixes = append(prefixes, netip.PrefixFrom(destination, ones).Masked())
	}
	return prefixes
}

func parseHexAddress(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 4 {
		return netip.Addr{}, false
	}
	var bytes [4]byte
	binary.NativeEndian.PutUint32(bytes[:], binary.BigEndian.Uint32(raw))
	return netip.AddrFrom4(bytes), true
}
