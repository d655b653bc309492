# coracle: build, test, show, measure. `make help` lists the targets.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X coracle/internal/cli.version=$(VERSION)
GOBUILD := CGO_ENABLED=0 GOFLAGS= go build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)'

# Tools of the developers, at pinned versions, built from the module proxy.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# Random inputs per fuzz target in `make test`.
FUZZ ?= 2000x

.PHONY: help build cross dist test vet fmt lint unit fuzz e2e test-vm man demo bench deps deps-demo deps-bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

# The linker writes a page at a time, and so the kernel caches and maps the program. Written in large
# pieces (in a cache of large folios: ext4, xfs, btrfs) a start takes a millisecond less, until it is read from the disk again.
build: ## bin/coracle, static
	$(GOBUILD) -o bin/.linked .
	dd if=bin/.linked of=bin/.written bs=4M status=none
	chmod 755 bin/.written
	mv bin/.written bin/coracle
	rm bin/.linked

cross: ## dist/coracle-linux-{amd64,arm64}
	for arch in amd64 arm64; do GOOS=linux GOARCH=$$arch $(GOBUILD) -o dist/coracle-linux-$$arch .; done

dist: cross

deps: ## install the Debian packages of .ci/packages (root), or say what to type
	.ci/deps build demo test

deps-demo:
	.ci/deps build demo

deps-bench:
	.ci/deps build demo test bench

test: deps fmt vet lint unit fuzz e2e test-vm ## all tests

fmt: ## fail when gofmt would change something
	@bad=$$(git ls-files '*.go' | xargs -r gofmt -l); [ -z "$$bad" ] || { echo "gofmt would change:"; echo "$$bad"; exit 1; }

vet: ## go vet, for both architectures
	go vet ./...
	GOARCH=arm64 go vet ./...

lint: ## golangci-lint with .golangci.yml
	go run $(GOLANGCI) run --allow-parallel-runners ./...

unit: ## tests beside the code
	CGO_ENABLED=0 go test -timeout 15m $$(go list ./... | grep -v /internal/e2e) # as the product is built

fuzz: ## each fuzz target for a bounded count (FUZZ=2000x)
	.ci/fuzz $(FUZZ)

e2e: cross build ## scripts against the built binary, as an unprivileged user (RUN=regexp)
	go test -v -count=1 -timeout 30m -parallel 2 $(if $(RUN),-run '$(RUN)') ./internal/e2e

test-vm: ## scripts in a Debian 13 login node under QEMU, without KVM (RUN=regexp, KERNEL=6.1, APPEND=kernel options)
	CORACLE_VM_RUN='$(RUN)' CORACLE_VM_KERNEL='$(KERNEL)' CORACLE_VM_APPEND='$(APPEND)' go test -v -count=1 -timeout 60m ./internal/e2e/vm

man: build ## docs/man, from the commands
	rm -f docs/man/* && bin/coracle __man docs/man

demo: deps-demo build ## a real Debian image from nothing to a running container
	internal/e2e/demo.sh

bench: deps-bench build ## side by side with the peers; writes docs/benchmarks.md
	go run ./internal/e2e/bench

clean: ## what make made
	rm -rf bin dist .cache
