package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"lodge.dev/cluster/identity"
)

// Store is a cluster's containerd, as far as images go.
type Store struct {
	// Socket is containerd's.
	Socket string
	// Snapshotter is the one that images get unpacked for.
	Snapshotter string
	// Record is the file that remembers what was imported.
	Record string
}

// namespace is where kubelet looks for images.
const namespace = "k8s.io"

// imported is what is remembered of an archive: when it is still the same, and
// its images are still there, it need not be imported again.
type imported struct {
	Size     int64    `json:"size"`
	Modified int64    `json:"modified"`
	Images   []string `json:"images"`
}

// Load imports the archive in file, unless that was done before. It returns the
// names of its images, and whether it had to do anything.
func (s Store) Load(ctx context.Context, file string) (names []string, changed bool, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, false, err
	}
	names, err = References(file)
	if err != nil {
		return nil, false, err
	}
	record, err := s.readRecord()
	if err != nil {
		return nil, false, err
	}
	now := imported{info.Size(), info.ModTime().UnixNano(), names}
	if before, known := record[file]; known && len(names) > 0 &&
		before.Size == now.Size && before.Modified == now.Modified {
		if present, err := s.has(ctx, names); err == nil && present {
			return names, false, nil
		}
	}
	if _, err := s.ctr(ctx, nil, "images", "import", "--snapshotter", s.Snapshotter, file); err != nil {
		return nil, false, err
	}
	record[file] = now
	return names, true, s.writeRecord(record)
}

// EnsurePause imports the pause image, if it is not there.
func (s Store) EnsurePause(ctx context.Context, pause Pause) (bool, error) {
	present, err := s.has(ctx, []string{pause.Reference})
	if err != nil || present {
		return false, err
	}
	_, err = s.ctr(ctx, pause.Archive, "images", "import", "--snapshotter", s.Snapshotter, "-")
	return err == nil, err
}

// has tells whether all the named images are there.
func (s Store) has(ctx context.Context, names []string) (bool, error) {
	out, err := s.ctr(ctx, nil, "images", "list", "--quiet")
	if err != nil {
		return false, err
	}
	present := map[string]bool{}
	for _, name := range strings.Fields(out) {
		present[name] = true
	}
	for _, name := range names {
		if !present[name] {
			return false, nil
		}
	}
	return true, nil
}

// ctr runs containerd's own client.
func (s Store) ctr(ctx context.Context, input []byte, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "ctr", append([]string{"--address", s.Socket, "--namespace", namespace}, args...)...)
	var problems bytes.Buffer
	command.Stdin, command.Stderr = bytes.NewReader(input), &problems
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(problems.String()))
	}
	return string(out), nil
}

func (s Store) readRecord() (map[string]imported, error) {
	record := map[string]imported{}
	content, err := os.ReadFile(s.Record)
	if errors.Is(err, fs.ErrNotExist) {
		return record, nil
	}
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(content, &record) != nil {
		// A damaged record only means that archives are imported once more.
		return map[string]imported{}, nil
	}
	return record, nil
}

func (s Store) writeRecord(record map[string]imported) error {
	content, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(s.Record, content, 0o644)
}
