# One line a target, no logic: what needs an `if` is a script or a test.
SOURCES = 462 10000 100000
CYCLES =
.PHONY: all bench bench-cycle bench-database bench-lease bench-scale bench-sessions check clean compose-test cross cross-test deb deb-test demo fuzz help image image-test newcomer-test test

all: ## build both programs, as they are shipped
	cargo build --release --locked

demo: all ## index this machine's own apt sources into target/demo
	target/release/canister-arbiter demo --dir target/demo

test: ## run every test, after installing or naming what they need
	tests/needs.sh && cargo build --workspace --bins --locked && cargo test --workspace --locked

check: ## the gate: format, lints, docs, tests
	.ci/run

bench: ## measure what docs/performance.md reports
	benches/build.sh && benches/run.py

cross: ## build static binaries of both programs for x86_64, aarch64, ARMv7 and ARMv6
	packaging/cross/build.sh

cross-test: cross ## run them under emulation, beside native ones
	packaging/cross/test.py

deb: ## make Debian packages for amd64, arm64 and armhf
	packaging/deb/build.sh

deb-test: deb ## install, upgrade, remove and purge them in a clean Debian root
	packaging/deb/test.sh

image: ## make Docker images for amd64, arm64, arm/v7 and arm/v6
	packaging/docker/build.sh

image-test: image ## run them on this machine's Docker engine
	packaging/docker/test.sh

compose-test: image ## run a whole arbiter host there, and kill and cut all that is in it
	packaging/docker/compose-test.sh

newcomer-test: deb image ## do what the README tells a new volunteer, on clean machines
	packaging/newcomer.py

bench-database: ## measure what docs/performance.md tells of PostgreSQL; after bench
	cargo build --release --locked --bins --example measure_database && benches/database.py database

bench-lease: ## measure what docs/performance.md tells of whole leases
	cargo build --release --locked --bins --example measure_lease --example measure_reading && benches/database.py lease

bench-scale: ## measure what docs/performance.md tells of many sources; SOURCES=1000000 for more
	cargo build --release --locked --package canister-tests --example measure_scale && benches/page.py scale target/release/examples/measure_scale $(SOURCES)

bench-cycle: ## measure what docs/performance.md tells of whole cycles
	cargo build --release --locked --bins --example measure_cycle && benches/page.py cycle target/release/examples/measure_cycle $(CYCLES)

bench-sessions: ## measure what docs/performance.md tells of connected peers
	packaging/cross/build.sh x86_64-unknown-linux-musl && cargo build --release --locked --package canister-tests --example measure_sessions && benches/page.py sessions target/release/examples/measure_sessions target/cross/x86_64-unknown-linux-musl/release

fuzz: ## fuzz each target for a minute
	fuzz/run.sh 60

clean: ## remove what was built
	cargo clean

help: ## say this
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 16
