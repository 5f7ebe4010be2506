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
for folder in first second-and-longer; do
    git clone --quiet . "$work/$folder"
    (cd "$work/$folder" && packaging/dist.sh && packaging/deb.sh)
    export CARGO_HOME=$work/other-cargo
done
(cd "$work/first/target/dist" && sha256sum ./*.tar.gz ./*.deb) > "$work/sums"
cat "$work/sums"
(cd "$work/second-and-longer/target/dist" && sha256sum --check "$work/sums")
echo "ok: two builds, the same bytes"
