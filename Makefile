# Everything here works on a machine that has Go, make and git; race needs a C compiler besides.

export CGO_ENABLED = 0

GO ?= go
BIN := bin
PROGRAMS := ./server ./variants/goroutine ./variants/floor ./loadgen ./harness
FUZZTIME ?= 30s
BENCHFLAGS ?=
MILLIONFLAGS ?=
DEMOFLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help build test race lint fuzz bench bench-million demo clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build server, goroutine, floor, loadgen and harness into bin/
	$(GO) build -o $(BIN)/ $(PROGRAMS)

test: lint ## lint, then run every test; some minutes
	$(GO) test -timeout 15m ./...

race: ## run every test under the race detector; needs a C compiler
	CGO_ENABLED=1 $(GO) test -race -timeout 20m ./...

lint: ## gofmt, go vet, staticcheck
	@unformatted="$$($$($(GO) env GOROOT)/bin/gofmt -l .)"; \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

fuzz: ## run each fuzzer for FUZZTIME (30s)
	@for package in $$($(GO) list ./...); do \
	  for name in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "$$package $$name"; \
	    $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
	  done; \
	done

bench: build ## compare the servers and the floor: memory, push latency, broadcast; under five minutes
	$(BIN)/harness run $(BENCHFLAGS)

bench-million: build ## take each server to a million connections, in a virtual machine if need be; says what it lacks
	$(BIN)/harness million $(MILLIONFLAGS)

demo: build ## run a broker, the server and made-up chat, to look at; Ctrl-C ends it
	$(BIN)/harness demo $(DEMOFLAGS)

clean: ## remove what was built
	rm -rf $(BIN)
