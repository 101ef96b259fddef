package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

// pauseName is the name of the image that holds a pod's namespaces open.
const pauseName = "localhost/lodge-pause"

// Pause is the image of the pause program: its reference and its archive.
type Pause struct {
	Reference string
	Archive   []byte
}

// NewPause makes the image from the program in file. Its tag follows from its
// content, and the same program makes the same archive.
func NewPause(file string) (Pause, error) {
	program, err := os.ReadFile(file)
	if err != nil {
		return Pause{}, fmt.Errorf("the pause program is missing, build it with e2e/cluster/build: %w", err)
	}
	reference := pauseName + ":" + digest(program)[:12]
	archive, err := singleFileImage(reference, "pause", program)
	return Pause{reference, archive}, err
}

// singleFileImage is a Docker archive of an image whose only file is a program.
func singleFileImage(reference, name string, program []byte) ([]byte, error) {
	layer, err := tarOf(entry{name, 0o755, program})
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{"/" + name}, "User": "65535:65535"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
	if err != nil {
		return nil, err
	}
	configName, layerName := digest(config)+".json", digest(layer)+".tar"
	manifest, err := json.Marshal([]dockerManifest{{
		Config: configName, RepoTags: []string{reference}, Layers: []string{layerName},
	}})
	if err != nil {
		return nil, err
	}
	return tarOf(
		entry{layerName, 0o644, layer},
		entry{configName, 0o644, config},
		entry{"manifest.json", 0o644, manifest},
	)
}

type entry struct {
	name    string
	mode    int64
	content []byte
}

func tarOf(entries ...entry) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Format: tar.FormatUSTAR}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(e.content); err != nil {
			return nil, err
		}
	}
	err := writer.Close()
	return buffer.Bytes(), err
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
