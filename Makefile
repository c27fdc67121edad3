# One line a target, no logic: what needs an `if` is a script or a test.
MINUTES = 60
SOURCES = 462 10000 100000
CYCLES =
# What was there before the arbiter was rebuilt, and what measures it.
BEFORE = 0c2e995
.PHONY: all apt-repository attack bench bench-before bench-cycle bench-database bench-lease bench-scale bench-sessions check clean compose-test cross cross-test deb deb-test demo fuzz fuzz-long help image image-test newcomer-test patroni-test rest-test sizes soak test test-million

all: ## build both programs, as they are shipped
	cargo build --release --locked

demo: all ## index this machine's own apt sources into target/demo
	target/release/canister-arbiter demo --dir target/demo

test: ## run every test, after installing or naming what they need
	tests/needs.sh && cargo build --workspace --bins --locked && RUST_TEST_THREADS=8 cargo test --workspace --locked -- --skip alone:: && RUST_TEST_THREADS=2 cargo test --workspace --locked --test all -- alone::

check: ## the gate: format, lints, docs, tests
	.ci/run

bench: ## measure what docs/performance.md reports
	benches/build.sh && benches/run.py

cross: ## build static binaries of both programs for x86_64, aarch64, ARMv7 and ARMv6
	packaging/cross/build.sh

sizes: ## print what the agent's bytes are, by crate, of ARMv6
	TARGET_DIR=target/sizes PROGRAMS=canister-agent CARGO_PROFILE_RELEASE_STRIP=none packaging/cross/build.sh arm-unknown-linux-musleabihf && packaging/cross/sizes.py target/sizes/arm-unknown-linux-musleabihf/release/canister-agent

cross-test: cross ## run them under emulation, beside native ones
	packaging/cross/test.py

deb: ## make Debian packages for amd64, arm64 and armhf
	packaging/deb/build.sh

deb-test: deb ## install, upgrade, remove and purge them in a clean Debian root
	packaging/deb/test.sh

apt-repository: ## make a signed apt repository of them, by the key APT_KEY, in target/apt/public
	packaging/apt/repository.sh

image: ## make Docker images for amd64, arm64, arm/v7 and arm/v6
	packaging/docker/build.sh

image-test: image ## run them on this machine's Docker engine
	packaging/docker/test.sh

compose-test: image ## run a whole arbiter host there, and kill and cut all that is in it
	packaging/docker/compose-test.sh

patroni-test: ## run a network over three PostgreSQL machines with Patroni and etcd, and hurt it; as root
	tests/needs.sh etcd:etcd-server patroni:patroni ip:iproute2 psql:postgresql-client initdb:postgresql && cargo build --workspace --bins --locked && packaging/patroni/test.py

newcomer-test: deb image ## do what the README tells a new volunteer, on clean machines
	packaging/newcomer.py

bench-before: ## measure an earlier version, BEFORE, and this one side by side
	benches/before.py $(BEFORE) bench-database bench-lease bench-cycle bench-scale

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

rest-test: ## measure what docs/performance.md tells of an agent at rest, for MINUTES; as root
	packaging/cross/build.sh x86_64-unknown-linux-musl && benches/page.py rest benches/rest.py target/cross/x86_64-unknown-linux-musl/release $(MINUTES)

test-million: ## publish a million packages and see that nothing waits for it
	cargo build --workspace --bins --locked && TEST_ROWS=1000000 cargo test --locked --package canister-tests publishes_much

attack: ## try every attack of docs/threats.md
	cargo build --workspace --bins --locked && cargo test --locked --package canister-tests --test all -- --include-ignored admission:: alone:: amplification:: belief:: clock:: direct:: disk:: door:: home:: hostile:: kill:: liar:: owners:: public:: renewal:: role:: slow_store:: soak:: store:: store_postgres:: tidy:: traffic::

soak: ## kill agents and arbiter at random for half an hour, on both stores at once
	cargo build --workspace --bins --locked && TEST_SOAK_SECS=1800 cargo test --locked --package canister-tests --test all -- --nocapture soak::

fuzz: ## fuzz each target for a minute
	fuzz/run.sh 60

fuzz-long: ## fuzz for a day in all; what was found stays in fuzz/corpus, so it may be stopped and goes on
	fuzz/run.sh 14400

clean: ## remove what was built
	cargo clean

help: ## say this
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 16
