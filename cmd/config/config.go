// Package config reads sparrow.yaml.
//
// Invariant: a program either runs with exactly the settings that were written down, or does not start: an unknown
// key, a value that does not parse and a value that makes no sense are errors that name the file, the line and the
// setting. Every setting has a default (Default), a comment in sparrow.example.yaml, and an environment variable
// named after its place: journal.max_bytes is SPARROW_JOURNAL_MAX_BYTES. Later wins: default, file, environment,
// flag.
package config

import (
	"path/filepath"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

// Config is everything that can be set. A section's keys are the fields' yaml names.
type Config struct {
	Data       string `yaml:"data"`        // folder that holds everything `sparrow up` keeps
	SecretFile string `yaml:"secret_file"` // empty: <data>/secret
	TokenFile  string `yaml:"token_file"`  // empty: <data>/token

	Clients   Clients   `yaml:"clients"`
	Admin     Admin     `yaml:"admin"`
	Journal   Journal   `yaml:"journal"`
	Stacks    Stacks    `yaml:"stacks"`
	Warehouse Warehouse `yaml:"warehouse"`
	Telemetry Telemetry `yaml:"telemetry"`
}

// Clients is the side that browsers see.
type Clients struct {
	Listen         string   `yaml:"listen"`
	Origins        []string `yaml:"origins"`
	TrustedProxies []string `yaml:"trusted_proxies"`
	MaxBody        Size     `yaml:"max_body"`
}

// Admin is the side that operators see.
type Admin struct {
	Listen string   `yaml:"listen"`
	Hosts  []string `yaml:"hosts"`
}

// Journal is where accepted requests become durable.
type Journal struct {
	URL        string   `yaml:"url"`
	Replicas   int      `yaml:"replicas"`
	MaxBytes   Size     `yaml:"max_bytes"`
	MaxAge     Duration `yaml:"max_age"`
	MinFree    Size     `yaml:"min_free"`
	FirstFrame uint64   `yaml:"first_frame"`
}

// Stacks holds one section for each stack.
type Stacks struct {
	Green Stack `yaml:"green"`
	Blue  Stack `yaml:"blue"`
}

// Of returns the section of a stack.
func (s *Stacks) Of(name event.Stack) *Stack {
	if name == event.Green {
		return &s.Green
	}
	return &s.Blue
}

// Stack is one of the two complete pipelines.
type Stack struct {
	Protocol string `yaml:"protocol"`
	URL      string `yaml:"url"`
	Listen   string `yaml:"listen"` // empty: the address in URL; under `sparrow up` a free loopback port
	Build    string `yaml:"build"`  // binary that `sparrow up` runs; empty: this executable
}

// Warehouse is where events end up.
type Warehouse struct {
	Engine  string `yaml:"engine"`
	URL     string `yaml:"url"`
	Listen  string `yaml:"listen"` // empty: the address in URL; under `sparrow up` a free loopback port
	Memory  Size   `yaml:"memory"`
	Threads int    `yaml:"threads"`
}

// Telemetry is how processes speak about themselves.
type Telemetry struct {
	Format      string `yaml:"format"`
	Level       string `yaml:"level"`
	SentryDSN   string `yaml:"sentry_dsn"`
	Environment string `yaml:"environment"`
}

// Default returns the settings of a program that was told nothing. sparrow.example.yaml shows the same values.
func Default() Config {
	return Config{
		Data: ".sparrow",
		Clients: Clients{
			Listen:  "127.0.0.1:8080",
			Origins: []string{"http://localhost", "http://127.0.0.1"},
			MaxBody: 1 << 20,
		},
		Admin: Admin{Listen: "127.0.0.1:8081"},
		Journal: Journal{
			Replicas: 1,
			MaxBytes: 20 << 30,
			MaxAge:   Duration(72 * time.Hour),
			MinFree:  1 << 30,
		},
		Stacks: Stacks{
			Green: Stack{Protocol: "frames", URL: "http://127.0.0.1:8083"},
			Blue:  Stack{Protocol: "frames", URL: "http://127.0.0.1:8084"},
		},
		Warehouse: Warehouse{
			Engine: "duckdb",
			URL:    "http://127.0.0.1:8082",
			Memory: 1 << 30,
		},
		Telemetry: Telemetry{Format: "text", Level: "info", Environment: "production"},
	}
}

// Secret is the path of the file that holds the secret of the hops between our own processes.
func (c *Config) Secret() string { return or(c.SecretFile, filepath.Join(c.Data, "secret")) }

// Token is the path of the file that holds the operator's token.
func (c *Config) Token() string { return or(c.TokenFile, filepath.Join(c.Data, "token")) }

func or(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}
