package pki

import (
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"lodge.dev/cluster/identity"
)

func cluster() identity.Identity {
	return identity.Identity{
		Kind:     identity.Node,
		Address:  netip.MustParseAddr("10.87.0.1"),
		Services: netip.MustParsePrefix("10.87.128.0/20"),
	}
}

func ensure(t *testing.T, folder string, cluster identity.Identity) bool {
	t.Helper()
	changed, err := Ensure(folder, Certificates(cluster))
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func load(t *testing.T, folder, name string) *x509.Certificate {
	t.Helper()
	certificate, err := loadCertificate(filepath.Join(folder, name+".crt"))
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestCertificatesVerifyForWhatTheyAreFor(t *testing.T) {
	folder := t.TempDir()
	ensure(t, folder, cluster())
	roots := x509.NewCertPool()
	roots.AddCert(load(t, folder, ClusterAuthority))
	for _, host := range []string{"10.87.0.1", "10.87.128.1", "kubernetes.default.svc"} {
		_, err := load(t, folder, "kube-apiserver").Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
		if err != nil {
			t.Errorf("API server as %s: %v", host, err)
		}
	}
	client := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := load(t, folder, Admin).Verify(client); err != nil {
		t.Errorf("administrator: %v", err)
	}
	if _, err := load(t, folder, "kube-apiserver-etcd").Verify(client); err == nil {
		t.Error("a certificate for etcd opens the API server too")
	}
	if node := load(t, folder, "kubelet"); node.Subject.CommonName != "system:node:"+identity.NodeName {
		t.Errorf("kubelet is %s", node.Subject)
	}
}

func TestWhatFitsIsKept(t *testing.T) {
	folder := t.TempDir()
	if !ensure(t, folder, cluster()) {
		t.Error("making certificates is no change")
	}
	before := load(t, folder, "kube-apiserver").SerialNumber
	if ensure(t, folder, cluster()) {
		t.Error("the second time changes something")
	}
	moved := cluster()
	moved.Address = netip.MustParseAddr("10.88.0.1")
	if !ensure(t, folder, moved) {
		t.Error("a new address changes nothing")
	}
	if load(t, folder, "kube-apiserver").SerialNumber.Cmp(before) == 0 {
		t.Error("the server's certificate lacks its new address")
	}
}

func TestAKeyOfAnotherCertificateIsNoticed(t *testing.T) {
	folder := t.TempDir()
	ensure(t, folder, cluster())
	other, err := os.ReadFile(filepath.Join(folder, "kubelet.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, Admin+".key"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	if !ensure(t, folder, cluster()) {
		t.Error("a certificate and somebody else's key count as a pair")
	}
}

func TestTheSigningKeyIsMadeOnce(t *testing.T) {
	folder := t.TempDir()
	for _, want := range []bool{true, false} {
		made, err := EnsureSigningKey(folder, ServiceAccounts)
		if err != nil || made != want {
			t.Errorf("made %v, want %v, %v", made, want, err)
		}
	}
}
