#!/usr/bin/env bash
# Builds the last commit twice, in two folders, the second with another home of Cargo, and compares what came out.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo_home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$work/other-cargo/registry"
cp -r "$cargo_home/registry/index" "$cargo_home/registry/cache" "$work/other-cargo/registry/"
PATH=$PATH:$cargo_home/bin

unset CARGO_TARGET_DIR
git clone --quiet . "$work/first"
git clone --quiet "$work/first" "$work/second-and-longer"
(cd "$work/first" && packaging/dist.sh && packaging/deb.sh)
(export CARGO_HOME=$work/other-cargo && cd "$work/second-and-longer" && packaging/dist.sh && packaging/deb.sh)
(cd "$work/first/target/dist" && sha256sum ./*.tar.gz ./*.deb) > "$work/sums"
cat "$work/sums"
(cd "$work/second-and-longer/target/dist" && sha256sum --check "$work/sums")
echo "ok: two builds, the same bytes"
