package journal

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// engine is a running server, or a cluster, and the way to it. It lives until it breaks; then the keeper puts another
// in its place.
type engine struct {
	server   *server.Server // nil with Options.URL
	user     nats.Option    // how this process authenticates
	url      string
	provider nats.InProcessConnProvider // nil with Options.URL
	conn     *nats.Conn                 // publishes and asks; each reader has a connection of its own
	js       jetstream.JetStream
	timeout  time.Duration
	log      *slog.Logger

	life  context.Context // ends with the engine, and with it every call
	end   context.CancelFunc
	fault atomic.Pointer[error] // an error of the disk that the server does not know of

	checking sync.Mutex // held while the server is asked for its health
}

func newEngine(o Options) *engine {
	e := &engine{url: o.URL, timeout: o.Timeout, log: o.Telemetry.Log}
	e.life, e.end = context.WithCancel(context.Background())
	return e
}

// Credential is the user and password with which an operator may read along at the embedded server's listener. It can
// read, and change nothing.
func Credential(secret string) (user, password string) {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("sparrow journal listener 1"))
	return "reader", hex.EncodeToString(mac.Sum(nil))
}

// startEmbedded starts a server on the folder and connects to it.
func startEmbedded(o Options, alarm chan<- struct{}) (*engine, error) {
	host, port, err := listenAddress(o.Listen)
	if err != nil {
		return nil, err
	}
	// The journal's own credential exists in this process's memory only, so that nobody else can write, purge or
	// delete.
	own := server.User{Username: "journal", Password: rand.Text()}
	opts := &server.Options{
		ServerName:             "sparrow-journal",
		Host:                   host,
		Port:                   port,
		DontListen:             o.Secret == "",
		NoSigs:                 true,
		Users:                  []*server.User{&own},
		MaxPayload:             maxPayload,
		MaxPending:             4 * maxPayload,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               filepath.Join(o.Dir, "nats"),
		// Left to itself the server takes its limit from the space that is free at start, and then refuses its own
		// streams on a disk that has filled up since. The streams' limits and Options.MinFree are what counts.
		JetStreamMaxStore:  math.MaxInt64 / 2,
		JetStreamMaxMemory: 64 << 20,
		SyncAlways:         !o.unsafeNoSync,
	}
	if o.Secret != "" {
		user, password := Credential(o.Secret)
		opts.Users = append(opts.Users, &server.User{Username: user, Password: password, Permissions: readOnly()})
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	log := &serverLog{log: o.Telemetry.Log, alarm: alarm}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(o.Timeout) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("embedded NATS server in %s did not start: %w", o.Dir, log.last())
	}
	e := newEngine(o)
	e.server, e.provider, e.user = srv, srv, nats.UserInfo(own.Username, own.Password)
	if err := e.connect(); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// connectCluster connects to Options.URL.
func connectCluster(o Options) (*engine, error) {
	e := newEngine(o)
	if o.Credentials != "" {
		e.user = nats.UserCredentials(o.Credentials)
	}
	if err := e.connect(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *engine) connect() error {
	nc, err := e.dial("journal")
	if err != nil {
		return err
	}
	e.conn = nc
	e.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(e.timeout))
	return err
}

// dial opens a connection. Connections to a cluster reconnect for ever; one to an embedded server ends with it.
func (e *engine) dial(name string) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("sparrow " + name),
		nats.Timeout(e.timeout),
		// Without a handler the client library prints them. Whoever waits on the connection learns of them anyway.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			e.log.Debug("nats connection", "of", name, "error", err)
		}),
	}
	if e.user != nil {
		opts = append(opts, e.user)
	}
	if e.provider != nil {
		opts = append(opts, nats.InProcessServer(e.provider), nats.NoReconnect())
	} else {
		// What was written while the connection was away must fail, not be sent twice or late.
		opts = append(opts, nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond), nats.ReconnectBufSize(-1))
	}
	nc, err := nats.Connect(e.url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the journal's NATS server: %w", err)
	}
	return nc, nil
}

// stop closes the connection and waits until the embedded server is down and has given up its files.
func (e *engine) stop() {
	e.end()
	if e.conn != nil {
		e.conn.Close()
	}
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
}

// call bounds one call to the server, by time and by the engine's life.
func (e *engine) call(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	stop := context.AfterFunc(e.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// failure returns why the embedded server can no longer write, or nil. After an error of the disk the server goes on
// reading, but takes nothing more, and does not even answer: only a new one does.
func (e *engine) failure() error {
	if err := e.fault.Load(); err != nil {
		return *err
	}
	if e.server == nil || e.life.Err() != nil {
		return nil
	}
	if !e.checking.TryLock() {
		return nil // the last check hangs, with the disk: see there
	}
	found := make(chan error, 1)
	go func() {
		defer e.checking.Unlock()
		// Its other complaint, "error", is that it did not look ready within a millisecond, which a busy machine explains.
		if h := e.server.Healthz(nil); h.Status == "unavailable" {
			found <- errors.New(h.Error)
			return
		}
		found <- nil
	}()
	// A write that hangs holds a lock that the check needs. That is no error yet, and the keeper has more to do.
	wait := time.NewTimer(time.Second)
	defer wait.Stop()
	select {
	case err := <-found:
		return err
	case <-wait.C:
		return nil
	}
}

// readOnly lets the operator's credential see streams and read them, and nothing else.
func readOnly() *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
}

func listenAddress(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err != nil {
		return "", 0, fmt.Errorf("journal: listen address %q: %w", addr, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	ip := net.ParseIP(host)
	if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, fmt.Errorf("journal: listen address %q: the embedded server speaks no TLS, so it listens on loopback only; use a NATS cluster (journal.url) for more", addr)
	}
	return host, port, nil
}

// maxPayload is the largest message the server takes, headers included.
const maxPayload = 16 << 20

// missing reports whether err says that a stream, message or consumer does not exist.
func missing(err error) bool {
	return errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}
