//go:build kubernetes

package component

import (
	"context"
	"os"
	_ "time/tzdata" // CronJob time zones, on machines that have no zone files

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func runAPIServer()         { runCommand(apiserver.NewAPIServerCommand()) }
func runControllerManager() { runCommand(controllermanager.NewControllerManagerCommand()) }
func runScheduler()         { runCommand(scheduler.NewSchedulerCommand()) }
func runKubelet()           { runCommand(kubelet.NewKubeletCommand(context.Background())) }
func runProxy()             { runCommand(proxy.NewProxyCommand()) }

// runCommand runs a control-plane command to its end.
func runCommand(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

// runKubectl sets the log verbosity before the command is made, because plugins
// are looked up while it is made and log by then.
func runKubectl() {
	if _, err := logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)); err != nil {
		exit("kubectl", err)
	}
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
