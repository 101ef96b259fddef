// Package identity is what a cluster is known by: its name on the machine, its
// addresses and its ports. They are chosen once, when a cluster is made, and
// kept in the state directory, so that every later command means the same one.
package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Kind tells how much of a cluster there is.
type Kind string

const (
	// Node is a cluster with one node that runs pods.
	Node Kind = "node"
	// APIOnly is an API server with its etcd, and nothing else.
	APIOnly Kind = "api-only"
)

// NodeName is the name of the one node.
const NodeName = "lodge-local"

// Identity is one cluster.
type Identity struct {
	Kind Kind `json:"kind"`
	// ID is derived from the state directory, so that it can be found again
	// when the directory's contents are gone.
	ID string `json:"id"`
	// Root is the state directory.
	Root string `json:"root"`
	// Boot is the boot of the machine in which the cluster last started.
	Boot string `json:"boot"`
	// Address is where the API server listens: the node's address, or loopback.
	Address netip.Addr `json:"address"`
	// Pods and Services are the ranges of their addresses.
	Pods     netip.Prefix `json:"pods"`
	Services netip.Prefix `json:"services"`
	// Ports has one port for each name in PortNames.
	Ports map[string]int `json:"ports"`
	// Sysctls are the kernel settings that were changed, with their old values.
	Sysctls map[string]string `json:"sysctls,omitempty"`
}

// IDOf is the identifier of the cluster whose state directory is root.
func IDOf(root string) string {
	sum := sha256.Sum256([]byte(root))
	return hex.EncodeToString(sum[:])[:6]
}

// Name is what the cluster's things on the machine are called: its bridge, its
// cgroup, its nftables table, its pod network.
func (i Identity) Name() string { return NameOf(i.ID) }

// NameOf is the name of things of the cluster with that identifier.
func NameOf(id string) string { return "lodge-" + id }

// ServerURL is the address of the API server.
func (i Identity) ServerURL() string {
	return "https://" + i.Endpoint("kube-apiserver")
}

// Endpoint is the address and the port that the named listener of the cluster
// has.
func (i Identity) Endpoint(port string) string {
	return netip.AddrPortFrom(i.AddressOf(port), uint16(i.Ports[port])).String()
}

// AddressOf is the address that a listener is bound to. Only etcd listens on
// loopback in a cluster with a node: no pod has business with it.
func (i Identity) AddressOf(port string) netip.Addr {
	if strings.HasPrefix(port, "etcd") {
		return netip.MustParseAddr("127.0.0.1")
	}
	return i.Address
}

// KubernetesService is the address of the service "kubernetes", the first of
// the services' range.
func (i Identity) KubernetesService() netip.Addr {
	return i.Services.Masked().Addr().Next()
}

// Load reads the identity in file. It returns nil when there is no such file.
func Load(file string) (*Identity, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var identity Identity
	if err := json.Unmarshal(content, &identity); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); remove the cluster with: lodge-cluster down", file, err)
	}
	return &identity, nil
}

// Save writes the identity to file, in one step.
func (i Identity) Save(file string) error {
	content, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(file, append(content, '\n'), 0o600)
}

// WriteFile replaces file in one step, and only when its content changes, so
// that a reader never sees half of it.
func WriteFile(file string, content []byte, mode fs.FileMode) error {
	old, err := os.ReadFile(file)
	if err == nil && string(old) == string(content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	temporary := file + ".new"
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return err
	}
	return os.Rename(temporary, file)
}
