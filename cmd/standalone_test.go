package cmd

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/service/reserve"
)

// reserved returns addresses for programs that must be told theirs; nobody else gets them while the test runs.
func reserved(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for range n {
		all = append(all, reserve.ForTest(t))
	}
	return all
}

// logFile is what a process writes to.
type logFile string

func (f logFile) String() string {
	text, err := os.ReadFile(string(f))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Each process can be started by hand, or by something other than `sparrow up`: it binds the address of its settings.
func TestProcessesByHand(t *testing.T) {
	bin := build(t, "./sparrow")
	dir := t.TempDir()
	a := reserved(t, 8)
	pipeline := func(stack, property string) {
		t.Helper()
		text := fmt.Sprintf("sources: {dev: {keys: [dev], origins: [none]}}\nevents: {pageview: {properties: {pathname: url, %s: url}}}\ntrackers: {heap: {}}\n", property)
		if err := os.WriteFile(filepath.Join(dir, stack+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pipeline("green", "url")
	pipeline("blue", "url")
	settings := filepath.Join(dir, "sparrow.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, `
data: %s
clients: {listen: %q}
admin: {listen: %q}
stacks:
  green: {url: "http://%s", trace: {url: "http://%s", pipeline: %q}}
  blue: {url: "http://%s", trace: {url: "http://%s", pipeline: %q}}
warehouse: {url: "http://%s"}
sandbox: {url: "http://%s"}
telemetry: {format: json}
`, filepath.Join(dir, "data"), a[0], a[1], a[2], a[5], filepath.Join(dir, "green.yaml"), a[3], a[6], filepath.Join(dir, "blue.yaml"), a[4], a[7]), 0o600); err != nil {
		t.Fatal(err)
	}
	type started struct {
		*exec.Cmd
		out logFile
	}
	begin := func(args ...string) started {
		t.Helper()
		c := exec.Command(bin, append(args, "--config", settings)...)
		p := started{c, logFile(filepath.Join(dir, strings.Join(append(args[:1:1], args[len(args)-1]), "-")+".log"))}
		log, err := os.OpenFile(string(p.out), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		c.Stdout, c.Stderr = log, log
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if c.ProcessState == nil {
				c.Process.Kill()
				c.Wait()
			}
			if t.Failed() {
				t.Logf("%v said:\n%s", c.Args, p.out)
			}
		})
		return p
	}
	var all []started
	for _, args := range [][]string{{"warehouse"}, {"sandbox"}, {"trace", "--stack", "green"}, {"trace", "--stack", "blue"}, {"dispatcher", "--stack", "green"}, {"dispatcher", "--stack", "blue"}, {"mirror"}} {
		all = append(all, begin(args...))
	}

	// Other commands find them by address, with the secrets' files named.
	r := &running{t: t, bin: bin}
	environ := []string{
		"SPARROW_SERVER=http://" + a[1], "SPARROW_TOKEN_FILE=" + filepath.Join(dir, "data", "token"),
		"SPARROW_SECRET_FILE=" + filepath.Join(dir, "data", "secret"), "SPARROW_WAREHOUSE_URL=http://" + a[4],
		"SPARROW_STACKS_GREEN_URL=http://" + a[2], "SPARROW_STACKS_BLUE_URL=http://" + a[3],
		"SPARROW_STACKS_GREEN_TRACE_URL=http://" + a[5], "SPARROW_STACKS_BLUE_TRACE_URL=http://" + a[6], "SPARROW_SANDBOX_URL=http://" + a[7],
	}
	run := func(args ...string) (string, error) {
		c := exec.Command(bin, args...)
		c.Env, c.Dir = append(os.Environ(), environ...), dir
		out, err := c.CombinedOutput()
		return string(out), err
	}
	r.await("doctor finds nothing wrong", func() error {
		out, err := run("doctor")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	if out, err := run("send", "--url", "http://"+a[0], "--generate", "50"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := run("deploy", "candidate"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := run("send", "--url", "http://"+a[0], "--generate", "50"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := run("compare", "--wait", "1m"); err != nil || !strings.Contains(out, "PASS") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := run("deploy", "candidate", "--binary", bin); err == nil || !strings.Contains(out, "works on the machine of `sparrow up`") {
		t.Errorf("--binary without a supervisor: %v\n%s", err, out)
	}

	// SIGHUP: the candidate's trace follows its file, with its dispatcher; the live one says no; what is wrong changes nothing.
	hup := func(stack, says string) {
		t.Helper()
		one := all[map[string]int{"green": 2, "blue": 3}[stack]]
		before := len(one.out.String())
		if err := one.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		r.await(stack+" says: "+says, func() error {
			if !strings.Contains(one.out.String()[before:], says) {
				return errors.New(one.out.String()[before:])
			}
			return nil
		})
	}
	pipeline("green", "referrer")
	hup("green", "green is live: what it sends would change without a verdict")
	hup("blue", "the pipeline file has not changed")
	pipeline("blue", "a: nonsense, b")
	hup("blue", "the pipeline was not reloaded: everything is as before")
	pipeline("blue", "referrer")
	hup("blue", "the pipeline was reloaded: declare the candidate anew")
	_, said, _ := strings.Cut(all[3].out.String(), `the pipeline was reloaded: declare the candidate anew","process":"trace","stack":"blue","build":"`)
	fresh, _, _ := strings.Cut(said, `"`)
	r.await("the mirror knows that blue is another build", func() error {
		out, err := run("deploy", "status", "--json")
		if err != nil || len(fresh) != 64 || !strings.Contains(out, fresh) {
			return fmt.Errorf("%v: %q is not in %s", err, fresh, out)
		}
		return nil
	})
	if out, err := run("compare"); err == nil || strings.Contains(out, "PASS") {
		t.Errorf("a verdict for a build that does not run any more: %v\n%s", err, out)
	}
	if out, err := run("deploy", "candidate"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := run("send", "--url", "http://"+a[0], "--generate", "50", "--seed", "3"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Both halves of blue are the new build, or the window would be of mixed builds; and it lets a property pass that green
	// does not, or nothing would have been reloaded.
	if out, err := run("compare", "--wait", "1m"); err == nil || !strings.Contains(out, "FAIL") {
		t.Errorf("%v\n%s", err, out)
	}

	// If the dispatcher cannot follow, trace goes back to what it had: it and a dispatcher that has that are one build again.
	all[5].Process.Signal(syscall.SIGTERM)
	if err := all[5].Wait(); err != nil {
		t.Error(err)
	}
	pipeline("blue", "title")
	hup("blue", "the pipeline was not reloaded: everything is as before")
	pipeline("blue", "referrer")
	all[5] = begin("dispatcher", "--stack", "blue")
	r.await("blue's dispatcher is back", func() error {
		resp, err := http.Get("http://" + a[3] + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
	hup("blue", "the pipeline file has not changed")

	for i := len(all) - 1; i >= 0; i-- {
		all[i].Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(time.Minute, func() { all[i].Process.Kill() })
		if err := all[i].Wait(); err != nil {
			t.Errorf("%v after SIGTERM: %v", all[i].Args, err)
		}
		timer.Stop()
		if !strings.Contains(all[i].out.String(), `"msg":"stopped"`) {
			t.Errorf("%v did not say that it stopped, as JSON:\n%s", all[i].Args, all[i].out)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	r := &running{t: t, bin: build(t, "./sparrow"), dir: dir}
	_, errs, status := r.run("up", "--listen", l.Addr().String(), "--admin", "127.0.0.1:0")
	if status != 1 || !strings.Contains(errs, "address for clients") || !strings.Contains(errs, "another program") {
		t.Errorf("status %d: %s", status, errs)
	}
	if _, errs, status := r.run("up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--blue", "/bin/true"); status != 1 || !strings.Contains(errs, "stack blue: /bin/true: is no build of Sparrow") {
		t.Errorf("status %d: %s", status, errs)
	}
}
