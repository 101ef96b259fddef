package cluster

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"lodge.dev/cluster/layout"
)

// shimFolder is where containerd's shims have their sockets, whatever its configuration.
const shimFolder = "/run/containerd/s"

// The folders that components write to although they are told to work in the
// state directory. They may be somebody else's too, so only our own files go, and then
// what is empty.
const (
	containerLogs = "/var/log/containers"
	cniResults    = "/var/lib/cni/results"
	devicePlugins = "/var/lib/kubelet/device-plugins"
)

// clearTraces removes a cluster's files from those folders.
func clearTraces(where layout.Layout) error {
	ours := []string{
		filepath.Join(devicePlugins, "kubelet.sock"),
		filepath.Join(devicePlugins, "kubelet_internal_checkpoint"),
		filepath.Join(devicePlugins, "DEPRECATION"),
	}
	results, err := resultsOf(where)
	if err != nil {
		return err
	}
	sockets, err := deadSockets(shimFolder)
	if err != nil {
		return err
	}
	links, err := linksInto(containerLogs, where.Root)
	if err != nil {
		return err
	}
	for _, file := range slices.Concat(ours, results, links, sockets) {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, folder := range []string{
		shimFolder, filepath.Dir(shimFolder),
		containerLogs,
		cniResults, filepath.Dir(cniResults),
		devicePlugins, filepath.Dir(devicePlugins),
	} {
		if err := removeEmpty(folder); err != nil {
			return err
		}
	}
	return nil
}

// resultsOf returns the files in which the CNI library remembers the networks of
// this cluster's pods: each names the pod's network namespace.
func resultsOf(where layout.Layout) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(cniResults, "*"))
	if err != nil {
		return nil, err
	}
	var ours []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(content), `"`+where.Root+"/") {
			ours = append(ours, file)
		}
	}
	return ours, nil
}

// deadSockets returns the sockets in folder that nobody listens at. A shim that
// was ended by force leaves its own behind, whose name does not tell the cluster.
func deadSockets(folder string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		return nil, err
	}
	var dead []string
	for _, file := range files {
		connection, err := net.Dial("unix", file)
		if err == nil {
			_ = connection.Close()
			continue
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			dead = append(dead, file)
		}
	}
	return dead, nil
}

// linksInto returns the symbolic links in folder that lead below root.
func linksInto(folder, root string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var links []string
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		target, err := os.Readlink(path)
		if err == nil && strings.HasPrefix(target, root+"/") {
			links = append(links, path)
		}
	}
	return links, nil
}

// removeEmpty removes a folder, unless something is in it.
func removeEmpty(folder string) error {
	err := os.Remove(folder)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}
