# `make help` lists the targets. Needed: Go, git, make, bash and coreutils.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:
MAKEFLAGS += --no-print-directory

VERSION ?= 0.1.0
IMG ?= ghcr.io/meshsecurity/mesh-security-operator:v$(VERSION)
CONTAINER_TOOL ?= docker
BENCH ?= .
BENCHFLAGS ?=
TESTFLAGS ?=
DEMO ?=

# Nested modules stand alone, and one set of compiled packages serves the
# build, the tests and the linter, on a machine without a C compiler too.
export GOWORK := off
export CGO_ENABLED := 0

TOOL := go tool -modfile=hack/tools/go.mod
# All modules; those with code to vet and lint.
MODULES := $(patsubst %/go.mod,%,$(wildcard ./go.mod ./*/*/go.mod))
CODE := $(patsubst %/go.mod,%,$(wildcard ./go.mod ./test/*/go.mod))

ASSETS = $$(hack/control-plane.sh | tail -n 1)
LINT = $$(hack/cached-build.sh golangci-lint hack/lint . -ldflags "-s -w" | tail -n 1)/golangci-lint
# A kubectl that is there serves for a cluster; what goes into the repository is
# made by the pinned one.
KUBECTL ?= $(if $(shell command -v kubectl),kubectl,$(ASSETS)/kubectl)

##@ General

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-z-]*:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ Try it

.PHONY: demo
demo: ## A small shop on a real control plane: enforced, tampered with, healed. DEMO=once exits by itself.
	KUBEBUILDER_ASSETS=$(ASSETS); export KUBEBUILDER_ASSETS
	DEMO=$(DEMO) go run ./hack/demo

.PHONY: control-plane
control-plane: ## Provide etcd, kube-apiserver, kube-controller-manager and kubectl, and print their folder.
	@hack/control-plane.sh

.PHONY: run
run: ## Run the operator against the cluster that KUBECONFIG names.
	go run .

##@ Check

.PHONY: test
test: test-unit test-integration test-istio test-gitops ## All tests, in all modules.

.PHONY: test-unit
test-unit: ## Tests without a control plane: unit, golden and property.
	go test $(TESTFLAGS) $$(go list ./... | grep -v /test/)

.PHONY: test-integration
test-integration: ## Tests against a real control plane: CEL, controllers, RBAC, packaging.
	KUBEBUILDER_ASSETS=$(ASSETS); export KUBEBUILDER_ASSETS
	go test -count=1 -timeout 20m $(TESTFLAGS) ./test/...

.PHONY: test-istio
test-istio: ## Istio's own validation of what golden cases compile to, and its analyzers over the corpus.
	go -C test/istio test -timeout 20m $(TESTFLAGS) ./...

.PHONY: test-gitops
test-gitops: ## Argo CD's and Flux's own code on our kinds: health, diff, waves, pruning.
	KUBEBUILDER_ASSETS=$(ASSETS); export KUBEBUILDER_ASSETS
	go -C test/gitops test -count=1 -timeout 20m $(TESTFLAGS) ./...
.PHONY: test-mesh
test-mesh: ## Real istiod and Envoys: what is said and what passes agree. Linux and root; no part of test.
	KUBEBUILDER_ASSETS=$(ASSETS); export KUBEBUILDER_ASSETS
	MESH_ASSETS=$$(hack/mesh-assets.sh | tail -n 1); export MESH_ASSETS
	go -C test/mesh test -count=1 -timeout 15m $(TESTFLAGS) ./...

.PHONY: bench
bench: ## Benchmarks, and figures against a real control plane; BENCH=regexp chooses, BENCHFLAGS=-profiles=1000 enlarges.
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./internal/... ./controllers/...
	KUBEBUILDER_ASSETS=$(ASSETS); export KUBEBUILDER_ASSETS
	go run ./test/scale/bench -bench '$(BENCH)' $(BENCHFLAGS)

.PHONY: lint
lint: ## golangci-lint, with the dependency rules and the Kubernetes API linter.
	@lint=$(LINT)
	for module in $(CODE); do (cd $$module && $$lint run --config $(CURDIR)/.golangci.yml ./...); done

.PHONY: verify
verify: generate manifests docs-reference golden build-installer ## Regenerate everything; fail if that changes or adds a file.
	@for module in $(MODULES); do go -C $$module mod tidy -diff >&2 || { echo "verify: run 'go mod tidy' in $$module" >&2; exit 1; }; done
	for module in $(CODE); do go -C $$module vet ./...; done
	changed=$$(git status --porcelain)
	if [ -n "$$changed" ]; then
		printf 'verify: the tree is not clean. Either generated files are stale, or there is something to commit:\n%s\n' "$$changed" >&2
		git --no-pager diff --stat >&2
		exit 1
	fi

.PHONY: vulncheck
vulncheck: ## Known vulnerabilities in what the operator calls.
	$(TOOL) govulncheck ./...

##@ Develop

.PHONY: generate
generate: ## Deep-copy functions, from the types.
	$(TOOL) controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: ## CRDs from the types, and the operator's role from the markers in controllers.
	$(TOOL) controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=mesh-security-operator paths=./controllers/... output:rbac:artifacts:config=config/rbac

.PHONY: docs-reference
docs-reference: ## The API reference, from the types.
	mkdir -p docs/reference
	$(TOOL) crd-ref-docs --source-path=api --config=hack/docs-reference.yaml --renderer=markdown --output-path=docs/reference/api.md --log-level=ERROR

.PHONY: golden
golden: ## Rewrite the expected output of the golden cases: review the diff.
	UPDATE_GOLDEN=1 go test ./internal/... -run "Golden|Page"

.PHONY: golden-istio
golden-istio: golden ## Rewrite what istioctl says of the corpus as well, and the page that compares.
	UPDATE_GOLDEN=1 go -C test/istio test -run Golden ./...
	UPDATE_GOLDEN=1 go test ./internal/corpus -run Page

.PHONY: fmt
fmt: ## Format the code.
	@lint=$(LINT)
	for module in $(CODE); do (cd $$module && $$lint fmt --config $(CURDIR)/.golangci.yml ./...); done

.PHONY: clean
clean: ## Remove what was built here. Caches of tools stay.
	rm -rf bin

##@ Build

.PHONY: build
build: ## The operator: bin/manager, static.
	go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/manager .

.PHONY: build-cli
build-cli: ## The command line: bin/kubectl-meshsecurity, static. In a folder of PATH it is kubectl meshsecurity.
	go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/kubectl-meshsecurity ./cmd/kubectl-meshsecurity

.PHONY: build-installer
build-installer: ## dist/install.yaml: all that a cluster needs, with image IMG.
	mkdir -p dist
	$(ASSETS)/kubectl kustomize config/default | $(SET_IMAGE) >dist/install.yaml

.PHONY: docker-build
docker-build: ## The image, as IMG.
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) -t $(IMG) .

##@ Cluster

.PHONY: install
install: ## The CRDs.
	$(KUBECTL) apply --server-side -k config/crd

.PHONY: uninstall
uninstall: ## Remove the CRDs, and with them every profile, baseline and exception.
	$(KUBECTL) delete msp --all -A --ignore-not-found
	$(KUBECTL) delete msb --all --ignore-not-found
	$(KUBECTL) delete --ignore-not-found -k config/crd

.PHONY: deploy
deploy: ## CRDs, roles and the operator, with image IMG.
	$(KUBECTL) kustomize config/default | $(SET_IMAGE) | $(KUBECTL) apply --server-side -f -

.PHONY: undeploy
undeploy: ## Take every profile and baseline out of force, in order, and remove all that deploy made.
	$(KUBECTL) delete msp --all -A --ignore-not-found
	$(KUBECTL) delete --ignore-not-found -k config/default

SET_IMAGE = sed 's|image: ghcr.io/meshsecurity/mesh-security-operator:.*|image: $(IMG)|'
