package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/redis"
	"cmux.sh/edge/internal/catalog/redis/redistest"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// issue writes name.pem and name.key.
func (a *authority) issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	must(a.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(a.t, err)
	must(a.t, os.WriteFile(a.path(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(a.t, os.WriteFile(a.path(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	cert, err := x509.ParseCertificate(der)
	must(a.t, err)
	return cert, key
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ca.issue("server", &x509.Certificate{DNSNames: []string{"redis.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	ca.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	newAuthority(t).issue("other", &x509.Certificate{})
	server := redistest.Start(t)
	// The plain port stays, to be asked whether the server is there.
	server.Must("CONFIG", "SET", "tls-ca-cert-file", ca.path("ca.pem"), "tls-cert-file", ca.path("server.pem"),
		"tls-key-file", ca.path("server.key"))
	port := freePort(t)
	server.Must("CONFIG", "SET", "tls-port", port)
	for _, tt := range []struct {
		name, host string
		query      url.Values
		works      bool
	}{
		{"with the right authority and a certificate", "127.0.0.1", url.Values{"ca_file": {ca.path("ca.pem")}, "cert_file": {ca.path("client.pem")}, "key_file": {ca.path("client.key")}}, true},
		{"by a name of the certificate", "127.0.0.1", url.Values{"server_name": {"redis.test"}, "ca_file": {ca.path("ca.pem")}, "cert_file": {ca.path("client.pem")}, "key_file": {ca.path("client.key")}}, true},
		{"by another name", "127.0.0.1", url.Values{"server_name": {"other.test"}, "ca_file": {ca.path("ca.pem")}, "cert_file": {ca.path("client.pem")}, "key_file": {ca.path("client.key")}}, false},
		{"with the system's authorities", "127.0.0.1", url.Values{"cert_file": {ca.path("client.pem")}, "key_file": {ca.path("client.key")}}, false},
		{"without a certificate", "127.0.0.1", url.Values{"ca_file": {ca.path("ca.pem")}}, false},
	} {
		s := open(t, "rediss://"+net.JoinHostPort(tt.host, port)+"?"+tt.query.Encode(), redis.Config{})
		err := s.Ping(t.Context())
		if tt.works && err != nil || !tt.works && !errors.Is(err, catalog.ErrUnavailable) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	for _, query := range []string{"ca_file=" + ca.path("missing.pem"), "ca_file=" + ca.path("ca.key")} {
		o, err := redis.Parse("rediss://127.0.0.1?" + query)
		must(t, err)
		if _, err := redis.New(o, redis.Config{}); err == nil {
			t.Errorf("%s is no authority, and New takes it", query)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
