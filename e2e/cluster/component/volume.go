//go:build kubernetes

package component

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"lodge.dev/cluster/volume"
)

// volumeController makes a volume for each claim that asks for one, and deletes
// the volumes of claims that are gone. Which those are, and what a volume is
// made of, package volume decides.
type volumeController struct {
	folder  volume.Folder
	client  kubernetes.Interface
	claims  cache.SharedIndexInformer
	volumes cache.SharedIndexInformer
	queue   workqueue.TypedRateLimitingInterface[volumeTask]
}

// volumeTask names the object to look at: a claim, or a volume if it has no namespace.
type volumeTask struct{ namespace, name string }

// runVolumeProvisioner provisions until it is ended.
func runVolumeProvisioner() {
	const name = "volume-provisioner"
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	folder := flag.String("folder", "", "where the volumes are kept")
	node := flag.String("node", "", "name of the node that has that folder")
	klog.InitFlags(nil)
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		exit(name, fmt.Errorf("kubeconfig %s: %w", *kubeconfig, err))
	}
	config.QPS, config.Burst = 500, 1000
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		exit(name, err)
	}
	if err := os.MkdirAll(*folder, 0o755); err != nil {
		exit(name, err)
	}
	newVolumeController(client, volume.Folder{Path: *folder, Node: *node}).run(context.Background())
}

func newVolumeController(client kubernetes.Interface, folder volume.Folder) *volumeController {
	factory := informers.NewSharedInformerFactory(client, 0)
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[volumeTask](50*time.Millisecond, 5*time.Second)
	c := &volumeController{
		folder:  folder,
		client:  client,
		claims:  factory.Core().V1().PersistentVolumeClaims().Informer(),
		volumes: factory.Core().V1().PersistentVolumes().Informer(),
		queue:   workqueue.NewTypedRateLimitingQueue(limiter),
	}
	enqueue := func(object any) {
		if item, ok := object.(meta.Object); ok {
			c.queue.Add(volumeTask{item.GetNamespace(), item.GetName()})
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, object any) { enqueue(object) },
	}
	for _, informer := range []cache.SharedIndexInformer{c.claims, c.volumes} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			exit("volume-provisioner", err)
		}
	}
	return c
}

// run works until the context is done.
func (c *volumeController) run(ctx context.Context) {
	go c.claims.Run(ctx.Done())
	go c.volumes.Run(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), c.claims.HasSynced, c.volumes.HasSynced) {
		return
	}
	klog.InfoS("Volume provisioner is running", "folder", c.folder.Path)
	const workers = 4
	for range workers - 1 {
		go c.work(ctx)
	}
	c.work(ctx)
}

func (c *volumeController) work(ctx context.Context) {
	for {
		task, done := c.queue.Get()
		if done {
			return
		}
		if err := c.reconcile(ctx, task); err != nil {
			klog.ErrorS(err, "Will try again", "namespace", task.namespace, "name", task.name)
			c.queue.AddRateLimited(task)
		} else {
			c.queue.Forget(task)
		}
		c.queue.Done(task)
	}
}

func (c *volumeController) reconcile(ctx context.Context, task volumeTask) error {
	if task.namespace == "" {
		return c.reconcileVolume(ctx, task.name)
	}
	object, exists, err := c.claims.GetStore().GetByKey(task.namespace + "/" + task.name)
	if err != nil || !exists {
		return err
	}
	claim, ok := object.(*core.PersistentVolumeClaim)
	if !ok || !volume.IsWanted(claim) {
		return nil
	}
	class, err := c.client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, meta.GetOptions{})
	if err != nil {
		return err
	}
	made, err := c.folder.Make(claim, class)
	if errors.Is(err, volume.ErrRefused) {
		klog.ErrorS(err, "Claim is refused", "claim", klog.KObj(claim))
		return nil
	}
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().PersistentVolumes().Create(ctx, made, meta.CreateOptions{})
	return ignoreExists(err)
}

func (c *volumeController) reconcileVolume(ctx context.Context, name string) error {
	object, exists, err := c.volumes.GetStore().GetByKey(name)
	if err != nil || !exists {
		return err
	}
	item, ok := object.(*core.PersistentVolume)
	if !ok || !volume.IsReleased(item) {
		return nil
	}
	if err := c.folder.Remove(item); err != nil {
		return err
	}
	klog.InfoS("Deleted the data of a volume", "volume", name, "folder", filepath.Join(c.folder.Path, name))
	return ignoreMissing(c.client.CoreV1().PersistentVolumes().Delete(ctx, name, meta.DeleteOptions{}))
}

func ignoreExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func ignoreMissing(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
