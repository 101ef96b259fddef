package config

import (
	"encoding/base64"
	"fmt"
)

// ContextName is the name of the cluster's context in its kubeconfig.
const ContextName = "lodge-local"

// kubeconfig renders the file that the named certificate's owner reaches the
// API server with. Certificates are embedded, so that the file can be copied.
func (c Cluster) kubeconfig(credential string) (string, error) {
	certificate, key, err := c.Credential(credential)
	if err != nil {
		return "", err
	}
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
users:
- name: %[4]s
  user:
    client-certificate-data: %[5]s
    client-key-data: %[6]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[4]s
current-context: %[1]s
`, ContextName, c.ServerURL(), encode(c.Authority), credential,
		encode(certificate), encode(key)), nil
}
