package process

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"lodge.dev/cluster/identity"
)

// Daemon is a component: how it is started and how it is known.
type Daemon struct {
	// Name is the component's.
	Name string
	// Program is the link it is started by, in the state directory.
	Program string
	// Args follow the program on the command line.
	Args []string
	// Inputs are the files that it reads when it starts. When one changes, the
	// component has to start again.
	Inputs []string
	// PidFile and LogFile are its files in the state directory.
	PidFile string
	LogFile string
}

// logLimit is the size from which a log is set aside when its component starts.
const logLimit = 64 << 20

// Child is a component that this very process started.
type Child struct {
	Process
	// Ended is closed when the process has ended; Result says how.
	Ended  <-chan struct{}
	Result func() string
}

// Running returns the component's process, or nil. It trusts the pid file only
// if the process it names is the component, and looks through the process table if not.
func (d Daemon) Running() (*Process, error) {
	if record, err := readRecord(d.PidFile); err == nil {
		process := Lookup(record.pid)
		if process != nil && process.Started == record.started && process.Args[0] == d.Program {
			return process, nil
		}
	}
	found, err := All(func(p Process) bool { return p.Args[0] == d.Program })
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// IsCurrent tells whether the running process was started with the arguments
// and the input files that the component has now.
func (d Daemon) IsCurrent() bool {
	record, err := readRecord(d.PidFile)
	return err == nil && record.fingerprint == d.fingerprint()
}

// Start starts the component, detached: it goes on when this process ends.
func (d Daemon) Start() (*Child, error) {
	log, err := openLog(d.LogFile)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	command := exec.Command(d.Program, d.Args...)
	command.Dir = "/"
	command.Env = environment()
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	var waitError error
	go func() {
		waitError = command.Wait()
		close(ended)
	}()
	child := &Child{
		Ended: ended,
		Result: func() string {
			if waitError == nil {
				return "it ended by itself"
			}
			return waitError.Error()
		},
	}
	started := Lookup(command.Process.Pid)
	if started == nil {
		// It has ended already; whoever waits for it will say why.
		started = &Process{PID: command.Process.Pid, Args: command.Args}
	}
	child.Process = *started
	return child, writeRecord(d.PidFile, record{started.PID, started.Started, d.fingerprint()})
}

// fingerprint identifies how the component was started.
func (d Daemon) fingerprint() string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q\n", d.Args)
	for _, file := range d.Inputs {
		content, err := os.ReadFile(file)
		fmt.Fprintf(hash, "%s %v %d\n", file, err != nil, len(content))
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// environment is what a component sees of ours: no proxies, no kubeconfig.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"LANG=C.UTF-8",
	}
}

func openLog(file string) (*os.File, error) {
	if info, err := os.Stat(file); err == nil && info.Size() > logLimit {
		if err := os.Rename(file, file+".1"); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}

// record is the content of a pid file: the process and what it was started with.
type record struct {
	pid         int
	started     uint64
	fingerprint string
}

func readRecord(file string) (record, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return record{}, err
	}
	var r record
	_, err = fmt.Fscan(strings.NewReader(string(content)), &r.pid, &r.started, &r.fingerprint)
	return r, err
}

func writeRecord(file string, r record) error {
	content := fmt.Sprintf("%d\n%d\n%s\n", r.pid, r.started, r.fingerprint)
	return identity.WriteFile(file, []byte(content), 0o644)
}
