# One line a target, no logic: what needs an `if` is a script or a test.
.PHONY: all bench bench-database check clean demo fuzz help test

all: ## build both programs, as they are shipped
	cargo build --release --locked

demo: all ## index this machine's own apt sources into target/demo
	target/release/canister-arbiter demo --dir target/demo

test: ## run every test, after installing or naming what they need
	tests/needs.sh && cargo build --workspace --bins --locked && cargo test --workspace --locked

check: ## the gate: format, lints, tests
	cargo fmt --all --check && cargo clippy --workspace --all-targets --locked -- -D warnings && $(MAKE) test

bench: ## measure what docs/performance.md reports
	cargo build --release --locked -p canister-agent --bins --examples && benches/run.py

bench-database: ## measure what docs/performance.md tells of PostgreSQL; after bench
	cargo build --release --locked --bins --example measure_database && benches/database.py

fuzz: ## fuzz each target for a minute
	fuzz/run.sh 60

clean: ## remove what was built
	cargo clean

help: ## say this
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 16
