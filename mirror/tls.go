package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparrowhq/sparrow/telemetry"
)

// TLSOptions make the clients' listener speak TLS, with HTTP/2 for those who ask for it.
type TLSOptions struct {
	Cert, Key  string        // PEM files: the certificate with its chain, and its key; both empty: plain HTTP
	MinVersion uint16        // 0: TLS 1.2
	CheckEvery time.Duration // between looks at the files, which may be replaced at any time; 0: 10 s
}

func (o TLSOptions) enabled() bool { return o.Cert != "" || o.Key != "" }

// maxPEM bounds what is read of a file.
const maxPEM = 1 << 20

// certificate is what the listener shows. Handshakes under way, and connections, keep what they began with.
type certificate struct {
	telemetry *telemetry.Telemetry
	metrics   *intakeMetrics
	current   atomic.Pointer[loaded]

	mu sync.Mutex
	o  TLSOptions
	// bad is what the files held when they were last found wrong, and told whether that was reported: while one file is
	// replaced before the other, they do not fit for a moment. Both guarded by mu.
	bad  [32]byte
	told bool
}

// loaded is a certificate as read.
type loaded struct {
	config   *tls.Config
	content  [32]byte // of both files
	notAfter time.Time
}

// newCertificate reads the certificate for the first time.
func newCertificate(o TLSOptions, t *telemetry.Telemetry, m *intakeMetrics) (*certificate, error) {
	l, err := loadCertificate(o)
	if err != nil {
		return nil, err
	}
	c := &certificate{telemetry: t, metrics: m, o: o}
	c.use(l)
	if l.notAfter.Before(time.Now()) {
		// Not a reason to be away altogether.
		t.Failure("the TLS certificate has expired", fmt.Errorf("certificate %s was valid until %s: replace the file", o.Cert, l.notAfter.Format(time.RFC3339)))
	}
	return c, nil
}

func (c *certificate) use(l *loaded) {
	c.current.Store(l)
	c.metrics.notAfter.Set(float64(l.notAfter.Unix()))
}

// config is what the server gets: each handshake takes what is current.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, // of what is current, which is never lower
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current.Load().config, nil
		},
	}
}

// replace takes what o names. With an error everything is as before.
func (c *certificate) replace(o TLSOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, err := loadUnexpired(o)
	if err != nil {
		c.metrics.certificates.WithLabelValues("refused").Inc()
		return err
	}
	c.o = o
	c.bad, c.told = [32]byte{}, false
	if l.content != c.current.Load().content {
		c.metrics.certificates.WithLabelValues("taken").Inc()
	}
	c.use(l)
	return nil
}

// watch looks at the files until ctx ends, and takes a new certificate that is sound.
func (c *certificate) watch(ctx context.Context) {
	tick := time.NewTicker(c.o.CheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.look()
		case <-ctx.Done():
			return
		}
	}
}

// look takes the certificate if it is another than the current one. One that is wrong is reported once, at the second
// look that finds it.
func (c *certificate) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, content, err := readPair(c.o)
	if err == nil && content == c.current.Load().content {
		c.bad, c.told = [32]byte{}, false
		return
	}
	if err != nil {
		content = sha256.Sum256([]byte(err.Error()))
	}
	if content == c.bad {
		if !c.told {
			_, err := loadUnexpired(c.o)
			c.told = true
			c.metrics.certificates.WithLabelValues("refused").Inc()
			c.telemetry.Failure("the TLS certificate was replaced by one that cannot be used; the one before stays", err)
		}
		return
	}
	l, err := loadUnexpired(c.o)
	if err != nil {
		c.bad, c.told = content, false
		return
	}
	c.bad, c.told = [32]byte{}, false
	c.use(l)
	c.metrics.certificates.WithLabelValues("taken").Inc()
	c.telemetry.Log.Info("the TLS certificate was replaced", "valid_until", l.notAfter)
}

// loadUnexpired loads a certificate that is to take the place of another.
func loadUnexpired(o TLSOptions) (*loaded, error) {
	l, err := loadCertificate(o)
	if err == nil && l.notAfter.Before(time.Now()) {
		err = fmt.Errorf("TLS certificate %s was valid until %s", o.Cert, l.notAfter.Format(time.RFC3339))
	}
	return l, err
}

func loadCertificate(o TLSOptions) (*loaded, error) {
	cert, key, content, err := readPair(o)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key) // it names neither file nor content
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", o.Cert, o.Key, err)
	}
	return &loaded{
		config:   &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: max(o.MinVersion, tls.VersionTLS12), NextProtos: []string{"h2", "http/1.1"}},
		content:  content,
		notAfter: pair.Leaf.NotAfter,
	}, nil
}

func readPair(o TLSOptions) (cert, key []byte, content [32]byte, err error) {
	if o.Cert == "" || o.Key == "" {
		return nil, nil, content, errors.New("TLS takes two files: the certificate and its key")
	}
	if cert, err = readPEM(o.Cert); err != nil {
		return nil, nil, content, fmt.Errorf("TLS certificate: %w", err)
	}
	if key, err = readPEM(o.Key); err != nil {
		return nil, nil, content, fmt.Errorf("TLS key: %w", err)
	}
	return cert, key, sha256.Sum256(bytes.Join([][]byte{cert, key}, []byte{0})), nil
}

func readPEM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxPEM))
}
