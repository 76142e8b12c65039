# Everything a developer, a user or CI calls. Needs Go, make, g++ (DuckDB) and git; nothing else.
SHELL := /bin/bash
TOOL := go tool -modfile=tools/go.mod
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/sparrowhq/sparrow/cmd.version=$(VERSION)
export CGO_ENABLED := 1

.PHONY: build run test test-bigquery check-sql lint bench bench-peers soak soak-warehouse fuzz generate

build: ## bin/sparrow
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sparrow ./cmd/sparrow

run: build ## build, and bring everything up on this machine
	bin/sparrow up

test: ## every test, with the race detector; skipped ones are listed at the end. vet is part of lint. Three packages at a time, as tests wait a lot
	@mkdir -p bin
	$(TOOL) gotestsum --format pkgname-and-test-fails --hide-summary output --jsonfile bin/test.json $(RERUN) --packages ./... -- -race -vet=off -p 3 -timeout 15m

test-bigquery: ## contract suite and end to end, against SPARROW_BIGQUERY_ENDPOINT, _GRPC and _PROJECT, or the real one with _PROJECT and credentials
	@test -n "$$SPARROW_BIGQUERY_PROJECT" || { echo 'SKIPPED: NOTHING WAS TESTED against BigQuery. Set SPARROW_BIGQUERY_PROJECT, and for a server that is not Google'"'"'s SPARROW_BIGQUERY_ENDPOINT and SPARROW_BIGQUERY_GRPC; `go run ./warehouse/bigquery/fake/serve` is one.'; } ; \
	test -z "$$SPARROW_BIGQUERY_PROJECT" || { go test -tags external -count=1 -timeout 60m -v -run TestExternal ./warehouse/bigquery && \
	go test -count=1 -timeout 60m -v -run TestProofBigQuery ./cmd/sparrow; }

check-sql: ## Google's own analyser reads every GoogleSQL statement of the golden files. Builds for minutes the first time
	go -C tools/checksql test ./...
	go -C tools/checksql build -o ../../bin/checksql .
	bin/checksql -default my-project.shop_sparrow -prefix shop_ $(addprefix warehouse/bigquery/testdata/,init.sql columns.sql views.sql reads.sql erase.sql digests.sql) cmd/saved/testdata/googlesql.sql $(sort $(wildcard compare/testdata/bigquery/*.sql))

lint: ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	go vet ./...
	go vet -tags external ./warehouse/bigquery
	$(TOOL) staticcheck ./...

generate: ## protobuf code; needs protoc
	go build -modfile=tools/go.mod -o bin/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
	find . -name '*.proto' | xargs protoc --plugin=bin/protoc-gen-go --go_out=. --go_opt=paths=source_relative

bench: build ## figures of docs/benchmarks.md
	go test -run '^$$' -bench 'Intake|Floor' -benchtime 4s ./mirror
	go test -run '^$$' -bench Pipeline -benchtime 1x -timeout 20m ./cmd/sparrow
	go test -run '^$$' -bench Collect -benchtime 3x -timeout 20m ./compare

bench-peers: build ## our mirror and nginx, turn by turn; installs nginx from Debian if it is missing; PEERS='-rounds 1 -for 1s -fault-for 1s -recovery 40s' is short
	@command -v nginx >/dev/null || (apt-get update -q && apt-get install -q -y --no-install-recommends nginx-light)
	go build -o bin/peers ./mirror/peers
	bin/peers -sparrow bin/sparrow $(PEERS)

soak: build ## the long forms of the proofs in make test
	SPARROW_SOAK=1 go test -count=1 -timeout 3h -v -run 'Proof|Docs' ./cmd/sparrow
	SPARROW_SOAK=1 go test -count=1 -timeout 1h -v -run 'TestMutatedPayloads' ./trace
	SPARROW_SOAK=1 go test -count=1 -timeout 1h -run 'Oracle|RealData|Planted|TornLog|KilledAmid|DuringRetention' ./compare ./trace/... ./warehouse/duckdb

soak-warehouse: ## a warehouse of SPARROW_SOAK_ROWS rows (100 million: some 25 minutes and 30 GB in TMPDIR) of SPARROW_TEST_DATA's events
	SPARROW_SOAK_ROWS=$${SPARROW_SOAK_ROWS:-100000000} go test -count=1 -timeout 2h -v -run '^TestSoakWarehouse$$' ./warehouse/duckdb

fuzz: ## each decoder for a minute
	@for p in $$(grep -rl --include='*_test.go' 'func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -hoE 'func Fuzz[A-Za-z0-9_]+' $$p/*_test.go | sed 's/func //'); do \
	    go test -run '^$$' -fuzz "^$$f$$" -fuzztime 60s $$p || exit 1; done; done
