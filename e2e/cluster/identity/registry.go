package identity

import (
	"os"
	"path/filepath"
	"strings"
)

// Registry lists the clusters with a node that were made on this machine. It
// lies outside the state directories, because what a cluster leaves in the
// kernel (mounts, bridges, containers) outlives a state directory that
// somebody deletes.
type Registry struct {
	Folder string
}

// DefaultRegistry is the machine's.
func DefaultRegistry() Registry { return Registry{Folder: "/run/lodge-cluster"} }

// Add enters a cluster, or replaces its entry.
func (r Registry) Add(identity Identity) error {
	return identity.Save(r.file(identity.ID))
}

// Find returns the entry with that identifier, or nil.
func (r Registry) Find(id string) (*Identity, error) {
	return Load(r.file(id))
}

// List returns all entries. One that cannot be read is left out: it says
// nothing about the machine.
func (r Registry) List() ([]Identity, error) {
	files, err := filepath.Glob(r.file("*"))
	if err != nil {
		return nil, err
	}
	var all []Identity
	for _, file := range files {
		entry, err := Load(file)
		if err != nil || entry == nil || r.file(entry.ID) != file {
			continue
		}
		all = append(all, *entry)
	}
	return all, nil
}

// Remove deletes an entry, and the registry with its last one.
func (r Registry) Remove(id string) error {
	if err := os.Remove(r.file(id)); err != nil && !os.IsNotExist(err) {
		return err
	}
	// It fails while there are other entries, and that is right.
	_ = os.Remove(r.Folder)
	return nil
}

// BootID names the current boot of the machine.
func BootID() (string, error) {
	content, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(content)), err
}

func (r Registry) file(id string) string {
	return filepath.Join(r.Folder, id+".json")
}
