# `make demo` runs the main job; `make test` runs everything. Both do all the set-up they need.

CARGO ?= cargo
TOOLS := $(or $(DRIVEMASTER_MON_TOOLS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/drivemaster-mon/tools)
DENY_VERSION := 0.20.2
BINARY := target/debug/drivemaster-mon

.PHONY: help demo test mutants mutants-of-objectives month bench soak failures tools lint golden build

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-21s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## build the sandbox's programs into the tool cache (once; some 45 minutes cold)
	@sandbox/build-tools.sh

build:
	@$(CARGO) build --locked

demo: tools build ## deploy the whole stack to a throwaway control plane, verify it, take it away
	@sh tests/support/demo.sh $(BINARY)

test: tools ## every test, against the real programs
	@sh tests/support/suite.sh $(CARGO)

bench: tools ## deploys beside helm (and helmfile, after bench-tools), the content beside promtool, Sloth and Pyrra
	@$(CARGO) test --quiet --locked --test programs_slo -- --nocapture cost::
	@$(CARGO) build --locked --release
	@sh tests/support/bench.sh target/release/drivemaster-mon $(TOOLS)/bin
	@BENCH_WRITE=1 $(CARGO) test --locked --release --test bench_deploys -- --ignored --nocapture --test-threads=1 deploys_ many_

bench-tools: ## build the benchmark's peer, helmfile (once; some 6 minutes)
	@sandbox/build-tools.sh helmfile

mutants: tools ## change every rule in every small way and see whether its unit tests notice; RULE=name for some
	@$(CARGO) test --locked --test programs_content -- --ignored --nocapture --exact mutants::every_mutant

mutants-of-objectives: tools ## the same for the rules that objectives are made into; most of an hour
	@$(CARGO) test --locked --test programs_content -- --ignored --nocapture every_mutant_of_the_objectives

month: tools ## 30 days of the healthy platform: no alert may fire, no budget may burn
	@$(CARGO) test --locked --test programs_content -- --nocapture a_month

soak: tools ## kill a hundred deploys at random points: the next one must come right; KILLS=number SEED=number
	@DRIVEMASTER_MON_KILLS="$(or $(KILLS),100)" $(if $(SEED),DRIVEMASTER_MON_SEED="$(SEED)") \
	    $(CARGO) test --locked --test sandbox_deploys -- --ignored --nocapture --exact soak

failures: tools ## seed every failure for us and for helm: who says what, and when; writes docs/failures.md
	@$(CARGO) test --locked --test sandbox_failures -- --ignored --nocapture --exact table_of_all

golden: tools ## rewrite the snapshots, then run them
	@UPDATE_GOLDEN=1 $(CARGO) test --locked --test golden_render --test docs
	@$(CARGO) test --locked --test golden_render --test docs

lint: $(TOOLS)/cargo/bin/cargo-deny ## format, clippy, dependency policy
	@$(CARGO) fmt --check
	@$(CARGO) clippy --locked --all-targets -- -D warnings
	@$(CARGO) clippy --locked --lib --bins --no-default-features -- -D warnings
	@$(TOOLS)/cargo/bin/cargo-deny --log-level error check bans licenses sources

$(TOOLS)/cargo/bin/cargo-deny:
	@echo "building cargo-deny $(DENY_VERSION) (usually 4 min)"
	@$(CARGO) install --quiet --locked cargo-deny --version $(DENY_VERSION) --profile dev --root $(TOOLS)/cargo
