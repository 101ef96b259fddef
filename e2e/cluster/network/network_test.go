package network

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const routes = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
lodge-1	0000570A	00000000	0001	0	0	0	00F0FFFF	0	0	0
`

func TestRoutesAreReadInTheMachinesByteOrder(t *testing.T) {
	got := parseRoutes(routes, "lodge-1")
	want := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v: the default route and our own bridge are no ranges in use", got, want)
	}
}

func TestRangesAvoidWhatTheMachineUses(t *testing.T) {
	free, err := ChooseRanges(nil)
	if err != nil || free.Pods.String() != "10.87.0.0/20" || free.Node.String() != "10.87.0.1" ||
		free.Services.String() != "10.87.128.0/20" {
		t.Errorf("%+v, %v", free, err)
	}
	// A machine in the middle of 10/8.
	other, err := ChooseRanges([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	if err != nil || other.Pods.String() != "172.23.0.0/20" {
		t.Errorf("%+v, %v", other, err)
	}
	if other.Pods.Overlaps(other.Services) {
		t.Error("pods and services overlap")
	}
}

func TestNoFreeRangeIsAnErrorWithAWayOut(t *testing.T) {
	_, err := ChooseRanges([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")})
	if err == nil || !strings.Contains(err.Error(), "LODGE_CONTEXT") {
		t.Errorf("got %v", err)
	}
}

func TestMasqueradeReplacesTheWholeTable(t *testing.T) {
	n := Network{Name: "lodge-1", Pods: netip.MustParsePrefix("10.87.0.0/20")}
	rules := n.masquerade()
	for _, want := range []string{
		"delete table ip lodge-1",
		`ip saddr 10.87.0.0/20 ip daddr != 10.87.0.0/20 oifname != "lodge-1" masquerade`,
	} {
		if !strings.Contains(rules, want) {
			t.Errorf("no %q in\n%s", want, rules)
		}
	}
}
