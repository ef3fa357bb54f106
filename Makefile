# The ways in: `make demo` and `make test`. Everything else is what these two stand on.
# Nothing outside the checkout is changed, but for missing Debian packages where make may install them (root with apt-get).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# program:package, in Debian's names; only what is missing is installed.
DEBIAN := ip:iproute2 tc:iproute2 nft:nftables unshare:util-linux curl:curl
# Where there is no kubectl, the one that pip put into the virtual environment does.
export PATH := $(PATH):$(abspath $(BIN))

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

.PHONY: demo
demo: venv system root ## watch the agent find real faults in a small storage network on this machine (root)
	@$(BIN)/python -m agent.lab.demo

.PHONY: lab
lab: venv system root ## keep such a network up until Ctrl-C, to look around in (root)
	@$(BIN)/lhnet-agent lab up --foreground

# The end-to-end run mostly waits for Prometheus, so it waits beside the others.
.PHONY: test
test: check system test-system ## make check, then every test
	@mkdir -p build
	@$(BIN)/python -m pytest tests/e2e -s >build/e2e.log 2>&1 & beside=$$!; trap 'kill $$beside 2>/dev/null || true' INT TERM; \
	  status=0; $(BIN)/python -m pytest --ignore tests/e2e || status=$$?; \
	  echo "--- tests/e2e, which ran meanwhile"; wait $$beside || status=$$?; cat build/e2e.log; exit $$status

# Real servers and builders that tests want; what is missing is skipped with a reason.
DEBIAN_TEST = $(DEBIAN_CLUSTER) promtool:prometheus prometheus-alertmanager:prometheus-alertmanager faketime:faketime

.PHONY: test-system
test-system:
	@$(call need,$(DEBIAN_TEST))

.PHONY: matrix
matrix: venv system root ## every fault and every control of the lab, one line each: found, culprit, false findings, seconds (root, about two hours)
	@$(BIN)/python tests/lab/matrix.py $(ONLY)

.PHONY: check
check: venv ## format, lint, types, who may import whom
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: venv ## let ruff write what it can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: venv
venv: $(STAMP) ## the virtual environment, from the locked requirements

$(STAMP): requirements/dev.txt pyproject.toml
	@if ! $(BIN)/python -c '' 2>/dev/null; then \
	  python=; \
	  for each in python3 python3.13 python3.12 python3.11; do \
	    if command -v $$each >/dev/null && $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$each; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then echo "make: Python 3.11 or newer is needed; none of python3, python3.13, python3.12, python3.11 is one" >&2; exit 1; fi; \
	  if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then $(call install,python3-venv); fi; \
	  echo "making $(VENV) with $$($$python --version)"; \
	  $$python -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements/dev.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.PHONY: system
system: ## programs of the system that the lab needs, installed where make may
	@$(call need,$(DEBIAN))

define need
missing=; \
  for pair in $(1); do \
    if ! PATH="$$PATH:/usr/sbin:/sbin" command -v "$${pair%%:*}" >/dev/null; then case " $$missing " in *" $${pair##*:} "*) ;; *) missing="$$missing $${pair##*:}";; esac; fi; \
  done; \
  if [ -n "$$missing" ]; then $(call install,$$missing); fi
endef

# A test run without root skips what needs it and says so, hence no failure here: only a word on what is missing.
# policy-rc.d keeps the packages from starting their servers: the tests start their own.
define install
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "installing Debian packages:" $(1); \
    policy=/usr/sbin/policy-rc.d; \
    if [ -e $$policy ]; then policy=; else printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; fi; \
    status=0; { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; } || status=$$?; \
    if [ -n "$$policy" ]; then rm -f $$policy; fi; \
    if [ $$status != 0 ]; then exit $$status; fi; \
  else \
    echo "make: missing here, please install (Debian's names):" $(1) >&2; \
  fi
endef

.PHONY: root
root:
	@if [ "$$(id -u)" != 0 ]; then echo "make: the lab makes network namespaces and needs root: sudo make $(MAKECMDGOALS)" >&2; exit 1; fi

OVERLAY := harvester

.PHONY: manifests
manifests: venv ## print what an overlay applies: OVERLAY=harvester, longhorn or no-operator
	@kubectl kustomize manifests/overlays/$(OVERLAY)

# What tests and the cluster on this machine install; LHNET_IMAGE_TAR names one that is already there.
IMAGE := build/lhnet-agent.tar
DEBIAN_IMAGE := buildah:buildah mmdebstrap:mmdebstrap

.PHONY: image
image: $(IMAGE) ## the container image, as an archive in build/ (docker's engine, or root with buildah)

$(IMAGE): Dockerfile .dockerignore pyproject.toml requirements/run.txt $(wildcard packaging/*.sh) $(shell find agent -name '*.py' -o -name '*.md') | $(STAMP)
	@if ! docker info >/dev/null 2>&1; then $(call need,$(DEBIAN_IMAGE)); fi
	@PYTHON=$(BIN)/python packaging/build-image.sh $@

.PHONY: hadolint
hadolint: venv ## lint the Dockerfile
	$(BIN)/hadolint Dockerfile

.PHONY: lock
lock: venv ## refresh requirements/*.txt from pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-header --extra kube --extra lab --extra dev pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-header -c requirements/dev.txt pyproject.toml -o requirements/run.txt

.PHONY: clean
clean: ## remove the virtual environment and every cache
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

MONITORING := manifests/monitoring

.PHONY: rules
rules: ## carry the alert rules of manifests/monitoring/rules.yaml over into the PrometheusRule and the overlay without an operator
	@{ sed '/^spec:/q' $(MONITORING)/prometheusrule.yaml; sed -n '/^groups:/,$$p' $(MONITORING)/rules.yaml | sed 's/^\(.\)/  \1/'; } > $(MONITORING)/.new
	@mv $(MONITORING)/.new $(MONITORING)/prometheusrule.yaml
	@cp $(MONITORING)/rules.yaml manifests/overlays/no-operator/rules.yaml

.PHONY: test-alerts
test-alerts: venv ## the alert rules alone: promtool, amtool, a real Alertmanager
	$(BIN)/python -m pytest tests/alerts

.PHONY: soak-alerts
soak-alerts: venv system root ## ten healthy minutes with an agent rollout: no alert; then faults, told and resolved (root, 20 minutes)
	LHNET_HEALTHY_SECONDS=600 $(BIN)/python -m pytest tests/e2e -s

# A real cluster on this machine. Its Kubernetes programs: KUBEBUILDER_ASSETS, or what `make envtest` built.
DEBIAN_CLUSTER := $(DEBIAN_IMAGE) containerd:containerd runc:runc /usr/lib/cni/bridge:containernetworking-plugins
ENVTEST := build/envtest
ifneq ($(wildcard $(ENVTEST)/kube-apiserver),)
export KUBEBUILDER_ASSETS ?= $(abspath $(ENVTEST))
endif

.PHONY: cluster
cluster: venv system cluster-system root ## a real Kubernetes of three nodes with the agent in it, until Ctrl-C (root)
	@PYTHONPATH=tests/cluster $(BIN)/python -m realcluster

.PHONY: test-cluster
test-cluster: venv system cluster-system ## the agent in such a cluster: full pool, lost power, cut cable, updates; with a timeline (root)
	$(BIN)/python -m pytest tests/cluster -s

.PHONY: cluster-system
cluster-system:
	@$(call need,$(DEBIAN_CLUSTER))

.PHONY: envtest
envtest: ## build etcd and the Kubernetes programs from their Go modules (needs Go, minutes)
	@if ! command -v go >/dev/null; then echo "make: envtest needs Go, which is not here" >&2; exit 1; fi
	@tests/cluster/envtest/build.sh $(ENVTEST)
