package config

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/layout"
)

func testCluster(t *testing.T, kind identity.Kind) Cluster {
	t.Helper()
	known := identity.Identity{
		Kind: kind, ID: "abc123", Root: "/state",
		Address:  netip.MustParseAddr("10.87.0.1"),
		Pods:     netip.MustParsePrefix("10.87.0.0/20"),
		Services: netip.MustParsePrefix("10.87.128.0/20"),
	}
	isFree := func(netip.AddrPort) bool { return true }
	if _, err := known.ChoosePorts(func(string) bool { return true }, isFree); err != nil {
		t.Fatal(err)
	}
	return Cluster{
		Identity: known,
		Layout:   layout.Layout{Root: "/state"},
		Facts: Facts{
			PauseImage: "localhost/lodge-pause:1", Snapshotter: "overlayfs",
			ResolvConf: "/etc/resolv.conf", PluginFolder: "/usr/lib/cni",
		},
		Authority: []byte("authority"),
		Credential: func(name string) ([]byte, []byte, error) {
			return []byte(name + " certificate"), []byte(name + " key"), nil
		},
	}
}

func components(t *testing.T, cluster Cluster) map[string]Component {
	t.Helper()
	all, err := cluster.Components()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Component{}
	var names []string
	for _, component := range all {
		byName[component.Name] = component
		names = append(names, component.Name)
	}
	if want := ComponentNames(cluster.Kind); !slices.Equal(names, want) {
		t.Fatalf("components %q, want %q", names, want)
	}
	return byName
}

func fileOf(t *testing.T, component Component, name string) string {
	t.Helper()
	for _, file := range component.Files {
		if filepath.Base(file.Path) == name {
			return file.Content
		}
	}
	t.Fatalf("%s has no file %s", component.Name, name)
	return ""
}

func TestEveryFileLiesInTheStateDirectoryAndIsComplete(t *testing.T) {
	for _, kind := range []identity.Kind{identity.Node, identity.APIOnly} {
		for _, component := range components(t, testCluster(t, kind)) {
			for _, file := range component.Files {
				if !strings.HasPrefix(file.Path, "/state/") {
					t.Errorf("%s: %s", component.Name, file.Path)
				}
				if strings.Contains(file.Content, "%!") {
					t.Errorf("%s: %s has a hole:\n%s", component.Name, file.Path, file.Content)
				}
			}
			for _, argument := range component.Args {
				if strings.Contains(argument, "%!") {
					t.Errorf("%s: %s", component.Name, argument)
				}
			}
		}
	}
}

func TestEveryListenerBelongsToOneComponent(t *testing.T) {
	cluster := testCluster(t, identity.Node)
	owners := map[string]int{}
	for _, component := range components(t, cluster) {
		for _, port := range component.Ports {
			owners[port]++
		}
	}
	for _, port := range cluster.PortNames() {
		if owners[port] != 1 {
			t.Errorf("port %s has %d owners", port, owners[port])
		}
	}
}

func TestALoneServerDoesWithoutServiceAccounts(t *testing.T) {
	const without = "--disable-admission-plugins=ServiceAccount"
	alone := components(t, testCluster(t, identity.APIOnly))[APIServer]
	if !slices.Contains(alone.Args, without) {
		t.Error("pods could never be made there: nobody makes the account they need")
	}
	whole := components(t, testCluster(t, identity.Node))[APIServer]
	if slices.Contains(whole.Args, without) {
		t.Error("a whole cluster lacks service accounts")
	}
}

func TestThePodNetworkIsValidAndNamedAfterTheCluster(t *testing.T) {
	content := fileOf(t, components(t, testCluster(t, identity.Node))[Containerd], "10-lodge.conflist")
	var parsed struct {
		Name    string
		Plugins []struct{ Type, Bridge string }
	}
	if err := json.Unmarshal([]byte(content), &parsed); err != nil {
		t.Fatal(err)
	}
	if parsed.Name != "lodge-abc123" || parsed.Plugins[0].Bridge != "lodge-abc123" {
		t.Errorf("%+v", parsed)
	}
}

func TestNamesOutsideTheClusterNeedANameserver(t *testing.T) {
	cluster := testCluster(t, identity.Node)
	if file := fileOf(t, components(t, cluster)[CoreDNS], "Corefile"); !strings.Contains(file, "rcode NXDOMAIN") {
		t.Errorf("without a nameserver other names are not denied:\n%s", file)
	}
	cluster.Facts.Nameservers = []string{"192.0.2.53", "192.0.2.54"}
	if file := fileOf(t, components(t, cluster)[CoreDNS], "Corefile"); !strings.Contains(file, "forward . 192.0.2.53 192.0.2.54\n") {
		t.Errorf("other names are not passed on:\n%s", file)
	}
}

func TestTheKubeconfigHasOneContext(t *testing.T) {
	file, err := testCluster(t, identity.Node).AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"server: https://10.87.0.1:6443\n", "current-context: lodge-local\n",
		"client-certificate-data: YWRtaW4gY2VydGlmaWNhdGU=\n",
	} {
		if !strings.Contains(file.Content, want) {
			t.Errorf("no %q in\n%s", want, file.Content)
		}
	}
	if !file.Secret {
		t.Error("everybody may read the administrator's key")
	}
}
