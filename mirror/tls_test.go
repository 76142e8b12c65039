package mirror

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sparrowhq/sparrow/telemetry"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
	n    int64
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key, cert: cert, pool: x509.NewCertPool(), n: 1}
	a.pool.AddCert(cert)
	return a
}

// issue returns the PEM of a new certificate and its key, and its serial number.
func (a *authority) issue(notAfter time.Time) (cert, key []byte, serial string) {
	a.t.Helper()
	a.n++
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(a.n), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), fmt.Sprint(a.n)
}

// files are a certificate and its key on disk.
type files struct {
	t         testing.TB
	cert, key string
}

func newFiles(t testing.TB) files {
	dir := t.TempDir()
	return files{t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

// write replaces both files, as nearly at once as can be: a pair that is half replaced at two looks is reported.
func (f files) write(cert, key []byte) {
	f.t.Helper()
	if err := errors.Join(os.WriteFile(f.key+".new", key, 0o600), os.WriteFile(f.cert+".new", cert, 0o600), os.Rename(f.key+".new", f.key), os.Rename(f.cert+".new", f.cert)); err != nil {
		f.t.Fatal(err)
	}
}

// secured is a client that trusts a.
func (a *authority) secured(change func(*tls.Config)) *http.Client {
	c := &tls.Config{RootCAs: a.pool}
	if change != nil {
		change(c)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: c.NextProtos == nil}, Timeout: time.Minute}
	a.t.Cleanup(client.CloseIdleConnections)
	return client
}

// send posts one event and returns its id, the protocol, and the serial number of the certificate shown.
func sendTLS(client *http.Client, url string) (id uuid.UUID, proto, serial string, err error) {
	resp, err := client.Post(url+"/v1/events", "", strings.NewReader("{}"))
	if err != nil {
		return id, "", "", err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
		return id, "", "", fmt.Errorf("%d %s %v", resp.StatusCode, body, err)
	}
	id, err = uuid.Parse(resp.Header.Get("Sparrow-Request-Id"))
	return id, resp.Proto, resp.TLS.PeerCertificates[0].SerialNumber.String(), err
}

func TestTLS(t *testing.T) {
	a, f := newAuthority(t), newFiles(t)
	cert, key, first := a.issue(time.Now().Add(time.Hour))
	f.write(cert, key)
	b := setUpTLS(t, f)
	url := strings.Replace(b.clients, "http:", "https:", 1)
	ids := map[uuid.UUID]bool{}
	expect := func(client *http.Client, proto, serial string) {
		t.Helper()
		id, gotProto, gotSerial, err := sendTLS(client, url)
		if err != nil || gotProto != proto || gotSerial != serial {
			t.Errorf("%s with certificate %s, %v; want %s with %s", gotProto, gotSerial, err, proto, serial)
			return
		}
		ids[id] = true
	}
	// HTTP/2 for those who ask, HTTP/1.1 for others, nothing for those who are too old.
	keep := a.secured(nil)
	expect(keep, "HTTP/2.0", first)
	expect(a.secured(func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }), "HTTP/1.1", first)
	if _, _, _, err := sendTLS(a.secured(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11; c.MinVersion = tls.VersionTLS10 }), url); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if resp, err := http.Post(b.clients+"/v1/events", "", strings.NewReader("{}")); err == nil {
		if resp.Body.Close(); resp.StatusCode == 200 {
			t.Error("plain HTTP is answered 200 where TLS is asked for")
		}
	}

	// Another certificate is found by itself. Who is connected stays connected, and sees the old one.
	cert2, key2, second := a.issue(time.Now().Add(time.Hour))
	f.write(cert2, key2)
	b.await("the new certificate is shown", func() error {
		id, _, serial, err := sendTLS(a.secured(nil), url)
		if err == nil {
			ids[id] = true
		}
		if err != nil || serial != second {
			return fmt.Errorf("%s, %v", serial, err)
		}
		return nil
	})
	expect(keep, "HTTP/2.0", first)

	// What cannot be used leaves the one before in place, and is reported once.
	refused := b.mirror.intake.metrics.certificates.WithLabelValues("refused")
	expired, expiredKey, _ := a.issue(time.Now().Add(-time.Minute))
	for _, bad := range []struct {
		what      string
		cert, key []byte
	}{{"no PEM", []byte("not a certificate"), key2}, {"the key of another", cert2, key}, {"expired", expired, expiredKey}} {
		before := testutil.ToFloat64(refused)
		f.write(bad.cert, bad.key)
		b.await(bad.what+" is reported", func() error {
			if got := testutil.ToFloat64(refused); got != before+1 {
				return fmt.Errorf("%v refused", got)
			}
			return nil
		})
		expect(a.secured(nil), "HTTP/2.0", second)
		if err := b.mirror.Reload(b.options.Intake); err == nil {
			t.Errorf("%s: a reload by hand takes it", bad.what)
		}
		expect(a.secured(nil), "HTTP/2.0", second)
		f.write(cert2, key2)
		b.await("the good one is back", func() error {
			b.mirror.certificate.mu.Lock()
			defer b.mirror.certificate.mu.Unlock()
			if b.mirror.certificate.bad != [32]byte{} {
				return errors.New("not seen yet")
			}
			return nil
		})
		if got := testutil.ToFloat64(refused); got != before+2 { // by itself, and by hand
			t.Errorf("%s: reported %v times", bad.what, got-before)
		}
	}

	// By hand, at once.
	cert3, key3, third := a.issue(time.Now().Add(time.Hour))
	f.write(cert3, key3)
	if err := b.mirror.Reload(b.options.Intake); err != nil {
		t.Error(err)
	}
	expect(a.secured(nil), "HTTP/2.0", third)
	o := b.options.Intake
	o.TLS = TLSOptions{}
	var restart *RestartError
	if err := b.mirror.Reload(o); !errors.As(err, &restart) {
		t.Errorf("switching TLS off: %v", err)
	}
	b.both(ids)
}

// setUpTLS starts a mirror that speaks TLS with f and looks at the files often.
func setUpTLS(t *testing.T, f files) *bench {
	t.Helper()
	return setUp(t, func(o *Options) {
		o.Intake.TLS = TLSOptions{Cert: f.cert, Key: f.key, CheckEvery: 20 * time.Millisecond}
	})
}

// Many requests on one connection are bounded like many connections.
func TestStreamsAreBounded(t *testing.T) {
	a, f := newAuthority(t), newFiles(t)
	cert, key, _ := a.issue(time.Now().Add(time.Hour))
	f.write(cert, key)
	b := setUpTLS(t, f)
	client := a.secured(nil)
	url := strings.Replace(b.clients, "http:", "https:", 1)
	if _, proto, _, err := sendTLS(client, url); err != nil || proto != "HTTP/2.0" { // the connection that all will share
		t.Fatal(proto, err)
	}
	o := b.options.Intake
	o.MaxConnections = 5
	if err := b.mirror.Reload(o); err != nil {
		t.Fatal(err)
	}
	g := gated(b, IntakeOptions{})
	results := make(chan int, 30)
	for range 30 {
		go func() {
			resp, err := client.Post(url+"/v1/events", "", strings.NewReader("{}"))
			if err != nil {
				t.Error(err)
				results <- 0
				return
			}
			resp.Body.Close()
			results <- resp.StatusCode
		}()
	}
	for range 25 {
		if status := <-results; status != 503 {
			t.Errorf("beyond the bound: %d", status)
		}
	}
	for range 10 {
		g.let <- nil
	}
	for range 5 {
		if status := <-results; status != 200 {
			t.Errorf("within the bound: %d", status)
		}
	}
}

func TestTLSOptions(t *testing.T) {
	a, f := newAuthority(t), newFiles(t)
	cert, key, _ := a.issue(time.Now().Add(time.Hour))
	f.write(cert, key)
	for what, o := range map[string]TLSOptions{
		"no key":            {Cert: f.cert},
		"no such file":      {Cert: f.cert + ".not", Key: f.key},
		"the files swapped": {Cert: f.key, Key: f.cert},
		"too old":           {Cert: f.cert, Key: f.key, MinVersion: tls.VersionTLS11},
	} {
		if err := CheckIntake(IntakeOptions{TLS: o}); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	if err := CheckIntake(IntakeOptions{TLS: TLSOptions{Cert: f.cert, Key: f.key, MinVersion: tls.VersionTLS13}}); err != nil {
		t.Error(err)
	}
	// One that has expired is no reason not to start.
	expired, expiredKey, _ := a.issue(time.Now().Add(-time.Minute))
	f.write(expired, expiredKey)
	o := testOptions(t.TempDir(), "http://127.0.0.1:1", "http://127.0.0.1:1")
	o.Telemetry = telemetry.Discard()
	o.Intake.TLS = TLSOptions{Cert: f.cert, Key: f.key}
	if _, err := New(o); err != nil {
		t.Error(err)
	}
}
