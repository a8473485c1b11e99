# What a newcomer types: `make demo`, `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
PALISADE := $(TARGET_DIR)/release/palisade
PALISADE_SHARED ?= $(abspath ../shared)
export PALISADE_SHARED
CARGO := cargo
# As root directly; otherwise by sudo, keeping what the tests and the demo read.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,HOME,CARGO_TARGET_DIR,PALISADE_SHARED)

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Install what is missing, build, and run the main job on a real container
	@scripts/install-deps.sh demo
	@$(SUDO) demo/run.sh --palisade $(PALISADE)

.PHONY: build
build: ## Build the release program
	@scripts/install-deps.sh build
	$(CARGO) build --release --locked --bin palisade --bin palisade-runtime

.PHONY: test
test: build ## Install what the tests need and run every test, the demo included
	@scripts/install-deps.sh build demo test
	$(CARGO) test --workspace --locked --no-run
	$(SUDO) env "PATH=$$PATH" CARGO="$(CARGO)" scripts/test.sh --locked
	$(SUDO) scripts/cycles.sh --palisade $(PALISADE) --cycles 100
	$(SUDO) demo/run.sh --palisade $(PALISADE) --headless

.PHONY: test-vm
test-vm: build ## Run the kernel's tests on Linux 5.10, 6.1 and 6.12 in QEMU guests (VM="--help")
	@scripts/install-deps.sh build demo test vm
	@CARGO="$(CARGO)" scripts/vm.sh --palisade $(PALISADE) $(VM)

.PHONY: image
image: ## Build the agent's image by buildah, start it by podman and see an alert (IMAGE="--help")
	@scripts/install-deps.sh image
	@$(SUDO) scripts/image.sh $(IMAGE)

.PHONY: conformance
conformance: ## Run the conformance material in $PALISADE_SHARED/conformance
	@scripts/install-deps.sh build
	@scripts/conformance.sh

.PHONY: uses
uses: build ## Compare what Docker is used for with plain runC and with the runtime in front of it, use by use
	@scripts/install-deps.sh build test
	@$(SUDO) scripts/engine-uses.sh --install --palisade $(PALISADE)

.PHONY: interop
interop: build ## Sign and verify both ways with cosign, notation, skopeo and gpg (the first two are put aside)
	@scripts/interop.sh --install --palisade $(PALISADE)

.PHONY: bench
bench: build ## Measure and print the performance table
	@scripts/install-deps.sh build demo bench
	@$(SUDO) scripts/bench.sh --palisade $(PALISADE)
	@$(CARGO) build --release --quiet --locked -p palisade-bpf --example floor
	@$(SUDO) scripts/bench-load.sh --palisade $(PALISADE) --floor $(dir $(PALISADE))examples/floor
	@scripts/bench-replay.sh --palisade $(PALISADE)
	@$(SUDO) scripts/bench-run.sh --palisade $(PALISADE)
	@$(SUDO) env "PATH=$$PATH" scripts/bench-respond.sh
	@$(CARGO) build --release --quiet --locked -p palisade-scan --example bench_feeds
	@scripts/bench-feeds.sh --bench $(dir $(PALISADE))examples/bench_feeds
	@scripts/bench-trust.sh --palisade $(PALISADE)

.PHONY: bench-scan
bench-scan: build ## Inventory a large image, beside Syft and Trivy where they are installed
	@scripts/install-deps.sh build demo bench
	@scripts/bench-scan.sh --palisade $(PALISADE)

.PHONY: differential
differential: build ## The same advisories and packages in Palisade and Trivy: what only one finds (DIFFERENTIAL="--debs DIR …")
	@scripts/install-deps.sh build
	@scripts/differential.sh --palisade $(PALISADE) $(DIFFERENTIAL)

.PHONY: flood
flood: build ## Flood a running sensor: opens, a fork bomb, 1,000 containers, kills, a dead receiver (FLOOD="opens …")
	@scripts/install-deps.sh build demo flood
	@$(SUDO) scripts/flood.sh --palisade $(PALISADE) $(FLOOD)

.PHONY: cycles
cycles: build ## Make, enter and remove 10,000 containers, with kills in between, and look for what is left
	@scripts/install-deps.sh build demo bench
	@$(SUDO) scripts/cycles.sh --palisade $(PALISADE) --jobs 3 $(CYCLES)

.PHONY: fuzz
fuzz: ## Fuzz every parser for FUZZ_SECONDS (default 60) each
	@scripts/fuzz.sh $(or $(FUZZ_SECONDS),60)

.PHONY: deny
deny: ## Licences, sources, duplicates and known vulnerabilities of what is depended on (needs cargo-deny)
	cargo deny check

.PHONY: lint
lint: ## Formatting, clippy with warnings as errors, the fuzz targets compile, structure
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) check --manifest-path fuzz/Cargo.toml --bins --no-default-features --locked
	$(CARGO) xtask tidy

.PHONY: install
install: build ## Install program, manual pages and completions under PREFIX (default /usr/local)
	@scripts/install.sh $(PALISADE) $(or $(PREFIX),/usr/local)

.PHONY: clean
clean: ## Remove what the build and the demo made
	@demo/run.sh --clean
	$(CARGO) clean
