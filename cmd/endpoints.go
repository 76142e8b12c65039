package cmd

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/cmd/supervisor"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

// endpoints is DATA/endpoints.json: where to find what `sparrow up` runs.
type endpoints struct {
	Clients   string     `json:"clients"`    // URL
	Admin     string     `json:"admin"`      // URL
	TokenFile string     `json:"token_file"` // path of the operator's token
	Processes []endpoint `json:"processes"`
}

type endpoint struct {
	Name string `json:"name"` // "mirror", "warehouse", "sandbox", "green-dispatcher", "green-trace", …
	PID  int    `json:"pid"`  // 0 while it is not running
	URL  string `json:"url"`
}

func endpointsFile(dir string) string { return filepath.Join(dir, "endpoints.json") }

func (e endpoints) write(dir string) error {
	data, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return service.WriteFile(endpointsFile(dir), append(data, '\n'), 0o600)
}

func readEndpoints(dir string) (endpoints, error) {
	var e endpoints
	data, err := os.ReadFile(endpointsFile(dir))
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("%s: %w", endpointsFile(dir), err)
	}
	return e, nil
}

func (e endpoints) url(process string) string {
	for _, p := range e.Processes {
		if p.Name == process {
			return p.URL
		}
	}
	return ""
}

// installation is the Sparrow that a command talks to.
type installation struct {
	config    config.Config
	endpoints endpoints
	dir       string // data folder on this machine; empty: it was found by its address alone
	local     bool   // `sparrow up` runs with that folder
}

// serverFlag adds --server to a command that talks to a running Sparrow.
func (p *program) serverFlag(c *cobra.Command) {
	c.Flags().StringVar(&p.server, "server", "", "address of the admin side (default: by --data, else $SPARROW_SERVER, else http://127.0.0.1:8081)")
}

// find finds the running Sparrow: by --server or --data, else by SPARROW_DATA or SPARROW_SERVER, else at the defaults.
func (p *program) find() (installation, error) {
	c, err := p.config()
	if err != nil {
		return installation{}, err
	}
	in := installation{config: c}
	server := p.server
	if server == "" && p.data == "" && p.env("SPARROW_DATA") == "" {
		server = p.env("SPARROW_SERVER")
	}
	if server != "" {
		in.endpoints = endpoints{Admin: strings.TrimRight(server, "/"), Clients: clientsURL(c.Clients.Listen, c.Clients.TLS.Enabled()), TokenFile: c.Token()}
		in.endpoints.Processes = addressed(c, server)
		return in, nil
	}
	e, err := readEndpoints(c.Data)
	switch {
	case err == nil:
		in.endpoints, in.dir, in.local = e, c.Data, true
		return in, nil
	case !errors.Is(err, fs.ErrNotExist):
		return in, err
	case p.data != "" || p.env("SPARROW_DATA") != "":
		return in, fmt.Errorf("no Sparrow runs with data folder %s (%s is missing): start one with `sparrow up --data %s`", c.Data, endpointsFile(c.Data), c.Data)
	}
	in.dir = c.Data
	in.endpoints = endpoints{Clients: clientsURL(c.Clients.Listen, c.Clients.TLS.Enabled()), Admin: reach(c.Admin.Listen), TokenFile: c.Token()}
	in.endpoints.Processes = addressed(c, in.endpoints.Admin)
	return in, nil
}

// addressed are the processes of an installation that was found by an address: wherever the settings say.
func addressed(c config.Config, admin string) []endpoint {
	list := []endpoint{{Name: mirrorName, URL: strings.TrimRight(admin, "/")}, {Name: warehouseName, URL: c.Warehouse.URL}}
	for _, stack := range event.Stacks() {
		s := c.Stacks.Of(stack)
		if s.Service() {
			continue // no process of ours
		}
		list = append(list, endpoint{Name: dispatcherName(stack), URL: s.URL})
		if s.Trace.URL != "" {
			list = append(list, endpoint{Name: traceName(stack), URL: s.Trace.URL})
		}
	}
	return append(list, endpoint{Name: sandboxName, URL: c.Sandbox.URL})
}

// reach is the URL by which this machine reaches a listening address.
func reach(listen string) string { return (&supervisor.Listener{Addr: listen}).URL() }

// admin returns an HTTP client that shows the operator's token.
func (in installation) admin() (*http.Client, error) {
	token, err := existingSecret(in.endpoints.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("operator token: %w: point at the running Sparrow with --data or SPARROW_DATA, or name the file in SPARROW_TOKEN_FILE", err)
	}
	return service.Client(token), nil
}

// secret returns the secret that our own processes show each other.
func (in installation) secret() (string, error) {
	path := cmp.Or(in.config.SecretFile, filepath.Join(cmp.Or(in.dir, in.config.Data), "secret"))
	s, err := existingSecret(path)
	if err != nil {
		return "", fmt.Errorf("secret of the installation: %w: point at the running Sparrow with --data or SPARROW_DATA, or name the file in SPARROW_SECRET_FILE", err)
	}
	return s, nil
}

// existingSecret reads a secret. Unlike service.Secret it never makes one: a client that invents its password is not
// let in anyway.
func existingSecret(path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	return service.Secret(path)
}
