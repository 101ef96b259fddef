package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"lodge.dev/cluster/config"
	"lodge.dev/cluster/identity"
)

// Status prints what runs and what does not. It reports whether the cluster is
// whole.
func (c Cluster) Status(ctx context.Context) (bool, error) {
	known, err := c.load()
	if err != nil {
		return false, err
	}
	if known == nil {
		fmt.Fprintf(c.Out, "there is no cluster in %s; start one with: lodge-cluster up\n", c.Layout.Root)
		return false, nil
	}
	fmt.Fprintf(c.Out, "%s cluster %s in %s\n", known.Kind, known.Name(), known.Root)
	fmt.Fprintf(c.Out, "API server %s, kubeconfig %s\n\n", known.ServerURL(), c.Layout.Kubeconfig())
	whole, err := c.printComponents(known.Kind)
	if err != nil {
		return false, err
	}
	answer := c.apiSummary(ctx, *known)
	fmt.Fprintf(c.Out, "\n%s\n", answer.text)
	return whole && answer.isReady, nil
}

func (c Cluster) printComponents(kind identity.Kind) (whole bool, err error) {
	table := tabwriter.NewWriter(c.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "COMPONENT\tPID\tMEMORY\tLOG")
	whole = true
	for _, name := range config.ComponentNames(kind) {
		running, err := c.daemon(config.Component{Name: name}).Running()
		if err != nil {
			return false, err
		}
		pid, memory := "stopped", "-"
		if running != nil {
			pid, memory = strconv.Itoa(running.PID), memoryOf(running.PID)
		} else {
			whole = false
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, pid, memory, c.Layout.Log(name))
	}
	return whole, table.Flush()
}

type apiAnswer struct {
	text    string
	isReady bool
}

// apiSummary asks the API server how it and the node are.
func (c Cluster) apiSummary(ctx context.Context, known identity.Identity) apiAnswer {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client, err := c.client(known)
	if err != nil {
		return apiAnswer{text: fmt.Sprintf("API server: not set up: %v", err)}
	}
	if err := client.Ready(ctx); err != nil {
		return apiAnswer{text: fmt.Sprintf("API server: not ready: %v", err)}
	}
	if known.Kind == identity.APIOnly {
		return apiAnswer{"API server: ready", true}
	}
	ready, err := client.NodeIsReady(ctx, identity.NodeName)
	if err != nil {
		return apiAnswer{text: fmt.Sprintf("node: %v", err)}
	}
	phases, err := client.PodPhases(ctx)
	if err != nil {
		return apiAnswer{text: fmt.Sprintf("pods: %v", err)}
	}
	state := "not ready"
	if ready {
		state = "ready"
	}
	return apiAnswer{fmt.Sprintf("API server: ready; node %s: %s; pods: %s", identity.NodeName, state, countText(phases)), ready}
}

func countText(phases map[string]int) string {
	var parts []string
	for _, phase := range []string{"Running", "Pending", "Succeeded", "Failed", "Unknown"} {
		if count := phases[phase]; count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count, strings.ToLower(phase)))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// memoryOf is the memory that a process has in use, for people to read.
func memoryOf(pid int) string {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	if err != nil {
		return "-"
	}
	fields := strings.Fields(string(content))
	if len(fields) < 2 {
		return "-"
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return "-"
	}
	return fmt.Sprintf("%d MiB", pages*os.Getpagesize()>>20)
}
