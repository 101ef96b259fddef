package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/layout"
	"lodge.dev/cluster/process"
)

func write(t *testing.T, file, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func emptyCluster(t *testing.T) Cluster {
	t.Helper()
	folder := t.TempDir()
	return Cluster{
		Layout:   layout.Layout{Root: filepath.Join(folder, "state")},
		Registry: identity.Registry{Folder: filepath.Join(folder, "registry")},
		Out:      io.Discard,
	}
}

func TestNameserversAreAddressesOnly(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "resolv.conf"),
		"# nameserver 192.0.2.1\nsearch example.org\nnameserver 192.0.2.53\nnameserver fd00::1\nnameserver nonsense\n")
	if got := nameserversOf(file); !slices.Equal(got, []string{"192.0.2.53", "fd00::1"}) {
		t.Errorf("got %q", got)
	}
	if got := nameserversOf(file + ".none"); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestTwoCommandsTakeTurns(t *testing.T) {
	c := emptyCluster(t)
	release, err := c.lock()
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() {
		release, err := c.lock()
		if err == nil {
			release()
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Fatalf("the second did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	// The first one removes the cluster, and the lock's file with it.
	if err := os.RemoveAll(c.Layout.Root); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestAFolderWithOtherFilesIsNoStateDirectory(t *testing.T) {
	c := emptyCluster(t)
	file := write(t, filepath.Join(c.Layout.Root, "thesis.tex"), "")
	err := c.Up(context.Background(), identity.APIOnly)
	if err == nil || !strings.Contains(err.Error(), "not a cluster's state directory") {
		t.Errorf("got %v", err)
	}
	if err := c.Down(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestAClusterOfAnotherKindIsRefused(t *testing.T) {
	c := emptyCluster(t)
	known := identity.Identity{Kind: identity.Node, ID: identity.IDOf(c.Layout.Root), Root: c.Layout.Root}
	if err := known.Save(c.Layout.Identity()); err != nil {
		t.Fatal(err)
	}
	err := c.Up(context.Background(), identity.APIOnly)
	if err == nil || !strings.Contains(err.Error(), `of kind "node"`) {
		t.Errorf("got %v", err)
	}
}

func TestWaitingEndsWithTheComponent(t *testing.T) {
	log := write(t, filepath.Join(t.TempDir(), "log"), "first\nfatal: no disk\n")
	ended := make(chan struct{})
	close(ended)
	dead := part{"etcd", log, &process.Child{Ended: ended, Result: func() string { return "exit status 1" }}}
	err := await(context.Background(), "API server", time.Minute,
		func() (bool, error) { return false, errors.New("refused") }, dead, part{name: "kube-apiserver"})
	var failed *StepError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{`step "API server"`, "etcd ended: exit status 1", "    fatal: no disk", log} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

func TestWaitingEndsAfterItsLimit(t *testing.T) {
	err := await(context.Background(), "node", 0, func() (bool, error) { return false, nil }, part{name: "kubelet"})
	if err == nil || !strings.Contains(err.Error(), "kubelet is not ready after 0s") {
		t.Errorf("got %v", err)
	}
}

func TestOnlySocketsThatNobodyHasAreDead(t *testing.T) {
	folder, err := os.MkdirTemp("/tmp", "s")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	alive, err := net.Listen("unix", filepath.Join(folder, "alive"))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	ended, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(folder, "dead"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ended.SetUnlinkOnClose(false)
	_ = ended.Close()
	dead, err := deadSockets(folder)
	if err != nil || !slices.Equal(dead, []string{filepath.Join(folder, "dead")}) {
		t.Errorf("%q, %v", dead, err)
	}
}

func TestOnlyLinksIntoTheStateDirectoryAreOurs(t *testing.T) {
	folder := t.TempDir()
	for name, target := range map[string]string{"ours": "/state/logs/x", "theirs": "/state-2/logs/x"} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	links, err := linksInto(folder, "/state")
	if err != nil || !slices.Equal(links, []string{filepath.Join(folder, "ours")}) {
		t.Errorf("%q, %v", links, err)
	}
}

func TestFollowingALogSurvivesItsRotation(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "log"), "one\ntwo\nthree\n")
	var out bytes.Buffer
	log := &tail{file: file, prefix: "etcd: "}
	if err := log.printLast(&out, 2); err != nil {
		t.Fatal(err)
	}
	write(t, file, "one\ntwo\nthree\nfour\nfi")
	if err := log.printNew(&out); err != nil {
		t.Fatal(err)
	}
	write(t, file, "new\n")
	if err := log.printNew(&out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "etcd: two\netcd: three\netcd: four\netcd: new\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
