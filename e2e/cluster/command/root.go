// Package command is the command line of lodge-cluster.
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lodge.dev/cluster/cluster"
	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/layout"
)

// errIncomplete makes the exit code of status tell that something does not run,
// which the status itself has said by then.
var errIncomplete = errors.New("")

// Run runs the command line and returns the exit code.
func Run(version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRoot(version).ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errIncomplete) {
		fmt.Fprintln(os.Stderr, "lodge-cluster:", err)
	}
	var failed *cluster.StepError
	if errors.As(err, &failed) {
		fmt.Fprintln(os.Stderr, "What was started goes on; the same command carries on from here.")
	}
	return 1
}

// options are those of every command.
type options struct {
	state string
}

func newRoot(version string) *cobra.Command {
	// Packages of Kubernetes in the same binary add flags to the process's own set,
	// which cobra would offer as ours.
	pflag.CommandLine = pflag.NewFlagSet("lodge-cluster", pflag.ContinueOnError)
	var o options
	root := &cobra.Command{
		Use:   "lodge-cluster",
		Short: "A real one-node Kubernetes for machines that have none",
		Long: "lodge-cluster runs a real Kubernetes on this machine, from one program and a few Debian packages.\n" +
			"Everything it makes belongs to a state directory and goes with `lodge-cluster down`.\n" +
			"Called kubectl, helm, etcd or as another component, the same program is that component.",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringVar(&o.state, "state", defaultState(), "state directory of the cluster (environment: LODGE_STATE)")
	root.AddCommand(newUp(&o), newAPIServer(&o), newDown(&o), newStatus(&o), newLogs(&o), newLoad(&o), newKstatus())
	return root
}

// open resolves the state directory.
func (o *options) open() (cluster.Cluster, error) {
	where, err := layout.New(o.state)
	if err != nil {
		return cluster.Cluster{}, err
	}
	binary, err := os.Executable()
	if err != nil {
		return cluster.Cluster{}, err
	}
	return cluster.Cluster{
		Layout:   where,
		Registry: identity.DefaultRegistry(),
		Binary:   binary,
		Out:      os.Stdout,
	}, nil
}

// defaultState is .local/cluster of the repository: the program itself lies in
// .local/bin there.
func defaultState() string {
	if state := os.Getenv("LODGE_STATE"); state != "" {
		return state
	}
	binary, err := os.Executable()
	if err == nil {
		folder := filepath.Dir(binary)
		if filepath.Base(folder) == "bin" && filepath.Base(filepath.Dir(folder)) == ".local" {
			return filepath.Join(filepath.Dir(folder), "cluster")
		}
	}
	return filepath.Join(".local", "cluster")
}
