# Everything a person or a CI job does with this checkout. `make help` lists it.
#
# Build output lives outside the checkout, so that a second copy of it at another path builds in seconds.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

export CDC_CACHE ?= $(HOME)/.cache/cdc
export CARGO_TARGET_DIR ?= $(CDC_CACHE)/target
export DUCKDB_LIB_DIR ?= $(CDC_CACHE)/lib/duckdb-2.0.0
# Binaries and tests carry an rpath; documentation tests do not.
export LD_LIBRARY_PATH := $(DUCKDB_LIB_DIR)$(if $(LD_LIBRARY_PATH),:$(LD_LIBRARY_PATH))
# The servers that tests run against, beside Debian's own PostgreSQL 15.
export POSTGRES ?= 18

SEEDS ?= 1..100
SOURCE ?= postgres
ROWS ?= 5000000
PAIRS ?= 3
SECONDS ?= 60
W ?= W1 W2 W3 W4

.PHONY: help build demo test bench torture kafka fuzz setup fmt lint docs

help: ## what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

build: ## the release binary; prints its path last
	@integration/setup build
	cargo build --release --locked --bin cdc
	@echo $(CARGO_TARGET_DIR)/release/cdc

demo: ## a throw-away server into DuckDB and Parquet, a crash, a new column, and the proof: SOURCE=mysql or mariadb, KEEP=1 goes on
	@integration/setup
	cargo build --release --locked --bin cdc
	@CDC_MYSQL_BIN="$${CDC_MYSQL_BIN:-$$(integration/setup where)/mysql-9/usr/sbin}" \
		$(CARGO_TARGET_DIR)/release/cdc demo --source $(SOURCE)

test: setup ## formatting, lints, documentation, unit, conformance and integration tests, a short crash oracle
	cargo fmt --all --check
	$(FUZZ_LOCKED)
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --test kafka_oracle --test kafka_takeover --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	cargo build --locked --bin cdc
	cargo test --workspace --locked --no-fail-fast

bench: setup ## speed beside the floors: W="W1 W2 W3 W4" INTO=duckdb,kafka ROWS=5000000 PAIRS=3 BASE=commit; LATENCY=1, GROWTH=1 (ONLY=tables), QUIET=1
	cargo build --release --locked --workspace --bins
	@$(CARGO_TARGET_DIR)/release/bench --rows $(ROWS) --pairs $(PAIRS) $(if $(INTO),--into $(INTO)) $(if $(BASE),--base $(BASE)) $(if $(ONLY),--only "$(ONLY)") \
		$(if $(LATENCY)$(GROWTH)$(QUIET),$(if $(LATENCY),latency) $(if $(GROWTH),growth) $(if $(QUIET),idle huge),$(W))

torture: setup ## the crash oracle: SEEDS=1..100 (or 7 or 3,9) SOURCE=postgres (or postgres-15, postgres-18, mysql, mariadb)
	cargo build --locked --bin cdc
	CDC_SEEDS="$(SEEDS)" CDC_SOURCE="$(SOURCE)" cargo test --locked -p cdc-integration --test oracle -- --nocapture --test-threads=1

kafka: SEEDS := 1..4
kafka: setup ## the crash oracle over Kafka (SEEDS=1..4 SOURCE=postgres, mysql, mariadb), and Debezium's engine before us
	cargo build --locked --bin cdc
	CDC_SEEDS="$(SEEDS)" CDC_SOURCE="$(SOURCE)" cargo test --locked -p cdc-integration --test kafka_oracle --test kafka_takeover -- --nocapture --test-threads=1

# As cargo-fuzz builds, by the stable compiler: every edge and comparison counts.
FUZZ = $(CDC_CACHE)/fuzz
COUNTED = --cfg fuzzing -Cpasses=sancov-module -Clink-dead-code -Cdebug-assertions -Cpanic=abort \
	$(addprefix -Cllvm-args=-sanitizer-coverage-,level=4 inline-8bit-counters pc-table trace-compares)

# What they lock is no part of the workspace's lock file, and falls behind when a connector needs something else.
FUZZ_LOCKED = for source in mysql postgres; do \
		cargo metadata --locked --format-version 1 --manifest-path connectors/$$source/fuzz/Cargo.toml > /dev/null; \
	done

fuzz: ## the decoders under libFuzzer, each target for SECONDS=60; what it finds is kept in ~/.cache/cdc/fuzz
	@integration/setup build
	for source in mysql postgres; do \
		cargo run --locked -p cdc-$$source --features fuzzing --example fuzz_seeds -- $(FUZZ)/seeds; \
		(cd connectors/$$source/fuzz && RUSTFLAGS="$(COUNTED)" \
			cargo build --release --locked --target x86_64-unknown-linux-gnu --target-dir $(FUZZ)/target); \
	done
	for target in log statements stream; do \
		mkdir -p $(FUZZ)/$$target; \
		$(FUZZ)/target/x86_64-unknown-linux-gnu/release/$$target -max_total_time=$(SECONDS) -timeout=10 -max_len=16384 \
			-dict=connectors/mysql/fuzz/statements.dict -artifact_prefix=$(FUZZ)/$$target-found- \
			$(FUZZ)/$$target $(FUZZ)/seeds/$$target; \
	done

setup: ## what builds and tests need on this machine
	@integration/setup

fmt: ## format the code
	cargo fmt --all

lint: ## clippy, warnings are errors
	@integration/setup build
	$(FUZZ_LOCKED)
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --test kafka_oracle --test kafka_takeover --locked -- -D warnings

docs: ## the code's documentation; prints its path last
	@integration/setup build
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	@echo $(CARGO_TARGET_DIR)/doc/cdc/index.html
