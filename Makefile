# cmux edge. Two commands do everything: make demo, make test.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -s -w -X cmux.sh/edge/internal/edge.Version=$(VERSION)
FUZZTIME ?= 30s
STATICCHECK = $(GO) tool -modfile=tools/go.mod staticcheck
GOFUMPT = $(GO) tool -modfile=tools/go.mod gofumpt
GOLANGCI = $(GO) tool -modfile=tools/golangci.mod golangci-lint

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

demo: build ## build the edge and run it with two small sandboxes
	bin/edge demo

build: ## build bin/edge, static
	CGO_ENABLED=0 $(GO) build -buildvcs=auto -trimpath -ldflags '$(LDFLAGS)' -o bin/edge ./cmd/edge

setup: ## install what the tests drive: a browser, VNC, VS Code, Vite
	tools/setup

test: setup ## install what the tests need, then run all of them under the race detector
	$(GO) test -race -timeout 20m ./...

short: ## run the tests that need nothing installed
	$(GO) test -short ./...

lint: ## go vet, staticcheck, gofumpt, golangci-lint, a tidy go.mod
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(STATICCHECK) ./...
	@files=$$($(GOFUMPT) -l .); test -z "$$files" || { echo "run make fmt:" $$files; exit 1; }
	$(GOLANGCI) run ./...

fmt: ## format everything
	$(GOFUMPT) -w .

fuzz: ## run each fuzz target for FUZZTIME
	tools/fuzz $(FUZZTIME)

bench: ## run the benchmarks; docs/performance.md tells how to read them
	$(GO) test -run '^$$' -bench . ./internal/resolve ./internal/resolver ./internal/proxy ./internal/tunnel ./internal/catalog/...

generate: ## write the generated reference pages
	$(GO) generate ./...

check: test lint ## what a change must pass

.PHONY: help demo build setup test short lint fmt fuzz bench generate check
.DEFAULT_GOAL := help
