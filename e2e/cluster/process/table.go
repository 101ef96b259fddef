// Package process starts the components of a cluster as processes of their own,
// finds them again, and ends them.
//
// A process counts as ours only when the kernel says so: its command line
// begins with the link in the cluster's state directory that it was started by,
// or names the cluster's containerd socket, and, where a pid file exists, the
// time it started at is the one that was written down. A number in a file is never enough
// to send a signal.
package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Process is one entry of the kernel's process table.
type Process struct {
	PID int
	// Started is when it started, in clock ticks since the machine's boot. With
	// the PID it names a process for good, because PIDs are used again.
	Started uint64
	// Args is the command line.
	Args []string
}

// Lookup returns the process with that PID, or nil when there is none or when it has
// ended and only waits to be reaped.
func Lookup(pid int) *Process {
	started, ok := startOf(pid)
	if !ok {
		return nil
	}
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || len(line) == 0 {
		return nil
	}
	return &Process{PID: pid, Started: started, Args: parseCommandLine(line)}
}

// startOf tells when a process started. It is not ok when there is no such
// process, or when it has ended and only waits to be reaped.
func startOf(pid int) (started uint64, ok bool) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false
	}
	state, started, err := parseStat(string(stat))
	return started, err == nil && state != "Z" && state != "X"
}

// All returns every process that matches.
func All(matches func(Process) bool) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if process := Lookup(pid); process != nil && matches(*process) {
			found = append(found, *process)
		}
	}
	return found, nil
}

// StartedBy matches what was started by a link in folder.
func StartedBy(folder string) func(Process) bool {
	prefix := folder + "/"
	return func(p Process) bool { return strings.HasPrefix(p.Args[0], prefix) }
}

// ShimOf matches the processes that containerd, at that socket, holds
// containers by.
func ShimOf(socket string) func(Process) bool {
	return func(p Process) bool {
		if !strings.HasPrefix(filepath.Base(p.Args[0]), "containerd-shim") {
			return false
		}
		for i := 1; i+1 < len(p.Args); i++ {
			if p.Args[i] == "-address" && p.Args[i+1] == socket {
				return true
			}
		}
		return false
	}
}

// parseStat reads the state and the start time from a line of /proc/PID/stat.
// The second field is the program's name in parentheses and may contain
// anything, so fields are counted from its last parenthesis.
func parseStat(line string) (state string, started uint64, err error) {
	end := strings.LastIndexByte(line, ')')
	if end < 0 {
		return "", 0, fmt.Errorf("no program name in %q", line)
	}
	// What follows starts at field 3; the start time is field 22.
	fields := strings.Fields(line[end+1:])
	const startTime = 22 - 3
	if len(fields) <= startTime {
		return "", 0, fmt.Errorf("%d fields in %q", len(fields), line)
	}
	started, err = strconv.ParseUint(fields[startTime], 10, 64)
	return fields[0], started, err
}

func parseCommandLine(line []byte) []string {
	var args []string
	for _, arg := range bytes.Split(bytes.TrimSuffix(line, []byte{0}), []byte{0}) {
		args = append(args, string(arg))
	}
	return args
}
