package cluster

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"lodge.dev/cluster/config"
	"lodge.dev/cluster/identity"
	"lodge.dev/cluster/process"
)

// stopGrace is how long a component whose configuration changed gets to end by itself.
const stopGrace = 5 * time.Second

// rest are the components that need an API server to begin with.
var rest = []string{
	config.ControllerManager, config.Scheduler, config.Kubelet, config.Proxy,
	config.CoreDNS, config.VolumeProvisioner,
}

// start starts those of the named components that do not run, or that run with another
// configuration than they have now.
func (s *start) start(names ...string) (bool, error) {
	components, err := s.components(*s.known)
	if err != nil {
		return false, err
	}
	changed := false
	for _, component := range components {
		for _, name := range names {
			if component.Name != name || s.parts[name].child != nil {
				continue
			}
			started, err := s.startOne(component)
			if err != nil {
				return changed, &StepError{"start " + name, s.Layout.Log(name), err}
			}
			changed = changed || started
		}
	}
	return changed, nil
}

func (s *start) startOne(component config.Component) (bool, error) {
	daemon := s.daemon(component)
	running, err := daemon.Running()
	if err != nil {
		return false, err
	}
	s.parts[component.Name] = part{name: component.Name, log: daemon.LogFile}
	if running != nil && daemon.IsCurrent() {
		return false, nil
	}
	if running != nil {
		if err := process.Stop(*running, stopGrace); err != nil {
			return true, err
		}
	}
	child, err := daemon.Start()
	if err != nil {
		return true, err
	}
	s.parts[component.Name] = part{name: component.Name, log: daemon.LogFile, child: child}
	return true, nil
}

// startRest starts everything else at once, then waits for one after the other.
func (s *start) startRest(ctx context.Context) (bool, error) {
	if err := refuseOtherProxy(s.Layout); err != nil {
		return false, err
	}
	changed, err := s.start(rest...)
	if err != nil {
		return changed, err
	}
	waits := []struct {
		step, component string
		ready           func() (bool, error)
	}{
		// kubelet first: of a node that was killed the API server still says that it is ready.
		{"kubelet", config.Kubelet, func() (bool, error) { return answers(s.known.Endpoint("kubelet-health"), "/healthz") }},
		{"node", config.Kubelet, func() (bool, error) { return s.client.NodeIsReady(ctx, identity.NodeName) }},
		{"service proxy", config.Proxy, func() (bool, error) { return answers(s.known.Endpoint("kube-proxy-health"), "/livez") }},
		{"names", config.CoreDNS, func() (bool, error) { return answers(s.known.Endpoint("coredns-ready"), "/ready") }},
	}
	for _, wait := range waits {
		if err := await(ctx, wait.step, startLimit, wait.ready, s.parts[wait.component]); err != nil {
			return changed, err
		}
	}
	return changed, s.refuseEnded()
}

// refuseEnded fails when a component that nobody waits for has ended by now.
func (s *start) refuseEnded() error {
	for _, name := range rest {
		if p := s.parts[name]; p.hasEnded() {
			return &StepError{"start " + name, p.log, fmt.Errorf("%s ended: %s", name, p.child.Result())}
		}
	}
	return nil
}

// awaitServiceAccounts waits for the sign that the controllers work: without it
// the first pod that somebody makes would be refused.
func (s *start) awaitServiceAccounts(ctx context.Context) (bool, error) {
	begin := time.Now()
	err := await(ctx, "service accounts", startLimit, func() (bool, error) {
		return s.client.HasDefaultServiceAccount(ctx)
	}, s.parts[config.ControllerManager])
	return time.Since(begin) > 100*time.Millisecond, err
}

// answers tells whether a health check succeeds.
func answers(endpoint, path string) (bool, error) {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + endpoint + path)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("http://%s%s: %s", endpoint, path, response.Status)
	}
	return true, nil
}
