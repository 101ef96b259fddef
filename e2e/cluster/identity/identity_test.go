package identity

import (
	"net/netip"
	"path/filepath"
	"testing"
)

func none(string) bool { return false }
func all(string) bool  { return true }

func free(netip.AddrPort) bool { return true }

func node() Identity {
	return Identity{
		Kind: Node, ID: IDOf("/state"), Root: "/state",
		Address:  netip.MustParseAddr("10.87.0.1"),
		Services: netip.MustParsePrefix("10.87.128.0/20"),
	}
}

func TestANodeGetsTheUsualPorts(t *testing.T) {
	cluster := node()
	if _, err := cluster.ChoosePorts(none, free); err != nil {
		t.Fatal(err)
	}
	if url := cluster.ServerURL(); url != "https://10.87.0.1:6443" {
		t.Errorf("server %s", url)
	}
	if etcd := cluster.Endpoint("etcd"); etcd != "127.0.0.1:2379" {
		t.Errorf("etcd is to be out of the pods' reach, and is at %s", etcd)
	}
}

func TestAPortThatSomebodyHasIsPassedOver(t *testing.T) {
	cluster := node()
	busy := netip.MustParseAddrPort("10.87.0.1:6443")
	if _, err := cluster.ChoosePorts(none, func(at netip.AddrPort) bool { return at != busy }); err != nil {
		t.Fatal(err)
	}
	if got := cluster.Ports["kube-apiserver"]; got != 6444 {
		t.Errorf("port %d, want 6444", got)
	}
}

func TestPortsOfRunningComponentsStay(t *testing.T) {
	cluster := node()
	if _, err := cluster.ChoosePorts(none, free); err != nil {
		t.Fatal(err)
	}
	taken := func(netip.AddrPort) bool { return false }
	changed, err := cluster.ChoosePorts(none, taken)
	if changed || err != nil {
		t.Errorf("changed %v, %v", changed, err)
	}
	if _, err := cluster.ChoosePorts(all, taken); err == nil {
		t.Error("no free port is no error")
	}
}

func TestServersThatShareLoopbackStartTheirSearchApart(t *testing.T) {
	ports := map[int]bool{}
	for _, root := range []string{"/tmp/a", "/tmp/b", "/tmp/c"} {
		cluster := Identity{Kind: APIOnly, Root: root, Address: netip.MustParseAddr("127.0.0.1")}
		if _, err := cluster.ChoosePorts(none, free); err != nil {
			t.Fatal(err)
		}
		for name, port := range cluster.Ports {
			if port < sharedPortsFrom || port > sharedPortsTo {
				t.Errorf("%s has port %d", name, port)
			}
			ports[port] = true
		}
	}
	if len(ports) != 9 {
		t.Errorf("%d different ports, want 9", len(ports))
	}
}

func TestTheServiceKubernetesHasTheFirstAddress(t *testing.T) {
	if got := node().KubernetesService().String(); got != "10.87.128.1" {
		t.Errorf("got %s", got)
	}
}

func TestTheNameFitsANetworkInterface(t *testing.T) {
	const kernelLimit = 15
	if name := node().Name(); len(name) > kernelLimit {
		t.Errorf("%q is too long", name)
	}
}

func TestAnIdentityIsReadAsItWasWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cluster.json")
	if missing, err := Load(file); missing != nil || err != nil {
		t.Fatalf("%v, %v", missing, err)
	}
	if err := node().Save(file); err != nil {
		t.Fatal(err)
	}
	got, err := Load(file)
	if err != nil || got.Address != node().Address || got.Services != node().Services {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheRegistryForgetsItselfWithItsLastEntry(t *testing.T) {
	registry := Registry{Folder: filepath.Join(t.TempDir(), "registry")}
	if err := registry.Add(node()); err != nil {
		t.Fatal(err)
	}
	if entries, err := registry.List(); err != nil || len(entries) != 1 || entries[0].Root != "/state" {
		t.Fatalf("%+v, %v", entries, err)
	}
	if err := registry.Remove(node().ID); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(registry.Folder); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	if err := registry.Remove(node().ID); err != nil {
		t.Errorf("removing twice: %v", err)
	}
}
