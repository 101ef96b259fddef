package process

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// pollPause is how long to wait between two looks at the process table.
const pollPause = 10 * time.Millisecond

// Stop ends a process: it is asked to end, and ended by force after grace.
// A grace of zero ends it by force at once.
func Stop(p Process, grace time.Duration) error {
	if grace > 0 {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		if p.waitEnded(grace) {
			return nil
		}
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	const afterKill = 10 * time.Second
	if !p.waitEnded(afterKill) {
		return fmt.Errorf("process %d (%s) is still there %s after it was killed", p.PID, p.Args[0], afterKill)
	}
	return nil
}

// Signal sends a signal, if the process is still the same one.
func (p Process) Signal(signal syscall.Signal) error {
	if !p.IsAlive() {
		return nil
	}
	if err := syscall.Kill(p.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v to process %d (%s): %w", signal, p.PID, p.Args[0], err)
	}
	return nil
}

// IsAlive tells whether the process is still there, and is the same one.
func (p Process) IsAlive() bool {
	started, ok := startOf(p.PID)
	return ok && started == p.Started
}

func (p Process) waitEnded(limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(pollPause) {
		if !p.IsAlive() {
			return true
		}
	}
	return !p.IsAlive()
}
