// Package image reads and makes image archives, and puts them into a cluster's
// containerd.
package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// dockerManifest is an entry of manifest.json in a Docker archive.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// ociIndex is index.json in an OCI archive.
type ociIndex struct {
	Manifests []struct {
		Annotations map[string]string `json:"annotations"`
	} `json:"manifests"`
}

// containerdName is the annotation with the full name of an image.
const containerdName = "io.containerd.image.name"

// References returns the names of the images in an archive. There are none when they
// cannot be told beforehand, as in a compressed archive.
func References(file string) ([]string, error) {
	archive, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	var names []string
	// The reader seeks over the layers, so this is quick whatever the size.
	reader := tar.NewReader(archive)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if errors.Is(err, tar.ErrHeader) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("image archive %s: %w", file, err)
		}
		found, err := namesIn(header.Name, reader)
		if err != nil {
			return nil, fmt.Errorf("image archive %s: %s: %w", file, header.Name, err)
		}
		names = append(names, found...)
	}
}

func namesIn(entry string, content io.Reader) ([]string, error) {
	switch entry {
	case "manifest.json":
		var manifests []dockerManifest
		if err := json.NewDecoder(content).Decode(&manifests); err != nil {
			return nil, err
		}
		var names []string
		for _, manifest := range manifests {
			names = append(names, manifest.RepoTags...)
		}
		return names, nil
	case "index.json":
		var index ociIndex
		if err := json.NewDecoder(content).Decode(&index); err != nil {
			return nil, err
		}
		var names []string
		for _, manifest := range index.Manifests {
			if name := manifest.Annotations[containerdName]; name != "" {
				names = append(names, name)
			}
		}
		return names, nil
	}
	return nil, nil
}
