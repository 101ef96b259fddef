package command

import (
	"github.com/spf13/cobra"

	"lodge.dev/cluster/cluster"
	"lodge.dev/cluster/identity"
)

func newUp(o *options) *cobra.Command {
	apiOnly := false
	command := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster, or what is missing of it",
		Long: "up starts a cluster with one node. When it runs already, up changes nothing and ends at once;\n" +
			"what has died is started again, and a start that failed is carried on. Needs root.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			kind := identity.Node
			if apiOnly {
				kind = identity.APIOnly
			}
			return up(command, o, kind)
		},
	}
	command.Flags().BoolVar(&apiOnly, "api-only", false, "start only etcd and an API server, as api-server does")
	return command
}

func newAPIServer(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "api-server --state DIR",
		Short: "Start an API server with its etcd, and nothing else",
		Long: "api-server starts etcd and an API server on free ports of the loopback address, with certificates\n" +
			"of their own, and writes DIR/kubeconfig. Several may run beside each other and beside the cluster.\n" +
			"Nothing runs pods or controllers there: a deleted namespace, for one, stays. Needs no root.\n" +
			"It goes with: lodge-cluster down --state DIR",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return up(command, o, identity.APIOnly)
		},
	}
}

func up(command *cobra.Command, o *options, kind identity.Kind) error {
	c, err := o.open()
	if err != nil {
		return err
	}
	return c.Up(command.Context(), kind)
}

func newDown(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove everything it made",
		Long: "down ends the processes, containers and pods of the cluster and removes its mounts, its network,\n" +
			"its control groups and its state directory with all data. It touches no other cluster.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			return c.Down()
		},
	}
}

func newStatus(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what runs",
		Long:  "status shows the components, the API server and the node. It ends with 1 unless everything runs.",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			whole, err := c.Status(command.Context())
			if err == nil && !whole {
				return errIncomplete
			}
			return err
		},
	}
}

func newLogs(o *options) *cobra.Command {
	var wanted cluster.LogOptions
	command := &cobra.Command{
		Use:   "logs [component]",
		Short: "Print what the components wrote",
		Long:  "logs prints the last lines of one component's log, or of all of them.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				wanted.Component = args[0]
			}
			return c.Logs(command.Context(), wanted)
		},
	}
	command.Flags().BoolVarP(&wanted.Follow, "follow", "f", false, "go on with what is written from now on")
	command.Flags().IntVarP(&wanted.Lines, "lines", "n", 40, "how many of the last lines to print")
	return command
}

func newLoad(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE…",
		Short: "Import image archives into the cluster",
		Long: "load imports OCI or Docker image archives, for pods to run with imagePullPolicy Never or IfNotPresent.\n" +
			"An archive that was loaded before and has not changed is skipped.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := o.open()
			if err != nil {
				return err
			}
			return c.Load(command.Context(), args)
		},
	}
}
