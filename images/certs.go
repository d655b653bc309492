package images

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
)

// certDirs are where docker and podman keep a registry's certificates
// (containers-certs.d(5)); the first directory that is there counts.
func certDirs(domain string) []string {
	var dirs []string
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".config/containers/certs.d", domain))
	}
	return append(dirs, filepath.Join("/etc/containers/certs.d", domain), filepath.Join("/etc/docker/certs.d", domain))
}

// useCertificates adds authorities and client certificates for a registry.
func useCertificates(c *tls.Config, domain, named string) error {
	dirs := []string{named}
	if named == "" {
		dirs = certDirs(domain)
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if os.IsNotExist(err) && named == "" {
			continue
		}
		if err != nil {
			return fail(nil, "read the certificates for %s", domain).because(err).hint("check --cert-dir")
		}
		for _, e := range entries {
			if err := useCertificate(c, filepath.Join(dir, e.Name())); err != nil {
				return fail(nil, "read the certificates for %s", domain).because(err)
			}
		}
		return nil
	}
	return nil
}

func useCertificate(c *tls.Config, path string) error {
	base, ext := strings.TrimSuffix(path, filepath.Ext(path)), filepath.Ext(path)
	switch ext {
	case ".crt":
		pem, err := readBounded(path, maxManifest)
		if err != nil {
			return err
		}
		if c.RootCAs == nil {
			if c.RootCAs, err = x509.SystemCertPool(); err != nil {
				c.RootCAs = x509.NewCertPool()
			}
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fail(nil, "%s has no certificate", quote(path))
		}
	case ".cert":
		pair, err := tls.LoadX509KeyPair(path, base+".key")
		if err != nil {
			return err
		}
		c.Certificates = append(c.Certificates, pair)
	}
	return nil
}
