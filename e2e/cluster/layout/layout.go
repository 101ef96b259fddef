// Package layout says where a cluster keeps its files. Everything a cluster
// has lies under one state directory, so that removing a cluster is removing
// that directory; what has to live elsewhere is listed in package cluster.
package layout

import (
	"fmt"
	"os"
	"path/filepath"
)

// Layout is the state directory of one cluster. The path is absolute and free
// of symbolic links, because it is compared with paths that the kernel reports.
type Layout struct {
	Root string
}

// maxRoot keeps the longest socket path of a cluster, kubelet's
// pod-resources socket, within the 107 bytes that Linux allows.
const maxRoot = 70

// New resolves dir, which need not exist yet.
//
// It fails when the path is too long for the sockets below it.
func New(dir string) (Layout, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return Layout{}, fmt.Errorf("state directory %s: %w", dir, err)
	}
	root, err = resolve(root)
	if err != nil {
		return Layout{}, fmt.Errorf("state directory %s: %w", dir, err)
	}
	if len(root) > maxRoot {
		return Layout{}, fmt.Errorf(
			"state directory %s: its path has %d characters, and sockets below it allow %d; "+
				"choose a shorter one with --state DIR or LODGE_STATE=DIR",
			root, len(root), maxRoot)
	}
	return Layout{Root: root}, nil
}

// resolve follows the symbolic links of the part of path that exists.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		return real, nil
	}
	if !os.IsNotExist(err) {
		return "", err
	}
	parent, err := resolve(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}

// Identity is the file that makes a directory a cluster's state directory.
func (l Layout) Identity() string { return l.path("cluster.json") }

// Lock is the file that commands on one cluster take turns with.
func (l Layout) Lock() string { return l.path("lock") }

// Kubeconfig is the administrator's, for people and tests.
func (l Layout) Kubeconfig() string { return l.path("kubeconfig") }

// Program is the link that a component is started by. It is the first word of
// the component's command line, and that is how a process is known as ours.
func (l Layout) Program(name string) string { return l.path("bin", name) }

// Programs is the folder of those links.
func (l Layout) Programs() string { return l.path("bin") }

// Config is a generated configuration file of a component.
func (l Layout) Config(file string) string { return l.path("config", file) }

// ComponentKubeconfig is the kubeconfig that a component itself uses.
func (l Layout) ComponentKubeconfig(name string) string {
	return l.path("config", name+".kubeconfig")
}

// PKI is the folder of certificates and keys.
func (l Layout) PKI() string { return l.path("pki") }

// Cert and Key are a certificate and its private key, in PEM.
func (l Layout) Cert(name string) string { return l.path("pki", name+".crt") }

// Key is the private key of the certificate of the same name.
func (l Layout) Key(name string) string { return l.path("pki", name+".key") }

// PidFile remembers the process of a component.
func (l Layout) PidFile(name string) string { return l.path("run", name+".pid") }

// Log is what a component printed.
func (l Layout) Log(name string) string { return l.path("logs", name+".log") }

// AuditLog has one JSON line for each request to the API server.
func (l Layout) AuditLog() string { return l.path("logs", "audit.log") }

// PodLogs is kubelet's folder of container logs.
func (l Layout) PodLogs() string { return l.path("logs", "pods") }

// Etcd is etcd's data folder.
func (l Layout) Etcd() string { return l.path("etcd") }

// Kubelet is kubelet's root folder, with the volumes of pods.
func (l Layout) Kubelet() string { return l.path("kubelet") }

// ContainerdRoot holds images and snapshots.
func (l Layout) ContainerdRoot() string { return l.path("containerd", "root") }

// ContainerdState holds what containerd knows of running containers; it means
// nothing after a reboot.
func (l Layout) ContainerdState() string { return l.path("containerd", "state") }

// ContainerdSocket is where kubelet and ctr reach containerd.
func (l Layout) ContainerdSocket() string { return l.path("run", "containerd.sock") }

// Runc holds runc's state of containers.
func (l Layout) Runc() string { return l.path("containerd", "runc") }

// CNIConfig is the folder of the pod network's configuration.
func (l Layout) CNIConfig() string { return l.path("config", "cni") }

// CNIAddresses is where the addresses of pods are reserved.
func (l Layout) CNIAddresses() string { return l.path("cni") }

// Volumes holds one folder for each persistent volume.
func (l Layout) Volumes() string { return l.path("volumes") }

// Loaded remembers which image archives were imported.
func (l Layout) Loaded() string { return l.path("run", "loaded.json") }

// Folders are what must exist before any component starts.
func (l Layout) Folders() []string {
	return []string{
		l.Programs(), l.path("config"), l.PKI(), l.path("run"), l.path("logs"),
	}
}

func (l Layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.Root}, parts...)...)
}
