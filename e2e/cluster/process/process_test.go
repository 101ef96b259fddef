package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseStatCountsFromTheLastParenthesis(t *testing.T) {
	rest := strings.Repeat(" 1", 18)
	state, started, err := parseStat("42 (a ) S (b) R" + rest + " 777 0 0")
	if err != nil || state != "R" || started != 777 {
		t.Errorf("state %q, started %d, %v", state, started, err)
	}
	if _, _, err := parseStat("42 (cut short) R 1 2"); err == nil {
		t.Error("a line that is too short is accepted")
	}
}

func TestShimsAreKnownByTheirSocket(t *testing.T) {
	shim := Process{Args: []string{
		"/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "x",
		"-address", "/state/run/containerd.sock",
	}}
	if !ShimOf("/state/run/containerd.sock")(shim) {
		t.Error("our shim is not recognised")
	}
	if ShimOf("/run/containerd/containerd.sock")(shim) {
		t.Error("a shim is taken for one of another containerd")
	}
	shim.Args[0] = "/usr/bin/grep"
	if ShimOf("/state/run/containerd.sock")(shim) {
		t.Error("a program that only names the socket is taken for a shim")
	}
}

// sleeper is a component that does nothing for a minute.
func sleeper(t *testing.T) Daemon {
	t.Helper()
	folder := t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep program")
	}
	program := filepath.Join(folder, "bin", "sleeper")
	if err := os.Mkdir(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sleep, program); err != nil {
		t.Fatal(err)
	}
	return Daemon{
		Name: "sleeper", Program: program, Args: []string{"60"},
		Inputs:  []string{filepath.Join(folder, "settings")},
		PidFile: filepath.Join(folder, "sleeper.pid"), LogFile: filepath.Join(folder, "sleeper.log"),
	}
}

func start(t *testing.T, d Daemon) *Child {
	t.Helper()
	child, err := d.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Stop(child.Process, 0) })
	return child
}

func TestAStartedDaemonIsFoundAndStopped(t *testing.T) {
	d := sleeper(t)
	child := start(t, d)
	running, err := d.Running()
	if err != nil || running == nil || running.PID != child.PID {
		t.Fatalf("running %+v, %v", running, err)
	}
	if err := Stop(*running, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	<-child.Ended
	if running, _ := d.Running(); running != nil {
		t.Errorf("still running: %+v", running)
	}
	if result := child.Result(); !strings.Contains(result, "terminated") {
		t.Errorf("the result does not tell the signal: %q", result)
	}
}

func TestADaemonIsFoundWithoutItsPidFile(t *testing.T) {
	d := sleeper(t)
	child := start(t, d)
	if err := os.Remove(d.PidFile); err != nil {
		t.Fatal(err)
	}
	running, err := d.Running()
	if err != nil || running == nil || running.PID != child.PID {
		t.Fatalf("running %+v, %v", running, err)
	}
	if d.IsCurrent() {
		t.Error("a process of which nothing is known counts as current")
	}
}

func TestAPidFileThatNamesSomebodyElseIsNotBelieved(t *testing.T) {
	d := sleeper(t)
	content := strconv.Itoa(os.Getpid()) + "\n1\nx\n"
	if err := os.WriteFile(d.PidFile, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if running, err := d.Running(); running != nil || err != nil {
		t.Errorf("running %+v, %v", running, err)
	}
}

func TestASignalToAReusedNumberIsNotSent(t *testing.T) {
	child := start(t, sleeper(t))
	former := Process{PID: child.PID, Started: child.Started - 1, Args: child.Args}
	if err := Stop(former, 0); err != nil {
		t.Fatal(err)
	}
	if !child.IsAlive() {
		t.Error("a process was ended that only has the number of the one meant")
	}
}

func TestAChangedInputMakesADaemonOutdated(t *testing.T) {
	d := sleeper(t)
	if err := os.WriteFile(d.Inputs[0], []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, d)
	if !d.IsCurrent() {
		t.Fatal("not current right after its start")
	}
	if err := os.WriteFile(d.Inputs[0], []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	if d.IsCurrent() {
		t.Error("a changed input file goes unnoticed")
	}
}
