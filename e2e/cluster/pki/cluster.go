package pki

import (
	"lodge.dev/cluster/identity"
)

// Names of the authorities, and of certificates that others refer to.
const (
	ClusterAuthority = "ca"
	FrontAuthority   = "front-proxy-ca"
	EtcdAuthority    = "etcd-ca"
	ServiceAccounts  = "service-accounts"
	Admin            = "admin"
)

// admins is the group that role-based access control lets do everything.
var admins = []string{"system:masters"}

// Certificates lists what a cluster needs.
func Certificates(cluster identity.Identity) []Certificate {
	all := []Certificate{
		{Name: ClusterAuthority, CommonName: "lodge-cluster"},
		{Name: FrontAuthority, CommonName: "lodge-cluster-front-proxy"},
		{Name: EtcdAuthority, CommonName: "lodge-cluster-etcd"},
		{
			Name: "etcd", CommonName: "etcd", Authority: EtcdAuthority, Both: true,
			Hosts: []string{"localhost", "127.0.0.1"},
		},
		{Name: "kube-apiserver-etcd", CommonName: "kube-apiserver", Authority: EtcdAuthority},
		{
			Name: "kube-apiserver", CommonName: "kube-apiserver", Authority: ClusterAuthority,
			Hosts: apiServerHosts(cluster),
		},
		{Name: "front-proxy-client", CommonName: "front-proxy-client", Authority: FrontAuthority},
		{Name: Admin, CommonName: "lodge-admin", Groups: admins, Authority: ClusterAuthority},
	}
	if cluster.Kind == identity.APIOnly {
		return all
	}
	return append(all, nodeCertificates(cluster)...)
}

func apiServerHosts(cluster identity.Identity) []string {
	hosts := []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "127.0.0.1",
		cluster.KubernetesService().String(),
	}
	if address := cluster.Address.String(); address != "127.0.0.1" {
		hosts = append(hosts, address)
	}
	return hosts
}

// nodeCertificates are those of the components that a lone API server lacks.
// Users and groups are the ones that Kubernetes' own roles are bound to.
func nodeCertificates(cluster identity.Identity) []Certificate {
	address := cluster.Address.String()
	server := func(name string) Certificate {
		return Certificate{
			Name: name + "-server", CommonName: name, Authority: ClusterAuthority,
			Hosts: []string{identity.NodeName, "localhost", address},
		}
	}
	client := func(name, user string, groups ...string) Certificate {
		return Certificate{Name: name, CommonName: user, Groups: groups, Authority: ClusterAuthority}
	}
	return []Certificate{
		{
			Name: "kube-apiserver-kubelet", CommonName: "kube-apiserver-kubelet-client",
			Groups: admins, Authority: ClusterAuthority,
		},
		server("kube-controller-manager"),
		server("kube-scheduler"),
		server("kubelet"),
		client("kube-controller-manager", "system:kube-controller-manager"),
		client("kube-scheduler", "system:kube-scheduler"),
		client("kubelet", "system:node:"+identity.NodeName, "system:nodes"),
		client("kube-proxy", "system:kube-proxy"),
		client("coredns", "lodge:coredns"),
		client("volume-provisioner", "lodge:volume-provisioner"),
	}
}
