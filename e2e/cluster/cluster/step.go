package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"lodge.dev/cluster/process"
)

// StepError says which step of a start failed, and where to read more.
type StepError struct {
	Step string
	// Log is the log file of the component that failed. It may be empty.
	Log string
	Err error
}

func (e *StepError) Unwrap() error { return e.Err }

func (e *StepError) Error() string {
	text := fmt.Sprintf("step %q failed: %v", e.Step, e.Err)
	if e.Log == "" {
		return text
	}
	if tail := lastLines(e.Log, 12); tail != "" {
		text += "\nlast lines of its log:\n" + tail
	}
	return text + "\nlog: " + e.Log
}

// progress runs steps one after the other and prints the ones that changed something.
type progress struct {
	out     io.Writer
	begin   time.Time
	changed bool
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, begin: time.Now()}
}

// step runs one step and prints how long it took, if there was something to do.
func (p *progress) step(name string, run func() (bool, error)) error {
	begin := time.Now()
	changed, err := run()
	if err != nil {
		if _, known := err.(*StepError); known {
			return err
		}
		return &StepError{Step: name, Err: err}
	}
	if changed {
		p.changed = true
		fmt.Fprintf(p.out, "  %-22s %5.1f s\n", name, time.Since(begin).Seconds())
	}
	return nil
}

func (p *progress) seconds() float64 { return time.Since(p.begin).Seconds() }

// pollPause is how long to wait between two questions whether something is ready.
const pollPause = 40 * time.Millisecond

// part is a component that is being started: its process, if it was started just
// now, and its log.
type part struct {
	name  string
	log   string
	child *process.Child
}

// await asks ready until it says yes. It gives up after limit, or at once when one of
// the parts that it depends on ends. The last part is the one that is waited for.
func await(
	ctx context.Context, step string, limit time.Duration, ready func() (bool, error), parts ...part,
) error {
	waited := parts[len(parts)-1]
	deadline := time.Now().Add(limit)
	for {
		isReady, err := ready()
		if err == nil && isReady {
			return nil
		}
		for _, p := range parts {
			if p.hasEnded() {
				return &StepError{step, p.log, fmt.Errorf("%s ended: %s", p.name, p.child.Result())}
			}
		}
		if time.Now().After(deadline) {
			if err == nil {
				err = fmt.Errorf("it says so itself")
			}
			return &StepError{step, waited.log, fmt.Errorf("%s is not ready after %s: %w", waited.name, limit, err)}
		}
		select {
		case <-ctx.Done():
			return &StepError{step, waited.log, ctx.Err()}
		case <-time.After(pollPause):
		}
	}
}

func (p part) hasEnded() bool {
	if p.child == nil {
		return false
	}
	select {
	case <-p.child.Ended:
		return true
	default:
		return false
	}
}

// lastLines returns the end of a file, indented.
func lastLines(file string, count int) string {
	content, err := readEnd(file, 32<<10)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	if len(lines) > count {
		lines = lines[len(lines)-count:]
	}
	var out strings.Builder
	for _, line := range lines {
		const width = 400
		if len(line) > width {
			line = line[:width] + "…"
		}
		out.WriteString("    " + line + "\n")
	}
	return strings.TrimRight(out.String(), "\n")
}

func readEnd(file string, limit int64) ([]byte, error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		if _, err := opened.Seek(-limit, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(opened, limit))
}
