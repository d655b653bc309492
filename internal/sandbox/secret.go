package sandbox

import (
	"path"
	"strings"
)

// Secretive says whether a file's name says that it may be a secret, wherever it lies.
func Secretive(name string) bool {
	base := strings.ToLower(path.Base(name))
	for _, word := range []string{"secret", "token", "password", "passwd", "passphrase", "credential", "apikey", "api_key", "api-key", "private_key", "privkey", "id_rsa", "id_ed25519", "id_ecdsa", "krb5cc", "cookies", "keyring", "keystore"} {
		if strings.Contains(base, word) && name != "/etc/passwd" {
			return true
		}
	}
	for _, end := range []string{".key", ".p12", ".pfx", ".kdbx", ".jks", ".ovpn", ".keytab", ".env"} {
		if strings.HasSuffix(base, end) {
			return true
		}
	}
	// Certificates are public, and come with many programs.
	return strings.HasPrefix(base, ".env.") || strings.HasSuffix(base, ".pem") && !strings.Contains(base, "cert") && !strings.HasPrefix(base, "ca")
}

// ofServices says whether a path is where services and sessions keep their states.
func ofServices(name string) bool { return below(name, "/run") || below(name, "/var/run") }
