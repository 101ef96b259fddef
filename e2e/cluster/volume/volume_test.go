package volume

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"lodge.dev/cluster/kubeapi"
)

func claim() *core.PersistentVolumeClaim {
	class := kubeapi.StorageClass
	return &core.PersistentVolumeClaim{
		ObjectMeta: meta.ObjectMeta{
			Name: "data", Namespace: "team", UID: "1234",
			Annotations: map[string]string{wantedFrom: kubeapi.Provisioner},
		},
		Spec: core.PersistentVolumeClaimSpec{StorageClassName: &class},
	}
}

func class() *storage.StorageClass {
	return &storage.StorageClass{ObjectMeta: meta.ObjectMeta{Name: kubeapi.StorageClass}}
}

func TestOnlyClaimsThatWaitForUsAreWanted(t *testing.T) {
	if !IsWanted(claim()) {
		t.Error("a claim that waits for us is passed over")
	}
	others := claim()
	others.Annotations[wantedFrom] = "example.com/disk"
	bound := claim()
	bound.Spec.VolumeName = "pvc-1"
	for _, item := range []*core.PersistentVolumeClaim{others, bound} {
		if IsWanted(item) {
			t.Errorf("wanted: %+v", item)
		}
	}
}

func TestAVolumeIsAFolderThatEverybodyMayWriteTo(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	folder := Folder{Path: t.TempDir(), Node: "node"}
	volume, err := folder.Make(claim(), class())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(volume.Spec.Local.Path)
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("%v, %v", info, err)
	}
	if volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		t.Errorf("reclaim policy %s", volume.Spec.PersistentVolumeReclaimPolicy)
	}
	if _, err := folder.Make(claim(), class()); err != nil {
		t.Errorf("making it again: %v", err)
	}
}

func TestBlockVolumesAreRefused(t *testing.T) {
	block := core.PersistentVolumeBlock
	wanted := claim()
	wanted.Spec.VolumeMode = &block
	if _, err := (Folder{Path: t.TempDir()}).Make(wanted, class()); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
}

func TestAReleasedVolumeGoesWithItsData(t *testing.T) {
	folder := Folder{Path: t.TempDir(), Node: "node"}
	volume, err := folder.Make(claim(), class())
	if err != nil {
		t.Fatal(err)
	}
	if IsReleased(volume) {
		t.Error("a new volume counts as released")
	}
	volume.Status.Phase = core.VolumeReleased
	if !IsReleased(volume) {
		t.Error("a released volume is passed over")
	}
	if err := os.WriteFile(filepath.Join(volume.Spec.Local.Path, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := folder.Remove(volume); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(volume.Spec.Local.Path); !os.IsNotExist(err) {
		t.Errorf("the data is still there: %v", err)
	}
}

func TestAFolderElsewhereIsNeverRemoved(t *testing.T) {
	folder := Folder{Path: t.TempDir(), Node: "node"}
	elsewhere := t.TempDir()
	volume, err := folder.Make(claim(), class())
	if err != nil {
		t.Fatal(err)
	}
	volume.Spec.Local.Path = elsewhere
	if err := folder.Remove(volume); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(elsewhere); err != nil {
		t.Error(err)
	}
}
