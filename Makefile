# make check is what CI runs, and nothing else.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# For each fuzz target.
FUZZTIME ?= 10s
# What the binary calls itself; a release sets it.
VERSION ?=

# How the tests are compiled. SQLite is C translated to Go: checks of its pointer
# arithmetic would take half the time of the tests.
RACE := -race -gcflags=modernc.org/...=-d=checkptr=0
# What else must compile the dependencies does it the same way, and so not again.
AS_TESTS := GOFLAGS="$${GOFLAGS:-} $(RACE)"

TOOLS := bin/.tools-$(shell go env GOVERSION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: check
check: format vet generated lint arrows test passkeys ## All that CI checks

.PHONY: test
test: test-deps ## Run the tests on SQLite and PostgreSQL, with the race detector
	go test $(RACE) -timeout 30m ./...

.PHONY: passkeys
passkeys: test-deps ## Have another verifier look at what a browser sends
	$(AS_TESTS) scripts/verify-passkeys.sh

.PHONY: bench
bench: ## Compare the speed with the bare limits and with peers
	go run ./bench

.PHONY: faults
faults: test-deps ## Put the program under faults and floods, and judge the figures
	go test -tags faults -count=1 -v -timeout 45m ./faults

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: lint
lint: $(TOOLS) ## Look for faults in the code, its dependencies and the OpenAPI document
	$(AS_TESTS) bin/golangci-lint run
	$(AS_TESTS) scripts/lint-vulnerabilities.sh
	$(AS_TESTS) scripts/lint-openapi.sh

.PHONY: build
build: ## Build the static binary bin/propusk
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w$(if $(VERSION), -X propusk/internal/cli.Version=$(VERSION))' -o bin/propusk ./cmd/propusk

.PHONY: mails
mails: ## Compile the look of mails from MJML
	scripts/generate-mails.sh internal/outbox/templates/layout.html.tmpl

.PHONY: clean
clean: ## Remove what make made
	rm -rf bin .cache tools/openapi/node_modules tools/mail/node_modules tools/webauthn/node_modules

.PHONY: format
format:
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { printf 'not as gofmt writes it:\n%s\n' "$$unformatted"; exit 1; }

.PHONY: vet
vet:
	go vet $(RACE) ./...

# What is generated is what its generator writes now. The list of common
# passwords has a test of its own for that.
.PHONY: generated
generated:
	@mkdir -p .cache && go run -C internal/secret/argon2/asm . -out '$(CURDIR)/.cache/block_amd64.s'
	@cmp <(tail -n +2 .cache/block_amd64.s) <(tail -n +2 internal/secret/argon2/block_amd64.s) || { echo 'run: go generate ./internal/secret/argon2'; exit 1; }
	@scripts/generate-mails.sh .cache/layout.html.tmpl
	@cmp .cache/layout.html.tmpl internal/outbox/templates/layout.html.tmpl || { echo 'run: make mails'; exit 1; }

# -count=1: go test does not see that the imports of other packages changed.
.PHONY: arrows
arrows:
	go test $(RACE) -count=1 -run '^TestOnlyDrawnArrowsExist$$' ./internal/apptest

.PHONY: test-deps
test-deps:
	scripts/test-deps.sh

# Built anew for another compiler: an old linter cannot read newer code.
$(TOOLS): tools/go.mod tools/go.sum
	cd tools && GOBIN='$(CURDIR)/bin' go install tool
	touch $@
