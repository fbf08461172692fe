# Everything here works on a machine that has Go, make and git; race needs a C compiler besides.

export CGO_ENABLED = 0

GO ?= go
BIN := bin
PROGRAMS := ./server ./variants/goroutine ./variants/floor ./loadgen ./harness
FUZZTIME ?= 30s
BENCHFLAGS ?=
FULLFLAGS ?= --scenarios=all --calibrate=0.3 --rounds=6 --retries=3
INDEXFLAGS ?= -benchtime=200ms -count=6
MILLIONFLAGS ?=
DEMOFLAGS ?=
FORMAT ?= text
DOCTORFLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help build test race lint fuzz bench bench-full bench-index bench-million report figures compare doctor demo kafka-image clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build server, goroutine, floor, loadgen and harness into bin/
	$(GO) build -o $(BIN)/ $(PROGRAMS)

# The faults come last and alone: with a broker that starts beside other tests, their times say
# little. -v shows which broker it was and the times to recover.
test: lint ## lint, then run every test; some minutes
	$(GO) test -timeout 15m $$($(GO) list ./... | grep -v /harness/faults)
	$(GO) test -timeout 10m -count 1 -v ./harness/faults

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

bench-full: build ## all scenarios, loads that follow from what the servers sustain, more rounds; the better part of an hour
	$(GO) test -run '^$$' -bench . -timeout 30m $(INDEXFLAGS) ./server/monitor > $(BIN)/bench-index.txt
	$(BIN)/harness run $(FULLFLAGS) --benchmarks=$(BIN)/bench-index.txt

bench-million: build ## take each server to a million connections, in a virtual machine if need be; says what it lacks
	$(BIN)/harness million $(MILLIONFLAGS)

bench-index: ## what rules cost in memory and time, as Go's benchmark format on stdout; some minutes
	@$(GO) test -run '^$$' -bench . -timeout 30m $(INDEXFLAGS) ./server/monitor

report: build ## make a run's report again: RUN=results/runs/..., FORMAT=text, markdown or html
	@test -n "$(RUN)" || { echo "make report RUN=results/runs/FOLDER [FORMAT=text|markdown|html]"; exit 2; }
	@$(BIN)/harness report --format=$(FORMAT) $(RUN)

figures: build ## write the tables of the reference runs into README.md and results/README.md
	@$(BIN)/harness figures README.md results/README.md

compare: build ## put two runs side by side: A=results/runs/... B=results/runs/...
	@test -n "$(A)" -a -n "$(B)" || { echo "make compare A=results/runs/FOLDER B=results/runs/FOLDER"; exit 2; }
	@$(BIN)/harness compare $(A) $(B)

doctor: build ## say what this machine allows, and the commands that lift it
	@$(BIN)/harness doctor $(DOCTORFLAGS)

demo: build ## run a broker, the server and made-up chat, to look at; Ctrl-C ends it
	$(BIN)/harness demo $(DEMOFLAGS)

kafka-image: ## build a Docker image with Apache Kafka from package managers, where none can be pulled
	@harness/stack/kafka-image/build.sh

clean: ## remove what was built
	rm -rf $(BIN)
