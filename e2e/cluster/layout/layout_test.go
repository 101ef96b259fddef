package layout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLinksInThePathAreResolvedAsFarAsItExists(t *testing.T) {
	folder, err := os.MkdirTemp("/tmp", "l")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Symlink(folder, filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	got, err := New(filepath.Join(folder, "link", "new", "state"))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(folder, "new", "state"); got.Root != want {
		t.Errorf("got %s, want %s", got.Root, want)
	}
}

func TestAPathTooLongForSocketsIsRefused(t *testing.T) {
	_, err := New("/tmp/" + strings.Repeat("x", 80))
	if err == nil || !strings.Contains(err.Error(), "--state") {
		t.Errorf("got %v", err)
	}
}
