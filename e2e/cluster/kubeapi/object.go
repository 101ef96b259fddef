package kubeapi

import (
	"context"
	"errors"
	"strings"
)

// Provisioner is the name of the cluster's volume provisioner, and StorageClass
// that of the class that uses it.
const (
	Provisioner  = "lodge.dev/folder"
	StorageClass = "standard"
)

// Object is an API object: where it lies and what it says.
type Object struct {
	Path    string
	Content map[string]any
}

type (
	fields = map[string]any
	list   = []any
)

// ClusterObjects come with every cluster that has a node: a default storage class, and
// what the two components that Kubernetes has no roles for may do.
func ClusterObjects() []Object {
	objects := []Object{storageClass()}
	objects = append(objects, role("lodge:coredns",
		rule("", "list watch", "endpoints", "services", "pods", "namespaces"),
		rule("discovery.k8s.io", "list watch", "endpointslices"),
	)...)
	return append(objects, role("lodge:volume-provisioner",
		rule("", "get list watch create delete", "persistentvolumes"),
		rule("", "get list watch", "persistentvolumeclaims"),

		rule("storage.k8s.io", "get", "storageclasses"),
	)...)
}

// NodeIsReady tells whether the node of that name is ready to run pods.
func (c *Client) NodeIsReady(ctx context.Context, name string) (bool, error) {
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	err := c.Get(ctx, "/api/v1/nodes/"+name, &node)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True", nil
		}
	}
	return false, nil
}

// HasDefaultServiceAccount tells whether pods can be made in the namespace "default".
func (c *Client) HasDefaultServiceAccount(ctx context.Context) (bool, error) {
	var account fields
	err := c.Get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", &account)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// PodPhases counts the cluster's pods by phase.
func (c *Client) PodPhases(ctx context.Context) (map[string]int, error) {
	var pods struct {
		Items []struct {
			Status struct{ Phase string }
		}
	}
	if err := c.Get(ctx, "/api/v1/pods", &pods); err != nil {
		return nil, err
	}
	phases := map[string]int{}
	for _, pod := range pods.Items {
		phases[pod.Status.Phase]++
	}
	return phases, nil
}

func storageClass() Object {
	return Object{
		Path: "/apis/storage.k8s.io/v1/storageclasses/" + StorageClass,
		Content: fields{
			"apiVersion": "storage.k8s.io/v1",
			"kind":       "StorageClass",
			"metadata": fields{
				"name":        StorageClass,
				"annotations": fields{"storageclass.kubernetes.io/is-default-class": "true"},
			},
			"provisioner":   Provisioner,
			"reclaimPolicy": "Delete",
			// A volume is made once its pod has a node: otherwise the scheduler would
			// try in vain first, and say so in events.
			"volumeBindingMode": "WaitForFirstConsumer",
		},
	}
}

// role is a cluster role and its binding to the user of the same name.
func role(name string, rules ...any) []Object {
	const group = "rbac.authorization.k8s.io"
	return []Object{
		{
			Path: "/apis/" + group + "/v1/clusterroles/" + name,
			Content: fields{
				"apiVersion": group + "/v1", "kind": "ClusterRole",
				"metadata": fields{"name": name},
				"rules":    rules,
			},
		},
		{
			Path: "/apis/" + group + "/v1/clusterrolebindings/" + name,
			Content: fields{
				"apiVersion": group + "/v1", "kind": "ClusterRoleBinding",
				"metadata": fields{"name": name},
				"roleRef":  fields{"apiGroup": group, "kind": "ClusterRole", "name": name},
				"subjects": list{fields{"apiGroup": group, "kind": "User", "name": name}},
			},
		},
	}
}

// rule allows verbs, which are separated by blanks, on resources of a group.
func rule(group, verbs string, resources ...string) any {
	return fields{
		"apiGroups": []string{group},
		"resources": resources,
		"verbs":     strings.Fields(verbs),
	}
}
