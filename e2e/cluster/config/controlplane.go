package config

import (
	"fmt"

	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/pki"
)

// etcd runs without fsync: a cluster that is thrown away need not survive a
// power failure, and every write gets faster by the disk's latency.
func (c Cluster) etcd() (Component, error) {
	client := "https://" + c.Endpoint("etcd")
	peer := "https://" + c.Endpoint("etcd-peer")
	return Component{
		Name: Etcd,
		Args: []string{
			"--name=" + c.Name(),
			"--data-dir=" + c.Layout.Etcd(),
			"--unsafe-no-fsync",
			"--listen-client-urls=" + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=" + c.Name() + "=" + peer,
			"--client-cert-auth",
			"--trusted-ca-file=" + c.Layout.Cert(pki.EtcdAuthority),
			"--cert-file=" + c.Layout.Cert("etcd"),
			"--key-file=" + c.Layout.Key("etcd"),
			"--peer-client-cert-auth",
			"--peer-trusted-ca-file=" + c.Layout.Cert(pki.EtcdAuthority),
			"--peer-cert-file=" + c.Layout.Cert("etcd"),
			"--peer-key-file=" + c.Layout.Key("etcd"),
			"--log-level=warn",
		},
		Inputs: c.certificateInputs(pki.EtcdAuthority, "etcd"),
		Ports:  []string{"etcd", "etcd-peer"},
	}, nil
}

func (c Cluster) apiServer() (Component, error) {
	policy := c.file("audit-policy.yaml", auditPolicy)
	args := append([]string{
		"--bind-address=" + c.AddressOf(APIServer).String(),
		fmt.Sprintf("--secure-port=%d", c.Ports[APIServer]),
		"--advertise-address=" + c.Address.String(),
		"--service-cluster-ip-range=" + c.Services.String(),
		"--tls-cert-file=" + c.Layout.Cert(APIServer),
		"--tls-private-key-file=" + c.Layout.Key(APIServer),
		"--client-ca-file=" + c.Layout.Cert(pki.ClusterAuthority),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		// What limits a busy cluster is the machine, not a number.
		"--max-requests-inflight=3000",
		"--max-mutating-requests-inflight=1500",
		"--audit-policy-file=" + policy.Path,
		"--audit-log-path=" + c.Layout.AuditLog(),
		"--audit-log-maxsize=100",
		"--audit-log-maxbackup=3",
	}, c.apiServerStorage()...)
	args = append(args, c.apiServerTokens()...)
	args = append(args, c.apiServerKubelet()...)
	return Component{
		Name:  APIServer,
		Args:  args,
		Files: []File{policy},
		Inputs: append(c.certificateInputs(pki.ClusterAuthority, pki.FrontAuthority, pki.EtcdAuthority,
			APIServer, "kube-apiserver-etcd", "front-proxy-client"),
			c.Layout.Key(pki.ServiceAccounts)),
		Ports: []string{APIServer},
	}, nil
}

func (c Cluster) apiServerStorage() []string {
	return []string{
		"--etcd-servers=https://" + c.Endpoint("etcd"),
		"--etcd-cafile=" + c.Layout.Cert(pki.EtcdAuthority),
		"--etcd-certfile=" + c.Layout.Cert("kube-apiserver-etcd"),
		"--etcd-keyfile=" + c.Layout.Key("kube-apiserver-etcd"),
	}
}

// apiServerTokens also names the authority of requests that are passed on:
// without one, two components log an error every few seconds.
func (c Cluster) apiServerTokens() []string {
	return []string{
		"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
		"--service-account-key-file=" + c.Layout.PKI() + "/" + pki.ServiceAccounts + ".pub",
		"--service-account-signing-key-file=" + c.Layout.Key(pki.ServiceAccounts),
		"--requestheader-client-ca-file=" + c.Layout.Cert(pki.FrontAuthority),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.Layout.Cert("front-proxy-client"),
		"--proxy-client-key-file=" + c.Layout.Key("front-proxy-client"),
	}
}

// apiServerKubelet has, for a server without a node, what makes it do without
// the controllers that nobody runs: no service account would ever be made.
func (c Cluster) apiServerKubelet() []string {
	if c.Kind == identity.APIOnly {
		return []string{"--disable-admission-plugins=ServiceAccount"}
	}
	return []string{
		"--kubelet-certificate-authority=" + c.Layout.Cert(pki.ClusterAuthority),
		"--kubelet-client-certificate=" + c.Layout.Cert("kube-apiserver-kubelet"),
		"--kubelet-client-key=" + c.Layout.Key("kube-apiserver-kubelet"),
		"--kubelet-preferred-address-types=InternalIP",
	}
}

// auditPolicy logs every request at level Metadata, once it is answered, but for what
// the cluster's own components read all the time.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/livez*", "/readyz*", "/healthz*", "/metrics"]
- level: None
  verbs: [get, list, watch]
  users:
  - system:apiserver
  - system:kube-controller-manager
  - system:kube-scheduler
  - system:kube-proxy
  - lodge:coredns
  - lodge:volume-provisioner
- level: None
  verbs: [get, list, watch]
  userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
- level: Metadata
`

func (c Cluster) controllerManager() (Component, error) {
	client, err := c.client(ControllerManager)
	if err != nil {
		return Component{}, err
	}
	args := append(c.secureServer(ControllerManager, client.Path),
		"--leader-elect=false",
		"--use-service-account-credentials",
		"--root-ca-file="+c.Layout.Cert(pki.ClusterAuthority),
		"--service-account-private-key-file="+c.Layout.Key(pki.ServiceAccounts),
		"--cluster-signing-cert-file="+c.Layout.Cert(pki.ClusterAuthority),
		"--cluster-signing-key-file="+c.Layout.Key(pki.ClusterAuthority),
		"--flex-volume-plugin-dir="+c.Layout.Config("volume-plugins"),
		"--kube-api-qps=1000", "--kube-api-burst=2000",
		"--concurrent-namespace-syncs=20",
		"--concurrent-statefulset-syncs=20",
		"--concurrent-deployment-syncs=20",
		"--concurrent-replicaset-syncs=20",
	)
	return Component{
		Name:  ControllerManager,
		Args:  args,
		Files: []File{client},
		Inputs: append(c.certificateInputs(ControllerManager+"-server", pki.ClusterAuthority),
			c.Layout.Key(pki.ServiceAccounts)),
		Ports: []string{ControllerManager},
	}, nil
}

func (c Cluster) scheduler() (Component, error) {
	client, err := c.client(Scheduler)
	if err != nil {
		return Component{}, err
	}
	settings := c.file("kube-scheduler.yaml", fmt.Sprintf(`apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: %s
  qps: 1000
  burst: 2000
leaderElection:
  leaderElect: false
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 2
`, client.Path))
	return Component{
		Name:   Scheduler,
		Args:   append(c.secureServer(Scheduler, client.Path), "--config="+settings.Path),
		Files:  []File{client, settings},
		Inputs: c.certificateInputs(Scheduler+"-server", pki.ClusterAuthority),
		Ports:  []string{Scheduler},
	}, nil
}

// secureServer are the arguments that controller manager and scheduler share.
func (c Cluster) secureServer(component, kubeconfig string) []string {
	args := []string{
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=" + c.AddressOf(component).String(),
		fmt.Sprintf("--secure-port=%d", c.Ports[component]),
		"--tls-cert-file=" + c.Layout.Cert(component+"-server"),
		"--tls-private-key-file=" + c.Layout.Key(component+"-server"),
		"--client-ca-file=" + c.Layout.Cert(pki.ClusterAuthority),
	}
	if component == ControllerManager {
		args = append(args, "--kubeconfig="+kubeconfig)
	}
	return args
}
