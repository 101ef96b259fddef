package image

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func save(t *testing.T, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func references(t *testing.T, archive []byte) []string {
	t.Helper()
	names, err := References(save(t, archive))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestThePauseImageIsNamedAfterItsContent(t *testing.T) {
	first, err := NewPause(save(t, []byte("program")))
	if err != nil {
		t.Fatal(err)
	}
	again, err := NewPause(save(t, []byte("program")))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewPause(save(t, []byte("another program")))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Archive, again.Archive) || first.Reference != again.Reference {
		t.Error("the same program makes two images")
	}
	if other.Reference == first.Reference {
		t.Error("two programs make one image")
	}
	if got := references(t, first.Archive); !slices.Equal(got, []string{first.Reference}) {
		t.Errorf("its archive says %q, not %q", got, first.Reference)
	}
}

func TestAMissingPauseProgramTellsHowToBuildIt(t *testing.T) {
	_, err := NewPause(filepath.Join(t.TempDir(), "none"))
	if err == nil || !strings.Contains(err.Error(), "e2e/cluster/build") {
		t.Errorf("got %v", err)
	}
}

func TestReferencesOfAnOCIArchiveAreRead(t *testing.T) {
	archive, err := tarOf(entry{"index.json", 0o644, []byte(
		`{"manifests": [{"annotations": {"io.containerd.image.name": "localhost/a:1"}}, {}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	if got := references(t, archive); !slices.Equal(got, []string{"localhost/a:1"}) {
		t.Errorf("got %q", got)
	}
}

func TestACompressedArchiveKeepsItsNamesToItself(t *testing.T) {
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	if _, err := writer.Write(bytes.Repeat([]byte("not random at all "), 1000)); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err := writer.Write([]byte{1, 7, 3}); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if got := references(t, append(buffer.Bytes(), make([]byte, 1024)...)); got != nil {
		t.Errorf("got %q", got)
	}
}
