#!/usr/bin/env bash
# What dependencies may be: licences, bans and sources always, advisories when their database can be reached.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo-deny > /dev/null || cargo install --locked cargo-deny
cargo deny --locked check licenses bans sources
if cargo deny --locked fetch db > /dev/null 2>&1; then
    cargo deny --locked check --disable-fetch advisories
else
    echo "skipped: advisories: the database (RustSec, on GitHub) cannot be reached"
fi
