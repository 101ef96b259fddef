package config

import (
	"fmt"
	"strings"

	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/pki"
)

// containerd is Debian's, with a configuration, folders and a socket of its
// own. Lowering the score by which the kernel picks what to end when memory runs out
// needs a capability that root in a virtual machine may lack, so it is not tried.
func (c Cluster) containerd() (Component, error) {
	settings := c.file("containerd.toml", fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]

[grpc]
  address = %[3]q

[plugins."io.containerd.internal.v1.opt"]
  path = %[4]q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[5]q
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %[6]q
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = %[7]q

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[8]q
    conf_dir = %[9]q
`, c.Layout.ContainerdRoot(), c.Layout.ContainerdState(), c.Layout.ContainerdSocket(),
		c.Layout.ContainerdRoot()+"/opt", c.Facts.PauseImage, c.Facts.Snapshotter,
		c.Layout.Runc(), c.Facts.PluginFolder, c.Layout.CNIConfig()))
	return Component{
		Name:  Containerd,
		Args:  []string{"--config", settings.Path},
		Files: []File{settings, c.podNetwork()},
	}, nil
}

// podNetwork puts every pod on the cluster's bridge. Masquerading is done by the
// cluster's own nftables table: the plugin's would leave a chain for each pod
// behind when the cluster is ended from outside.
func (c Cluster) podNetwork() File {
	return File{
		Path: c.Layout.CNIConfig() + "/10-lodge.conflist",
		Content: fmt.Sprintf(`{
  "cniVersion": "0.4.0",
  "name": %[1]q,
  "plugins": [
    {
      "type": "bridge",
      "bridge": %[1]q,
      "isGateway": true,
      "ipMasq": false,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "dataDir": %[2]q,
        "ranges": [[{"subnet": %[3]q, "gateway": %[4]q}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
`, c.Name(), c.Layout.CNIAddresses(), c.Pods.String(), c.Address.String()),
	}
}

func (c Cluster) kubelet() (Component, error) {
	client, err := c.client(Kubelet)
	if err != nil {
		return Component{}, err
	}
	settings := c.file("kubelet.yaml", c.kubeletSettings())
	return Component{
		Name: Kubelet,
		Args: []string{
			"--config=" + settings.Path,
			"--kubeconfig=" + client.Path,
			"--root-dir=" + c.Layout.Kubelet(),
			"--cert-dir=" + c.Layout.Kubelet() + "/pki",
			"--hostname-override=" + identity.NodeName,
			"--node-ip=" + c.Address.String(),
		},
		Files:  []File{client, settings},
		Inputs: c.certificateInputs(Kubelet+"-server", pki.ClusterAuthority),
		Ports:  []string{Kubelet, "kubelet-health"},
	}, nil
}

// kubeletSettings never evicts for a full disk before it is really full, and
// removes no image: the machine is a developer's, and no image comes back.
func (c Cluster) kubeletSettings() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
port: %[2]d
healthzBindAddress: %[1]s
healthzPort: %[3]d
readOnlyPort: 0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[4]s}
authorization: {mode: Webhook}
tlsCertFile: %[5]s
tlsPrivateKeyFile: %[6]s
containerRuntimeEndpoint: unix://%[7]s
cgroupDriver: cgroupfs
cgroupRoot: /%[8]s
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
clusterDNS: [%[1]s]
clusterDomain: %[9]s
resolvConf: %[10]s
podLogsDir: %[11]s
volumePluginDir: %[12]s
maxPods: 500
syncFrequency: 1s
kubeAPIQPS: 500
kubeAPIBurst: 1000
eventRecordQPS: 0
registryPullQPS: 0
serializeImagePulls: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard:
  memory.available: 100Mi
  nodefs.available: 1%%
  nodefs.inodesFree: 1%%
  imagefs.available: 1%%
  imagefs.inodesFree: 1%%
`, c.Address, c.Ports[Kubelet], c.Ports["kubelet-health"],
		c.Layout.Cert(pki.ClusterAuthority), c.Layout.Cert(Kubelet+"-server"), c.Layout.Key(Kubelet+"-server"),
		c.Layout.ContainerdSocket(), c.Name(), clusterDomain, c.Facts.ResolvConf,
		c.Layout.PodLogs(), c.Layout.Config("volume-plugins"))
}

// proxy leaves the machine's connection tracking as it is.
func (c Cluster) proxy() (Component, error) {
	client, err := c.client(Proxy)
	if err != nil {
		return Component{}, err
	}
	settings := c.file("kube-proxy.yaml", fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection:
  kubeconfig: %[1]s
hostnameOverride: %[2]s
mode: nftables
clusterCIDR: %[3]s
healthzBindAddress: %[4]s
metricsBindAddress: %[5]s
oomScoreAdj: 0
nftables:
  minSyncPeriod: 50ms
conntrack:
  maxPerCore: 0
  min: 0
  tcpEstablishedTimeout: 0s
  tcpCloseWaitTimeout: 0s
`, client.Path, identity.NodeName, c.Pods, c.Endpoint("kube-proxy-health"), c.Endpoint("kube-proxy-metrics")))
	return Component{
		Name:  Proxy,
		Args:  []string{"--config=" + settings.Path},
		Files: []File{client, settings},
		Ports: []string{"kube-proxy-health", "kube-proxy-metrics"},
	}, nil
}

// coreDNS listens on the node's address, where every pod looks for it.
func (c Cluster) coreDNS() (Component, error) {
	client, err := c.client(CoreDNS)
	if err != nil {
		return Component{}, err
	}
	settings := c.file("Corefile", fmt.Sprintf(`.:53 {
	bind %[1]s
	errors
	ready %[2]s
	kubernetes %[3]s in-addr.arpa ip6.arpa {
		kubeconfig %[4]s %[5]s
		pods insecure
		ttl 5
		fallthrough in-addr.arpa ip6.arpa
	}
	%[6]s
	cache 10 {
		disable denial %[3]s
	}
	loadbalance
}
`, c.Address, c.Endpoint("coredns-ready"), clusterDomain, client.Path, ContextName, c.upstream()))
	return Component{
		Name:  CoreDNS,
		Args:  []string{"-conf", settings.Path},
		Files: []File{client, settings},
		Ports: []string{"coredns-ready"},
	}, nil
}

// upstream says who answers for other names. On a machine without a nameserver
// they do not exist, which is a quicker answer than none.
func (c Cluster) upstream() string {
	if len(c.Facts.Nameservers) == 0 {
		return "template ANY ANY . {\n\t\trcode NXDOMAIN\n\t}"
	}
	return "forward . " + strings.Join(c.Facts.Nameservers, " ")
}

func (c Cluster) volumeProvisioner() (Component, error) {
	client, err := c.client(VolumeProvisioner)
	if err != nil {
		return Component{}, err
	}
	return Component{
		Name: VolumeProvisioner,
		Args: []string{
			"--kubeconfig=" + client.Path,
			"--folder=" + c.Layout.Volumes(),
			"--node=" + identity.NodeName,
		},
		Files: []File{client},
	}, nil
}
