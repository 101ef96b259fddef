// Package volume makes persistent volumes out of folders of the machine, below
// the cluster's state directory.
//
// Kubernetes' own provisioner for this, kubernetes.io/host-path, does not do:
// its folders may be entered by root alone, whatever the umask, and lie in /tmp.
package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lodge.dev/cluster/kubeapi"
)

// Annotations of the Kubernetes volume controller: on a claim the provisioner
// that is to make its volume (set once it is known that one is to be made), on
// a volume the provisioner that made it.
const (
	wantedFrom    = "volume.kubernetes.io/storage-provisioner"
	provisionedBy = "pv.kubernetes.io/provisioned-by"
)

// ErrRefused says that a claim asks for what this provisioner never has.
var ErrRefused = errors.New("claim refused")

// Folder is where the volumes are.
type Folder struct {
	Path string
	// Node is the name of the node that has the folder.
	Node string
}

// IsWanted tells whether the claim waits for a volume from here.
func IsWanted(claim *core.PersistentVolumeClaim) bool {
	return claim.DeletionTimestamp == nil &&
		claim.Annotations[wantedFrom] == kubeapi.Provisioner &&
		claim.Spec.VolumeName == "" &&
		claim.Spec.StorageClassName != nil
}

// IsReleased tells whether the volume is from here and is to be deleted with
// its data.
func IsReleased(volume *core.PersistentVolume) bool {
	return volume.DeletionTimestamp == nil &&
		volume.Annotations[provisionedBy] == kubeapi.Provisioner &&
		volume.Status.Phase == core.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == core.PersistentVolumeReclaimDelete
}

// Make makes the folder for a claim, which every user may write to, and returns the
// volume to create. Doing it again changes nothing.
func (f Folder) Make(claim *core.PersistentVolumeClaim, class *storage.StorageClass) (*core.PersistentVolume, error) {
	if mode := claim.Spec.VolumeMode; mode != nil && *mode == core.PersistentVolumeBlock {
		return nil, fmt.Errorf("%w: volumeMode Block is not supported, ask for Filesystem", ErrRefused)
	}
	if claim.Spec.Selector != nil {
		return nil, fmt.Errorf("%w: a selector picks an existing volume, so none is made", ErrRefused)
	}
	volume := f.describe(claim, class)
	path := volume.Spec.Local.Path
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	// In a second step, because the process's umask takes part in the first.
	return volume, os.Chmod(path, 0o777)
}

// Remove deletes the folder of a volume with everything in it.
func (f Folder) Remove(volume *core.PersistentVolume) error {
	path := f.path(volume.Name)
	if volume.Spec.Local == nil || volume.Spec.Local.Path != path {
		return fmt.Errorf("volume %s is not the folder %s", volume.Name, path)
	}
	return os.RemoveAll(path)
}

func (f Folder) describe(claim *core.PersistentVolumeClaim, class *storage.StorageClass) *core.PersistentVolume {
	name := "pvc-" + string(claim.UID)
	reclaim := core.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{provisionedBy: kubeapi.Provisioner},
		},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: reclaim,
			StorageClassName:              class.Name,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			MountOptions:                  class.MountOptions,
			Capacity: core.ResourceList{
				core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage],
			},
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
				ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{
				Local: &core.LocalVolumeSource{Path: f.path(name)},
			},
			NodeAffinity: f.affinity(),
		},
	}
}

// affinity ties a volume to the node that has its folder, as local volumes must be.
func (f Folder) affinity() *core.VolumeNodeAffinity {
	return &core.VolumeNodeAffinity{Required: &core.NodeSelector{
		NodeSelectorTerms: []core.NodeSelectorTerm{{
			MatchExpressions: []core.NodeSelectorRequirement{{
				Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{f.Node},
			}},
		}},
	}}
}

func (f Folder) path(name string) string {
	return filepath.Join(f.Path, filepath.Base(name))
}
