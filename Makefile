# make test     all tests, both stores (obtains a mongod when the machine has none)
# make clients  real clients against the server: fhirclient in Chromium, fhir-kit-client, Python's fhirclient
# make race     the same under the race detector
# make lint     golangci-lint with .golangci.yml, and gofmt
# make generate rebuild embedded data; the tree must not change
# make bench    all benchmarks, search shapes among 1,000 patients included
# make shapes   search shapes among 1,000, 4,000 and 16,000 patients on both stores, as a table
# make binary   the release binary, static, in dist/
GO      ?= go
LINT    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: test clients race lint generate binary bench shapes fuzz
test:
	$(GO) test -timeout 20m ./...

clients:
	$(GO) vet -tags clients ./conformance/clients
	$(GO) test -tags clients -count=1 -timeout 15m ./conformance/clients

race:
	$(GO) test -race -timeout 25m ./...

lint:
	test -z "$$(gofmt -l $$(git ls-files '*.go'))"
	$(GO) vet ./...
	$(GO) run $(LINT) run ./...

generate:
	$(GO) generate ./...
	git diff --exit-code

binary:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X candela/cmd/app.Version=$(VERSION)" -o dist/candela ./cmd/candela

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

shapes:
	CANDELA_SHAPES=1000,4000,16000 $(GO) test -run '^$$' -bench Shapes -benchtime 2s -timeout 60m ./cmd/app
