package kubeapi

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lodge.dev/cluster/pki"
)

// serve starts a server that answers as respond says, and a client of it. The
// returned list grows with each request.
func serve(t *testing.T, respond func(request string) (int, string)) (*Client, *[]string) {
	t.Helper()
	var requests []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := r.Method + " " + r.URL.Path
		requests = append(requests, request)
		status, body := respond(request)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)

	folder := t.TempDir()
	if _, err := pki.Ensure(folder, []pki.Certificate{
		{Name: "ca", CommonName: "ca"}, {Name: "user", CommonName: "user", Authority: "ca"},
	}); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	client, err := New(server.URL, authority, read("user.crt"), read("user.key"))
	if err != nil {
		t.Fatal(err)
	}
	return client, &requests
}

func TestEnsureMakesOnlyWhatIsMissing(t *testing.T) {
	present := false
	client, requests := serve(t, func(request string) (int, string) {
		if request == "GET /thing" && !present {
			return http.StatusNotFound, `{}`
		}
		return http.StatusOK, `{}`
	})
	made, err := client.Ensure(context.Background(), Object{Path: "/thing"})
	if !made || err != nil {
		t.Errorf("made %v, %v", made, err)
	}
	present = true
	made, err = client.Ensure(context.Background(), Object{Path: "/thing"})
	if made || err != nil {
		t.Errorf("made %v, %v", made, err)
	}
	if want := []string{"GET /thing", "PATCH /thing", "GET /thing"}; !slices.Equal(*requests, want) {
		t.Errorf("requests %q", *requests)
	}
}

func TestAnObjectThatCannotBeChangedIsMadeAnew(t *testing.T) {
	refused := false
	client, requests := serve(t, func(request string) (int, string) {
		if request == "PATCH /thing" && !refused {
			refused = true
			return http.StatusUnprocessableEntity, `{"message": "provisioner: field is immutable"}`
		}
		return http.StatusOK, `{}`
	})
	if err := client.Apply(context.Background(), Object{Path: "/thing"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"PATCH /thing", "DELETE /thing", "PATCH /thing"}; !slices.Equal(*requests, want) {
		t.Errorf("requests %q", *requests)
	}
}

func TestANodeThatIsNotThereIsNotReady(t *testing.T) {
	answer := `{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}`
	status := http.StatusNotFound
	client, _ := serve(t, func(string) (int, string) { return status, answer })
	if ready, err := client.NodeIsReady(context.Background(), "n"); ready || err != nil {
		t.Errorf("ready %v, %v", ready, err)
	}
	status = http.StatusOK
	if ready, err := client.NodeIsReady(context.Background(), "n"); !ready || err != nil {
		t.Errorf("ready %v, %v", ready, err)
	}
}

func TestErrorsHaveTheServersMessage(t *testing.T) {
	client, _ := serve(t, func(string) (int, string) { return http.StatusForbidden, `{"message": "no"}` })
	err := client.Ready(context.Background())
	if err == nil || errors.Is(err, ErrNotFound) || err.Error() != "GET /readyz: 403 Forbidden: no" {
		t.Errorf("got %v", err)
	}
}
