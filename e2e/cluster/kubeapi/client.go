// Package kubeapi is the little that the cluster command itself asks of the API
// server: is it ready, read an object, apply an object. It speaks plain HTTP and
// JSON, so that nothing outside of package component imports Kubernetes.
package kubeapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Client talks to one API server.
type Client struct {
	server string
	http   *http.Client
}

// ErrNotFound says that there is no such object.
var ErrNotFound = errors.New("not found")

// errInvalid says that the server refuses what an object would become.
var errInvalid = errors.New("invalid")

// fieldManager owns the fields of the objects that come with a cluster.
const fieldManager = "lodge-cluster"

// New makes a client of the server at that URL. All three byte slices are in PEM.
func New(server string, authority, certificate, key []byte) (*Client, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("the cluster's authority is no certificate")
	}
	return &Client{
		server: server,
		http: &http.Client{
			Timeout: 10 * time.Second,
			// No proxy: the server is on this machine, whatever the environment says.
			Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
			},
		},
	}, nil
}

// Ready returns nil when the server says that it is.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodGet, "/readyz", "", nil)
	return err
}

// Get reads the object at path into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	body, err := c.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, out)
}

// Ensure makes the object, if there is none at its path. It reports whether it
// did.
func (c *Client) Ensure(ctx context.Context, object Object) (bool, error) {
	var present map[string]any
	err := c.Get(ctx, object.Path, &present)
	if !errors.Is(err, ErrNotFound) {
		return false, err
	}
	return true, c.Apply(ctx, object)
}

// Apply makes the object as it is given, whether or not it exists. One with a
// field that cannot be changed is made anew.
func (c *Client) Apply(ctx context.Context, object Object) error {
	body, err := json.Marshal(object.Content)
	if err != nil {
		return err
	}
	apply := func() error {
		path := object.Path + "?force=true&fieldManager=" + fieldManager
		_, err := c.do(ctx, http.MethodPatch, path, "application/apply-patch+yaml", body)
		return err
	}
	if err := apply(); !errors.Is(err, errInvalid) {
		return err
	}
	if _, err := c.do(ctx, http.MethodDelete, object.Path, "", nil); err != nil {
		return err
	}
	return apply()
}

// Close drops the connections to the server.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	switch {
	case response.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", path, ErrNotFound)
	case response.StatusCode == http.StatusUnprocessableEntity:
		return nil, fmt.Errorf("%s: %w: %s", path, errInvalid, summary(content))
	case response.StatusCode >= http.StatusMultipleChoices:
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, summary(content))
	}
	return content, nil
}

// summary is the message of a Kubernetes status, or the end of what else the server said.
func summary(content []byte) string {
	var status struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(content, &status) == nil && status.Message != "" {
		return status.Message
	}
	text := strings.TrimSpace(string(content))
	const limit = 600
	if len(text) > limit {
		text = "…" + text[len(text)-limit:]
	}
	return text
}
