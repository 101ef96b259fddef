package cluster

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"lodge.dev/cluster/config"
	"lodge.dev/cluster/identity"
)

// pluginFolders are where distributions put the CNI plugins.
var pluginFolders = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// facts finds out what the configuration needs to know of the machine.
func (c Cluster) facts(kind identity.Kind) (config.Facts, error) {
	if kind == identity.APIOnly {
		return config.Facts{}, nil
	}
	pause, err := c.pause()
	if err != nil {
		return config.Facts{}, err
	}
	plugins, err := pluginFolder()
	if err != nil {
		return config.Facts{}, err
	}
	return config.Facts{
		PauseImage:   pause.Reference,
		Snapshotter:  snapshotter(c.Layout.Root),
		Nameservers:  nameserversOf("/etc/resolv.conf"),
		ResolvConf:   "/etc/resolv.conf",
		PluginFolder: plugins,
	}, nil
}

func pluginFolder() (string, error) {
	for _, folder := range pluginFolders {
		if _, err := os.Stat(filepath.Join(folder, "bridge")); err == nil {
			return folder, nil
		}
	}
	return "", fmt.Errorf("no CNI plugin \"bridge\" in %s; install it with e2e/cluster/install-packages",
		strings.Join(pluginFolders, ", "))
}

// snapshotter is overlayfs, but for a folder that lies on an overlay itself, as in
// a container: the kernel puts no overlay onto an overlay.
func snapshotter(folder string) string {
	var info unix.Statfs_t
	for unix.Statfs(folder, &info) != nil {
		parent := filepath.Dir(folder)
		if parent == folder {
			return "overlayfs"
		}
		folder = parent
	}
	if info.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}

// nameserversOf returns the addresses of the name servers in a resolv.conf.
func nameserversOf(file string) []string {
	content, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer content.Close()
	var servers []string
	for scanner := bufio.NewScanner(content); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if _, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, fields[1])
		}
	}
	return servers
}
