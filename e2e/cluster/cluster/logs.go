package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"lodge.dev/cluster/config"
)

// LogOptions say which part of the logs to print.
type LogOptions struct {
	// Component is the one whose log is wanted. Empty means all.
	Component string
	// Lines is how many of the last lines to begin with.
	Lines int
	// Follow goes on with what is written from then on.
	Follow bool
}

// Logs prints what components wrote.
func (c Cluster) Logs(ctx context.Context, options LogOptions) error {
	known, err := c.load()
	if err != nil {
		return err
	}
	if known == nil {
		return fmt.Errorf("there is no cluster in %s; start one with: lodge-cluster up", c.Layout.Root)
	}
	names := config.ComponentNames(known.Kind)
	if options.Component != "" {
		if !slices.Contains(names, options.Component) {
			return fmt.Errorf("there is no component %q; there are: %s", options.Component, strings.Join(names, ", "))
		}
		names = []string{options.Component}
	}
	tails := make([]*tail, 0, len(names))
	for _, name := range names {
		t := &tail{file: c.Layout.Log(name)}
		if len(names) > 1 {
			t.prefix = name + ": "
		}
		if err := t.printLast(c.Out, options.Lines); err != nil {
			return err
		}
		tails = append(tails, t)
	}
	if !options.Follow {
		return nil
	}
	return follow(ctx, c.Out, tails)
}

// follow prints what is added to the files until ctx is done.
func follow(ctx context.Context, out io.Writer, tails []*tail) error {
	for {
		for _, t := range tails {
			if err := t.printNew(out); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tail is how far a log has been printed.
type tail struct {
	file   string
	prefix string
	offset int64
	// rest is the beginning of a line whose end was not written yet.
	rest []byte
}

func (t *tail) printLast(out io.Writer, count int) error {
	content, err := readEnd(t.file, int64(count)*1024)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(t.file)
	if err != nil {
		return err
	}
	t.offset = info.Size()
	lines := bytes.SplitAfter(content, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	if len(lines) > count {
		lines = lines[len(lines)-count:]
	}
	for _, line := range lines {
		t.print(out, line)
	}
	return nil
}

func (t *tail) printNew(out io.Writer) error {
	file, err := os.Open(t.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < t.offset {
		// The log was set aside and began anew.
		t.offset, t.rest = 0, nil
	}
	content := make([]byte, info.Size()-t.offset)
	read, err := file.ReadAt(content, t.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	t.offset += int64(read)
	pending := append(t.rest, content[:read]...)
	for {
		end := bytes.IndexByte(pending, '\n')
		if end < 0 {
			break
		}
		t.print(out, pending[:end+1])
		pending = pending[end+1:]
	}
	t.rest = bytes.Clone(pending)
	return nil
}

func (t *tail) print(out io.Writer, line []byte) {
	fmt.Fprintf(out, "%s%s", t.prefix, line)
	if !bytes.HasSuffix(line, []byte("\n")) {
		fmt.Fprintln(out)
	}
}
