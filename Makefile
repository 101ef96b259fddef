# Lodge. `make` lists what there is. Each recipe is one line; the work is in the scripts that it calls.
.DEFAULT_GOAL := help
.PHONY: help up down test env build check software bench nightly crds docs krew clean wasi-testsuite

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
up: ## start Lodge on a Kubernetes and run a first command in a Workspace
	@e2e/up
test: ## run every test, with all that it needs
	@e2e/test
down: ## stop the local cluster and remove what it left on the machine
	@e2e/down
env: ## print the exports that give a shell kubectl, helm, kubectl-lodge, vm-runner and the cluster
	@e2e/env
build: ## build the tools, the guest software and the images, without a cluster
	@e2e/up --build-only
check: ## format, lint and test what needs neither wasmtime nor a cluster
	@cargo fmt --all --check && cargo clippy --all-targets -- -D warnings && cargo test
bench: ## print p50, p95 and p99 of the paths that matter, on the running cluster
	@e2e/bench
nightly: ## run what takes an hour: fuzz targets, random histories, crash rounds
	@e2e/nightly
crds: ## write the generated CRDs into charts/lodge-crds
	@cargo run -q -p lodge-crds --bin crdgen -- --write
docs: ## write the generated pages of docs/reference and the values in charts/lodge/README.md (after make build)
	@cargo run -q -p lodge-crds --bin crdgen -- --reference && UPDATE_GOLDEN=1 cargo test -q --release -p e2e --test docs --test charts -- --include-ignored is_generated_from readmes_table
krew: ## pack kubectl lodge for krew: archive and manifest with its checksum, in .local/krew
	@e2e/krew
wasi-testsuite: ## run WebAssembly/wasi-testsuite (branch prod/testsuite-base) from FOLDER=...
	@LODGE_WASI_TESTSUITE="$(abspath $(FOLDER))" cargo test --release -p vm-wasm -p vm-runner --test guest -- --ignored --nocapture the_wasi_testsuite
clean: ## remove what the build made inside this clone (caches outside stay)
	@e2e/clean
