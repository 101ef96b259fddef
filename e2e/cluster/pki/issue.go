package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"time"
)

// issue makes a key and a certificate and writes both. Without a signer the
// certificate is an authority's and signs itself.
func issue(certificateFile, keyFile string, wanted Certificate, signer *authority) error {
	key, err := newKey(keyFile)
	if err != nil {
		return err
	}
	template, err := templateOf(wanted)
	if err != nil {
		return err
	}
	parent, signingKey := template, key
	if signer != nil {
		parent, signingKey = signer.certificate, signer.key
	}
	return sign(certificateFile, template, parent, key, signingKey)
}

func sign(file string, template, parent *x509.Certificate, key, signingKey *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signingKey)
	if err != nil {
		return err
	}
	return writePEM(file, "CERTIFICATE", der, 0o644)
}

func templateOf(wanted Certificate) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: wanted.CommonName, Organization: wanted.Groups},
		// An hour back, for clocks of virtual machines that were set in between.
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.Add(validity),
	}
	if wanted.Authority == "" {
		template.IsCA = true
		template.BasicConstraintsValid = true
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
		return template, nil
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = usages(wanted)
	template.DNSNames, template.IPAddresses = splitHosts(wanted.Hosts)
	return template, nil
}

func usages(wanted Certificate) []x509.ExtKeyUsage {
	switch {
	case wanted.Both:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	case len(wanted.Hosts) > 0:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	default:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
}

func splitHosts(hosts []string) (names []string, addresses []net.IP) {
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			addresses = append(addresses, address)
			continue
		}
		names = append(names, host)
	}
	return names, addresses
}

func sameAddress(a, b net.IP) bool { return a.Equal(b) }
