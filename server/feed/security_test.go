package feed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	saslscram "github.com/twmb/franz-go/pkg/sasl/scram"
)

func secured(s Security) func(*Options) { return func(o *Options) { o.Security = s } }

func TestSASL(t *testing.T) {
	t.Parallel()
	const user, password = "reader", "pässword ,=\""
	for mechanism, login := range map[string]sasl.Mechanism{
		"PLAIN":         saslplain.Auth{User: user, Pass: password}.AsMechanism(),
		"SCRAM-SHA-256": saslscram.Auth{User: user, Pass: password}.AsSha256Mechanism(),
		"SCRAM-SHA-512": saslscram.Auth{User: user, Pass: password}.AsSha512Mechanism(),
	} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			k := startKafka(t, kfake.EnableSASL(), kfake.Superuser(mechanism, user, password), kfake.SeedTopics(1, "chat")).
				connect(t, kgo.SASL(login))
			l := newListener(t)
			f := l.run(t, k.address, secured(Security{Mechanism: mechanism, User: user, Password: password}))
			awaitCaughtUp(t, f)
			l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(0, 5)...))

			stranger := newListener(t)
			f = stranger.run(t, k.address, secured(Security{Mechanism: mechanism, User: user, Password: "another"}))
			eventually(t, "several attempts", func() bool { return stranger.stats.FeedErrors.Load() >= 3 })
			if s := f.Status(); s.CaughtUp || s.Connected || !strings.Contains(s.Trouble, "SASL") {
				t.Errorf("with a wrong password: %+v", s)
			}
			if n := stranger.lines.count("SASL"); n != 1 {
				t.Errorf("the wrong password was logged %d times:\n%s", n, stranger.lines.String())
			}
			for what, text := range map[string]string{"the log": stranger.lines.String(), "the status": f.Status().Trouble} {
				if strings.Contains(text, "another") {
					t.Errorf("%s shows the password: %s", what, text)
				}
			}
		})
	}
}

func TestNobodyLogsIn(t *testing.T) {
	t.Parallel()
	k := startKafka(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "a", "b"), kfake.SeedTopics(1, "chat"))
	f := newListener(t).run(t, k.address)
	eventually(t, "the trouble", func() bool { return f.Status().Trouble != "" })
	if s := f.Status(); s.CaughtUp || !strings.Contains(s.Trouble, "--kafka-sasl-mechanism") {
		t.Errorf("without a login: %+v", s)
	}
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // of its certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)}
	a.key = a.newKey()
	der := a.sign(template, template, a.key, a.key)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = a.write("CERTIFICATE", der)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, of, with *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &of.PublicKey, with)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *authority) write(kind string, der []byte) string {
	path := filepath.Join(a.t.TempDir(), "pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue makes a certificate for a broker at 127.0.0.1, or for who asks it.
func (a *authority) issue() (certFile, keyFile string, pair tls.Certificate) {
	key := a.newKey()
	der := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key, a.key)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile, keyFile = a.write("CERTIFICATE", der), a.write("PRIVATE KEY", private)
	if pair, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		a.t.Fatal(err)
	}
	return certFile, keyFile, pair
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	_, _, brokers := theirs.issue()
	cert, key, own := ours.issue()
	k := startKafka(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{brokers}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.pool()}), kfake.SeedTopics(1, "chat")).
		connect(t, kgo.DialTLSConfig(&tls.Config{RootCAs: theirs.pool(), Certificates: []tls.Certificate{own}}))
	l := newListener(t)
	f := l.run(t, k.address, secured(Security{TLS: true, CAFile: theirs.file, CertFile: cert, KeyFile: key}))
	awaitCaughtUp(t, f)
	l.wantOffsets(t, 0, 0, k.append(t, 0, numbered(0, 5)...))
	eventually(t, "a fetch is seen", func() bool { return f.partitionState(0).LastFetch != nil })

	open := startKafka(t, kfake.SeedTopics(1, "chat"))
	for _, row := range []struct {
		name, address, says string
		security            Security
	}{
		{"a certificate of an unknown authority", k.address, "unknown authority", Security{TLS: true, CAFile: ours.file, CertFile: cert, KeyFile: key}},
		{"no certificate of our own", k.address, "certificate required", Security{TLS: true, CAFile: theirs.file}},
		{"no TLS", k.address, "--kafka-tls", Security{}},
		{"a broker without TLS", open.address, "TLS with " + open.address, Security{TLS: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newListener(t).run(t, row.address, secured(row.security))
			eventually(t, "the trouble", func() bool { return f.Status().Trouble != "" })
			if s := f.Status(); !strings.Contains(s.Trouble, row.says) || strings.Contains(s.Trouble, "\n") {
				t.Errorf("the trouble is %q, want %q", s.Trouble, row.says)
			}
		})
	}
}

func TestBadSecurity(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		says string
		s    Security
	}{
		{"no such file", Security{TLS: true, CAFile: "/nonexistent"}},
		{"no certificate in", Security{TLS: true, CAFile: empty}},
		{"certificate for Kafka", Security{TLS: true, CertFile: empty, KeyFile: empty}},
		{"SASL", Security{Mechanism: "KERBEROS"}},
		{"SASL", Security{Mechanism: "PLAIN"}},
	} {
		if _, err := New(Options{Brokers: []string{"127.0.0.1:1"}, Topic: "chat", Security: row.s}); err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%+v: got %v, want %q", row.s, err, row.says)
		}
	}
}
