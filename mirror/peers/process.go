package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sparrowhq/sparrow/service/reserve"
)

// reserved returns a loopback address that nobody else gets until this program ends.
func reserved() (string, error) {
	address, _, err := reserve.Address()
	return address, err
}

// process is a child that is stopped by its process id.
type process struct {
	cmd *exec.Cmd
	log *bytes.Buffer
}

func start(name string, env []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), log: new(bytes.Buffer)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		p.cmd.Process.Kill()
		<-done
	}
}

// memory returns the resident memory of a process and its children, in bytes.
func memory(pid int) int64 {
	total := resident(pid)
	kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return total
	}
	for kid := range strings.FieldsSeq(string(kids)) {
		if n, err := strconv.Atoi(kid); err == nil {
			total += memory(n)
		}
	}
	return total
}

func resident(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// pair is the two back ends behind one variant.
type pair struct {
	traffic, orders [2]string // green, blue
	procs           []*process
}

func startPair() (*pair, error) {
	p := new(pair)
	for i, stack := range []string{"green", "blue"} {
		for _, addr := range []*string{&p.traffic[i], &p.orders[i]} {
			var err error
			if *addr, err = reserved(); err != nil {
				return nil, err
			}
		}
		proc, err := start(os.Args[0], nil, "backend", "-stack", stack, "-listen", p.traffic[i], "-orders", p.orders[i])
		if err != nil {
			return nil, err
		}
		p.procs = append(p.procs, proc)
	}
	for i := range p.orders {
		if err := await("http://"+p.orders[i]+"/count", 10*time.Second); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pair) stop() {
	for _, proc := range p.procs {
		proc.stop()
	}
}

// misbehave sets the candidate's fault; "" ends it.
func (p *pair) misbehave(mode string) error {
	req, err := http.NewRequest(http.MethodPut, "http://"+p.orders[1]+"/fault?mode="+mode, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("fault %q: %s", mode, resp.Status)
	}
	return nil
}

// seen returns what back end i got.
func (p *pair) seen(i int) (*set, error) {
	resp, err := http.Get("http://" + p.orders[i] + "/seen")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if len(data) < 16 || len(data)%8 != 0 {
		return nil, fmt.Errorf("/seen answered %d bytes", len(data))
	}
	s := &set{n: binary.LittleEndian.Uint64(data), more: binary.LittleEndian.Uint64(data[8:])}
	for at := 16; at < len(data); at += 8 {
		s.bits = append(s.bits, binary.LittleEndian.Uint64(data[at:]))
	}
	return s, nil
}

// quiet waits until no back end gets anything more, at most bound.
func (p *pair) quiet(bound time.Duration) error {
	deadline := time.Now().Add(bound)
	last, since := uint64(0), time.Now()
	for time.Now().Before(deadline) {
		n := uint64(0)
		for i := range 2 {
			s, err := p.seen(i)
			if err != nil {
				return err
			}
			n += s.n + s.more
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > time.Second {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}

func await(url string, bound time.Duration) error {
	deadline := time.Now().Add(bound)
	for {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not ready within %s: %w", url, bound, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// variant is one proxy with its back ends.
type variant struct {
	name   string
	addr   string
	copies int // back ends that should have every request
	back   *pair
	proc   *process
	next   uint64 // next id
	dir    string

	durable bool      // copies that fail are sent again
	due     time.Time // when the candidate has had its time to recover
}

// startSparrow runs `sparrow mirror` with its journal in a folder of its own and default settings.
func startSparrow(bin, protocol string) (*variant, error) {
	v := &variant{name: "Sparrow, " + protocol, copies: 2, durable: true}
	var err error
	if v.back, err = startPair(); err != nil {
		return nil, err
	}
	if v.addr, err = reserved(); err != nil {
		return nil, err
	}
	admin, err := reserved()
	if err != nil {
		return nil, err
	}
	if v.dir, err = os.MkdirTemp("", "sparrow-peers-"); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`data: %s
clients: {listen: %q}
admin: {listen: %q}
journal: {first_frame: 1}
stacks:
  green: {protocol: %s, url: "http://%s"}
  blue: {protocol: %s, url: "http://%s"}
`, v.dir, v.addr, admin, protocol, v.back.traffic[0], protocol, v.back.traffic[1])
	path := filepath.Join(v.dir, "sparrow.yaml")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	if v.proc, err = start(bin, nil, "mirror", "--config", path); err != nil {
		return nil, err
	}
	if err := await("http://"+admin+"/readyz", 20*time.Second); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.proc.log)
	}
	return v, nil
}

// startNginx runs nginx with one worker per core, keep-alive to its back ends, and no access log.
func startNginx(mirror bool) (*variant, error) {
	v := &variant{name: "nginx", copies: 1}
	copyTo := ""
	if mirror {
		v.name, v.copies = "nginx mirror", 2
		copyTo = "mirror /copy; mirror_request_body on;"
	}
	var err error
	if v.back, err = startPair(); err != nil {
		return nil, err
	}
	if v.addr, err = reserved(); err != nil {
		return nil, err
	}
	if v.dir, err = os.MkdirTemp("", "nginx-peers-"); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`daemon off; worker_processes auto; pid %[1]s/pid; error_log %[1]s/error.log crit; worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
  access_log off; client_body_buffer_size 64k; keepalive_requests 1000000000;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream green { server %[2]s; keepalive 512; keepalive_requests 1000000000; }
  upstream blue { server %[3]s; keepalive 512; keepalive_requests 1000000000; }
  server {
    listen %[4]s backlog=1024;
    proxy_http_version 1.1; proxy_set_header Connection "";
    location / { %[5]s proxy_pass http://green; }
    location = /copy { internal; proxy_pass http://blue$request_uri; }
  }
}`, v.dir, v.back.traffic[0], v.back.traffic[1], v.addr, copyTo)
	path := filepath.Join(v.dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	bin, err := exec.LookPath("nginx")
	if err != nil {
		return nil, fmt.Errorf("nginx is not installed: apt-get install nginx: %w", err)
	}
	if v.proc, err = start(bin, nil, "-c", path, "-p", v.dir); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.Dial("tcp", v.addr)
		if err == nil {
			c.Close()
			return v, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("nginx does not listen: %w\n%s", err, v.proc.log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (v *variant) stop() {
	v.proc.stop()
	v.back.stop()
	os.RemoveAll(v.dir)
}

// load runs one turn against the variant, from a process of its own.
func (v *variant) load(ctx context.Context, connections int, length time.Duration, fresh bool) (result, error) {
	args := []string{"load", "-to", v.addr, "-connections", strconv.Itoa(connections), "-for", length.String(), "-first", strconv.FormatUint(v.next, 10)}
	if fresh {
		args = append(args, "-fresh")
	}
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return result{}, fmt.Errorf("load on %s: %w", v.name, err)
	}
	var r result
	if err := json.Unmarshal(out, &r); err != nil {
		return result{}, err
	}
	v.next = r.Next
	return r, nil
}

// lost counts, per back end, the answered requests of a turn that never arrived.
func (v *variant) lost(r result) (lost [2]uint64, err error) {
	there, err := v.arrived(r)
	for i := range v.copies {
		lost[i] = r.OK - there[i]
	}
	return lost, err
}

// arrived counts, per back end, the answered requests of a turn that arrived.
func (v *variant) arrived(r result) (there [2]uint64, err error) {
	refused := new(set)
	for _, id := range r.NotOK {
		refused.add(id - r.First)
	}
	for i := range v.copies {
		s, err := v.back.seen(i)
		if err != nil {
			return there, err
		}
		for id := r.First; id < r.Next; id++ {
			if !refused.has(id-r.First) && s.has(id) {
				there[i]++
			}
		}
	}
	return there, nil
}
