# waltrigger: `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Without grpcnotrace the binary is 15 MB larger: text/template, which grpc's trace brings
# in, keeps the linker from leaving out what is not used.
BUILDFLAGS := -trimpath -tags grpcnotrace -ldflags '-s -w -X main.version=$(VERSION)'
GOLANGCI_LINT_VERSION := v2.15.0
TOOLS := $(CURDIR)/.work/bin
export GOLANGCI_LINT_VERSION TOOLS GO

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

check-go:
	@scripts/check-go.sh

build: check-go ## build bin/waltrigger, one static binary
	CGO_ENABLED=0 $(GO) build $(BUILDFLAGS) -o bin/waltrigger ./cmd/waltrigger

demo: ## see it work: a private PostgreSQL, a receiver, the three example triggers (Ctrl-C ends it)
	@scripts/demo.sh

test: check-go ## everything: lint, unit, integration with real services, race detector, chart, image file, demo
	@scripts/test.sh

test-unit: check-go ## the tests that need no service
	$(GO) test ./...

lint: check-go ## golangci-lint over all Go code
	@scripts/lint.sh

fmt: check-go ## format all Go code
	@scripts/lint.sh fmt

vet: check-go ## go vet
	$(GO) vet ./...

cover: check-go ## coverage of all tests, services included, in .work/cover.html
	@scripts/test.sh cover

bench: check-go ## throughput, CPU and memory beside bare loops and the machine's limits, in one run
	@scripts/bench.sh

soak: check-go ## the long forms of the long tests (hours), figures printed; SOAK="kill dead network store ha endurance park rest": only some
	@scripts/test.sh soak $(SOAK)

image: ## build the container image, without docker if there is none
	@scripts/image.sh build

helm: check-go ## lint the chart, render it, decode every object strictly
	@scripts/helm.sh

clean: ## remove everything that was built or downloaded here, running services included
	@scripts/services.sh purge
	rm -rf bin .work

.PHONY: help check-go build demo test test-unit lint fmt vet cover bench soak image helm clean
