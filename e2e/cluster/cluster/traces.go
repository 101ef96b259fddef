package cluster

import (
	"errors"
	"os"
	"path/filepath"
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
func clearTraces(where layout.Layout, name string) error {
	ours := []string{
		filepath.Join(devicePlugins, "kubelet.sock"),
		filepath.Join(devicePlugins, "kubelet_internal_checkpoint"),
		filepath.Join(devicePlugins, "DEPRECATION"),
	}
	results, err := filepath.Glob(filepath.Join(cniResults, name+"-*"))
	if err != nil {
		return err
	}
	links, err := linksInto(containerLogs, where.Root)
	if err != nil {
		return err
	}
	for _, file := range append(append(ours, results...), links...) {
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
