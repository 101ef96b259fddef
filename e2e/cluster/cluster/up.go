package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"lodge.dev/cluster/cgroup"
	"lodge.dev/cluster/config"
	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/kubeapi"
	"lodge.dev/cluster/pki"
)

// startLimit is how long one component may take to become ready. It is long, for
// machines that are busy with something else.
const startLimit = 3 * time.Minute

// start is one run of Up: the cluster and what was found out so far.
type start struct {
	Cluster
	*progress
	known  *identity.Identity
	parts  map[string]part
	client *kubeapi.Client
}

// Up starts what is missing of a cluster of that kind.
//
// Errors: *StepError when a step fails; what was started by then goes on, and the
// next Up carries on from there.
func (c Cluster) Up(ctx context.Context, kind identity.Kind) error {
	if err := c.check(kind); err != nil {
		return err
	}
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()

	s := &start{Cluster: c, progress: newProgress(c.Out), parts: map[string]part{}}
	if err := s.identify(kind); err != nil {
		s.removeUnused()
		return err
	}
	for _, step := range s.steps() {
		if err := s.step(step.name, func() (bool, error) { return step.run(ctx) }); err != nil {
			return err
		}
	}
	s.report()
	return nil
}

// removeUnused takes back the state directory, if nothing has come of it.
func (c Cluster) removeUnused() {
	if c.hasIdentityFile() || refuseForeignFiles(c.Layout.Root) != nil {
		return
	}
	_ = os.Remove(c.Layout.Lock())
	_ = os.Remove(c.Layout.Root)
}

type namedStep struct {
	name string
	run  func(context.Context) (bool, error)
}

func (s *start) steps() []namedStep {
	certificates := namedStep{"certificates", s.ensureCertificates}
	ports := namedStep{"ports", s.ensurePorts}
	files := namedStep{"configuration", s.ensureFiles}
	if s.known.Kind == identity.APIOnly {
		return []namedStep{
			certificates, ports, files,
			{"API server", s.startAPIServer},
		}
	}
	return []namedStep{
		{"network", s.ensureNetwork},
		{"control groups", s.ensureCgroups},
		certificates, ports, files,
		{"containerd", s.startContainerd},
		{"API server", s.startAPIServer},
		{"roles and storage", s.ensureObjects},
		{"controllers and node", s.startRest},
		{"service accounts", s.awaitServiceAccounts},
	}
}

func (s *start) report() {
	if !s.changed {
		fmt.Fprintf(s.Out, "the cluster in %s is running; nothing had to be done (%.1f s)\n", s.Layout.Root, s.seconds())
		return
	}
	fmt.Fprintf(s.Out, "ready in %.1f s: %s\nKUBECONFIG=%s\n", s.seconds(), s.known.ServerURL(), s.Layout.Kubeconfig())
}

// ensureNetwork notes former kernel settings before anything else can fail.
func (s *start) ensureNetwork(context.Context) (bool, error) {
	if s.known.Sysctls == nil {
		s.known.Sysctls = map[string]string{}
	}
	changed, err := podNetwork(*s.known).Ensure(s.known.Sysctls)
	if saveError := s.save(); err == nil {
		err = saveError
	}
	return changed, err
}

func (s *start) ensureCgroups(context.Context) (bool, error) {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return false, err
	}
	return cgroup.Ensure(hierarchies, s.known.Name())
}

func (s *start) ensureCertificates(context.Context) (bool, error) {
	changed, err := pki.Ensure(s.Layout.PKI(), pki.Certificates(*s.known))
	if err != nil {
		return changed, err
	}
	made, err := pki.EnsureSigningKey(s.Layout.PKI(), pki.ServiceAccounts)
	return changed || made, err
}

// ensurePorts looks for new ports for components that do not run and whose
// ports somebody else has taken in the meantime.
func (s *start) ensurePorts(context.Context) (bool, error) {
	components, err := s.components(*s.known)
	if err != nil {
		return false, err
	}
	idle := map[string]bool{}
	for _, component := range components {
		running, err := s.daemon(component).Running()
		if err != nil {
			return false, err
		}
		for _, port := range component.Ports {
			idle[port] = running == nil
		}
	}
	changed, err := s.known.ChoosePorts(func(port string) bool { return idle[port] }, identity.Listens)
	if err != nil {
		return changed, err
	}
	return changed, s.save()
}

// ensureFiles writes the configuration, and the links that components start by.
func (s *start) ensureFiles(context.Context) (bool, error) {
	desired, err := s.configuration(*s.known)
	if err != nil {
		return false, err
	}
	components, err := desired.Components()
	if err != nil {
		return false, err
	}
	admin, err := desired.AdminKubeconfig()
	if err != nil {
		return false, err
	}
	if err := writeFiles([]config.File{admin}); err != nil {
		return false, err
	}
	for _, component := range components {
		if err := writeFiles(component.Files); err != nil {
			return false, err
		}
		program, err := s.program(component.Name)
		if err != nil {
			return false, err
		}
		if err := ensureLink(s.Layout.Program(component.Name), program); err != nil {
			return false, err
		}
	}
	return false, nil
}

func writeFiles(files []config.File) error {
	for _, file := range files {
		mode := os.FileMode(0o644)
		if file.Secret {
			mode = 0o600
		}
		if err := identity.WriteFile(file.Path, []byte(file.Content), mode); err != nil {
			return err
		}
	}
	return nil
}

func ensureLink(link, target string) error {
	if current, err := os.Readlink(link); err == nil && current == target {
		return nil
	}
	temporary := link + ".new"
	_ = os.Remove(temporary)
	if err := os.Symlink(target, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, link)
}

// startContainerd also starts etcd and the API server, which take their time
// and do not need it.
func (s *start) startContainerd(ctx context.Context) (bool, error) {
	changed, err := s.start(config.Containerd, config.Etcd, config.APIServer)
	if err != nil {
		return changed, err
	}
	err = await(ctx, "containerd", startLimit, func() (bool, error) {
		connection, err := net.Dial("unix", s.Layout.ContainerdSocket())
		if err == nil {
			_ = connection.Close()
		}
		return err == nil, err
	}, s.parts[config.Containerd])
	if err != nil {
		return changed, err
	}
	store, err := s.images(*s.known)
	if err != nil {
		return changed, err
	}
	pause, err := s.pause()
	if err != nil {
		return changed, err
	}
	imported, err := store.EnsurePause(ctx, pause)
	return changed || imported, err
}

func (s *start) startAPIServer(ctx context.Context) (bool, error) {
	changed, err := s.start(config.Etcd, config.APIServer)
	if err != nil {
		return changed, err
	}
	s.client, err = s.Cluster.client(*s.known)
	if err != nil {
		return changed, err
	}
	begin := time.Now()
	err = await(ctx, "API server", startLimit, func() (bool, error) {
		err := s.client.Ready(ctx)
		return err == nil, err
	}, s.parts[config.Etcd], s.parts[config.APIServer])
	return changed || time.Since(begin) > time.Second, err
}

// ensureObjects applies the objects that come with a cluster after a start, and
// looks for missing ones otherwise.
func (s *start) ensureObjects(ctx context.Context) (bool, error) {
	changed := false
	for _, object := range kubeapi.ClusterObjects() {
		if s.changed {
			if err := s.client.Apply(ctx, object); err != nil {
				return true, err
			}
			changed = true
			continue
		}
		made, err := s.client.Ensure(ctx, object)
		if err != nil {
			return changed, err
		}
		changed = changed || made
	}
	return changed, nil
}
