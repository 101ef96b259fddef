// Package config turns what a cluster is (its layout, its identity and a few
// facts about the machine) into command lines and configuration files of its
// components. It is pure: nothing here touches the machine.
package config

import (
	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/layout"
	"lodge.dev/cluster/pki"
)

// Names of the components, as in the state directory's bin, logs and run folders.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	CoreDNS           = "coredns"
	VolumeProvisioner = "volume-provisioner"
	Containerd        = "containerd"
)

// clusterDomain is the suffix of the names of services.
const clusterDomain = "cluster.local"

// Facts are what has to be known of the machine.
type Facts struct {
	// PauseImage is the image of the container that holds a pod together.
	PauseImage string
	// Snapshotter is containerd's way to stack image layers.
	Snapshotter string
	// Nameservers answer for names outside of the cluster. There may be none.
	Nameservers []string
	// ResolvConf is the file that pods with the DNS policy Default get.
	ResolvConf string
	// PluginFolder holds the CNI plugins.
	PluginFolder string
}

// Component is how to run one part of a cluster.
type Component struct {
	Name string
	Args []string
	// Files are what it is configured by; they are written before it starts.
	Files []File
	// Inputs are further files that it reads once. It has to start again when
	// one of them or of Files changes.
	Inputs []string
	// Ports are the names of its listeners.
	Ports []string
}

// File is a generated file.
type File struct {
	Path    string
	Content string
	// Secret files are readable by root alone.
	Secret bool
}

// Cluster is what components are configured from.
type Cluster struct {
	identity.Identity
	Layout layout.Layout
	Facts  Facts
	// Authority and Credential return the certificates and keys, in PEM, that
	// kubeconfigs contain.
	Authority  []byte
	Credential func(name string) (certificate, key []byte, err error)
}

// Components lists the parts of the cluster in the order in which they start.
func (c Cluster) Components() ([]Component, error) {
	builders := []func() (Component, error){c.etcd, c.apiServer}
	if c.Kind == identity.Node {
		builders = append([]func() (Component, error){c.containerd}, builders...)
		builders = append(builders, c.controllerManager, c.scheduler, c.kubelet,
			c.proxy, c.coreDNS, c.volumeProvisioner)
	}
	var all []Component
	for _, build := range builders {
		component, err := build()
		if err != nil {
			return nil, err
		}
		all = append(all, component)
	}
	return all, nil
}

// ComponentNames lists the parts of a cluster of that kind, in the order in
// which they start.
func ComponentNames(kind identity.Kind) []string {
	if kind == identity.APIOnly {
		return []string{Etcd, APIServer}
	}
	return []string{
		Containerd, Etcd, APIServer, ControllerManager, Scheduler, Kubelet,
		Proxy, CoreDNS, VolumeProvisioner,
	}
}

// AdminKubeconfig is the file for people and tests.
func (c Cluster) AdminKubeconfig() (File, error) {
	content, err := c.kubeconfig(pki.Admin)
	return File{Path: c.Layout.Kubeconfig(), Content: content, Secret: true}, err
}

// file is a configuration file of a component.
func (c Cluster) file(name, content string) File {
	return File{Path: c.Layout.Config(name), Content: content}
}

// client is the kubeconfig that a component reaches the API server with.
func (c Cluster) client(component string) (File, error) {
	content, err := c.kubeconfig(component)
	return File{
		Path: c.Layout.ComponentKubeconfig(component), Content: content, Secret: true,
	}, err
}

// certificateInputs are the files of certificates that a component reads.
func (c Cluster) certificateInputs(names ...string) []string {
	var files []string
	for _, name := range names {
		files = append(files, c.Layout.Cert(name))
	}
	return files
}
