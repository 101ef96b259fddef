// Package pki makes the certificates of a cluster: three authorities (of the
// cluster, of requests that the API server passes on, and of etcd), one
// certificate for each client and server, and the key pair that signs service
// account tokens. What exists and still fits is kept.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lodge.dev/cluster/identity"
)

// Certificate is what a certificate is to say.
type Certificate struct {
	// Name is the base name of its files.
	Name string
	// CommonName and Groups are the user and the groups that it stands for.
	CommonName string
	Groups     []string
	// Hosts are the names and addresses that a server is reached by. A
	// certificate with hosts serves; one without is a client's.
	Hosts []string
	// Both makes a server's certificate good for a client too.
	Both bool
	// Authority is the name of the authority that signs it. Empty means that
	// the certificate is an authority itself.
	Authority string
}

// validity is long, because a cluster is thrown away before it ends, and
// renewAt is how long before its end a certificate is made anew.
const (
	validity = 10 * 365 * 24 * time.Hour
	renewAt  = 30 * 24 * time.Hour
)

// Ensure makes the certificates that are missing in folder, in the given order,
// so that an authority comes before what it signs. It reports whether it made any.
func Ensure(folder string, certificates []Certificate) (bool, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return false, err
	}
	changed := false
	for _, wanted := range certificates {
		made, err := ensureOne(folder, wanted)
		if err != nil {
			return changed, fmt.Errorf("certificate %s in %s: %w", wanted.Name, folder, err)
		}
		changed = changed || made
	}
	return changed, nil
}

// EnsureSigningKey makes the key pair NAME.key and NAME.pub in folder, for
// tokens, when there is none.
func EnsureSigningKey(folder, name string) (bool, error) {
	private, public := filepath.Join(folder, name+".key"), filepath.Join(folder, name+".pub")
	if exists(private) && exists(public) {
		return false, nil
	}
	key, err := newKey(private)
	if err != nil {
		return false, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return false, err
	}
	return true, writePEM(public, "PUBLIC KEY", der, 0o644)
}

func ensureOne(folder string, wanted Certificate) (bool, error) {
	certificateFile := filepath.Join(folder, wanted.Name+".crt")
	keyFile := filepath.Join(folder, wanted.Name+".key")

	var signer *authority
	if wanted.Authority != "" {
		loaded, err := loadAuthority(folder, wanted.Authority)
		if err != nil {
			return false, err
		}
		signer = loaded
	}
	if fits(certificateFile, keyFile, wanted, signer) {
		return false, nil
	}
	return true, issue(certificateFile, keyFile, wanted, signer)
}

// fits tells whether a certificate and its key can stay.
func fits(certificateFile, keyFile string, wanted Certificate, signer *authority) bool {
	certificate, err := loadCertificate(certificateFile)
	if err != nil || time.Until(certificate.NotAfter) < renewAt {
		return false
	}
	// A start that was cut short may have left a new key beside an old certificate.
	key, err := loadKey(keyFile)
	if err != nil || !key.PublicKey.Equal(certificate.PublicKey) {
		return false
	}
	if signer == nil {
		return certificate.IsCA
	}
	if certificate.CheckSignatureFrom(signer.certificate) != nil {
		return false
	}
	names, addresses := splitHosts(wanted.Hosts)
	return certificate.Subject.CommonName == wanted.CommonName &&
		slices.Equal(certificate.Subject.Organization, wanted.Groups) &&
		slices.Equal(certificate.DNSNames, names) &&
		slices.EqualFunc(certificate.IPAddresses, addresses, sameAddress)
}

// authority is a certificate that signs others, with its key.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func loadAuthority(folder, name string) (*authority, error) {
	certificate, err := loadCertificate(filepath.Join(folder, name+".crt"))
	if err != nil {
		return nil, err
	}
	key, err := loadKey(filepath.Join(folder, name+".key"))
	if err != nil {
		return nil, err
	}
	return &authority{certificate, key}, nil
}

func loadKey(file string) (*ecdsa.PrivateKey, error) {
	block, err := readPEM(file)
	if err != nil {
		return nil, err
	}
	return x509.ParseECPrivateKey(block)
}

func loadCertificate(file string) (*x509.Certificate, error) {
	block, err := readPEM(file)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(block)
}

// newKey makes a private key. P-256 is the fast one: a cluster's start makes
// some twenty of them.
func newKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(file, "EC PRIVATE KEY", der, 0o600)
}

func readPEM(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", file)
	}
	return block.Bytes, nil
}

func writePEM(file, kind string, der []byte, mode fs.FileMode) error {
	return identity.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}
