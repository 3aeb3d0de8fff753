# Every target does its own set-up; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test check soak torture fleet sabotage mutants figures compare bench deb audit pictures
export PATH := $(HOME)/.cargo/bin:$(PATH)

# Seconds of load in the demo.
DURATION ?= 20
# KEEP=1 leaves the demo's gateway and hub up.
KEEP ?=
# Of the hot steps, and of faults: LONG=1 takes 10,000,000 entries too, UPDATE=1 writes the baseline, ONLY is a part of their names.
LONG ?=
UPDATE ?=
ONLY ?=
# The part of all mutants that is tried, as 0/20.
SHARD ?=

# Torture: minutes of it, or instead so many faults of a kind; the seed of a run to be done again, and one chapter of it.
MINUTES ?=
KILLS ?=
POWER_CUTS ?=
DAMAGED ?=
SEED ?=
CHAPTER ?=

TARGET = $$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
BINARIES = --bin kalitka-snapshot --bin kalitka-gateway --bin kalitka-hub --bin kalitka-loadgen

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## Install what a Debian machine lacks to build (every target calls it)
	@deploy/setup-debian

demo: setup ## An invented school's morning rush, every answer and report checked (DURATION=20 seconds, KEEP=1 leaves it up)
	cargo build --locked --release $(BINARIES)
	"$(TARGET)/release/kalitka-loadgen" demo --roster deploy/demo/roster --duration $(DURATION) $(if $(filter-out 0,$(KEEP)),--keep)

test: setup ## Everything at small size: unit tests, 1,000,000 asks against the reference, fuzz, whole system
	cargo test --locked --workspace

check: setup ## The quick part: format, lints, house rules, unit tests, the core's and the protocol's tests
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --workspace --lib --bins
	cargo test --locked --package kalitka-core --package kalitka-protocol --tests
	cargo test --locked --package kalitka-tests --test house --test pages

soak: setup ## The long form of everything: tests, torture, sabotage, mutants (many hours)
	KALITKA_SOAK=1 cargo test --locked --release --workspace
	$(MAKE) torture KILLS=1000 POWER_CUTS=200 DAMAGED=100
	$(MAKE) sabotage
	$(MAKE) mutants

torture: setup ## Kill, cut power, damage stores, spoil disks and networks under load, and compare every report (MINUTES=10, SEED=, KILLS=, POWER_CUTS=, DAMAGED=, CHAPTER=)
	cargo build --locked --release $(BINARIES) --bin kalitka-torture
	"$(TARGET)/release/kalitka-torture" $(if $(SEED),--seed $(SEED)) $(if $(CHAPTER),--chapter $(CHAPTER)) \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(if $(KILLS),--kills $(KILLS)) \
	  $(if $(POWER_CUTS),--power-cuts $(POWER_CUTS)) $(if $(DAMAGED),--damaged $(DAMAGED))

fleet: setup ## 500 gateways with a backlog resume on one hub that was away: a line RESULT
	KALITKA_SOAK=1 cargo test --locked --release --package kalitka-tests --test fleet -- --nocapture

sabotage: setup ## Put each fault of tests/sabotage.toml into a scratch copy; its named test must fail (ONLY='part of a name')
	cargo build --locked --package kalitka-tests --bin kalitka-sabotage
	"$(TARGET)/debug/kalitka-sabotage" "$(TARGET)/sabotage" $(if $(ONLY),'$(ONLY)')

mutants: setup ## cargo-mutants over the protocol and the core, hours of it (SHARD=k/n: a part)
	cargo mutants --version >/dev/null 2>&1 || { echo 'mutants: installing cargo-mutants'; cargo install --locked cargo-mutants; }
	cargo mutants --config tests/mutants.toml --package kalitka-protocol --package kalitka-core --output "$(TARGET)" $(if $(SHARD),--shard $(SHARD))

figures: setup ## Measure what docs/performance.md claims, as a Markdown table
	cargo build --locked --release $(BINARIES)
	cargo bench --locked --package kalitka-benches --bench figures
	cargo bench --locked --package kalitka-benches --bench durability

compare: setup ## The gateway against a bare echo, by turns on one core: ratios as a Markdown table and a line RESULT
	cargo build --locked --release --bin kalitka-gateway --bin kalitka-loadgen --bin kalitka-snapshot
	"$(TARGET)/release/kalitka-loadgen" compare --label "commit $$(git describe --always --dirty 2>/dev/null || echo unknown), $$(date -u +%F)"

pictures: setup ## Draw the README's pictures anew: dashboards and status page, from the real data of a run of the demo
	cargo build --locked --release $(BINARIES) --bin kalitka-pictures
	"$(TARGET)/release/kalitka-pictures"

bench: setup ## Every hot step by time and by instructions, against the baseline (ONLY='part of a name', LONG=1, UPDATE=1)
	@deploy/setup-debian valgrind || echo 'bench: going on without valgrind' >&2
	cargo bench --locked --package kalitka-benches --bench hot_path -- \
	  $(if $(filter-out 0,$(LONG)),--long) $(if $(filter-out 0,$(UPDATE)),--update) $(if $(ONLY),'$(ONLY)')

deb: setup ## Debian packages of gateway, hub, tools and pages, in target/deb
	@deploy/setup-debian dpkg-shlibdeps
	cargo build --locked --release $(BINARIES)
	rm -rf "$(TARGET)/deb"
	deploy/build-deb "$(TARGET)/release" "$(TARGET)/deb"

audit: setup ## Licences, sources and bans of the dependency tree, by cargo-deny
	cargo deny --version >/dev/null 2>&1 || { echo 'audit: installing cargo-deny'; cargo install --locked cargo-deny; }
	cargo deny check bans licenses sources
