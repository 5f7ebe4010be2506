#!/usr/bin/env bash
# Makes the release archive and SHA256SUMS in target/dist. The same commit, Rust and C compiler give the same bytes,
# wherever the sources lie.
set -euo pipefail
cd "$(dirname "$0")/.."

tool() { command -v "$1" > /dev/null || cargo install --locked "$1" "${@:2}"; }
tool cargo-cyclonedx
tool cargo-about --features cli

if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) ||
        { echo "failed: neither SOURCE_DATE_EPOCH nor a commit says of when the release is"; exit 1; }
fi
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

# No path of this machine goes into the binary.
rust=$(rustc --print sysroot)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags=("--remap-path-prefix=$PWD=." "--remap-path-prefix=$cargo_home=/cargo" "--remap-path-prefix=$rust=/rust")
export CFLAGS="-ffile-prefix-map=$cargo_home=/cargo"

machine=$(uname -m)
triple=$machine-unknown-linux-musl
if ! [ -d "$rust/lib/rustlib/$triple" ]; then rustup target add "$triple" || true; fi 2> /dev/null
if [ -d "$rust/lib/rustlib/$triple" ] && command -v musl-gcc > /dev/null; then
    echo "static: $triple"
else
    [ -d "$rust/lib/rustlib/$triple" ] || echo "not with musl: Rust has no $triple here, and rustup cannot add it"
    command -v musl-gcc > /dev/null || echo "not with musl: no musl-gcc (Debian: musl-tools)"
    triple=$machine-unknown-linux-gnu
    flags+=(-C target-feature=+crt-static)
    echo "static: $triple, glibc linked in"
fi
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS

cargo build --release --locked --target "$triple"
binary=${CARGO_TARGET_DIR:-target}/$triple/release/claw-sessions
if readelf --dynamic --program-headers "$binary" | grep -E '\(NEEDED\)|INTERP'; then
    echo "failed: $binary needs a shared library"
    exit 1
fi

dist=target/dist
stage=$dist/stage
rm -rf "$dist"
mkdir -p "$stage/completions"
install -m 755 "$binary" "$stage/"
install -m 644 README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$stage/"
cp -r docs "$stage/"
"$stage/claw-sessions" man "$stage/man"
for to in bash:claw-sessions.bash zsh:_claw-sessions fish:claw-sessions.fish powershell:_claw-sessions.ps1 \
    elvish:claw-sessions.elv; do
    "$stage/claw-sessions" completions "${to%%:*}" > "$stage/completions/${to#*:}"
done
cargo about generate --locked --fail --config packaging/about.toml packaging/about.hbs > "$stage/THIRD-PARTY-LICENSES"
chmod -R u=rwX,go=rX "$stage"

# What went in, as CycloneDX; the path of the sources stays out.
sbom=claw-sessions.cdx
cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$triple" --override-filename "$sbom"
sed 's|path+file://[^#"]*|path+file:///claw-sessions|' "$sbom.json" > "$stage/$sbom.json"
# It writes one for each member of the workspace.
rm "$sbom.json" fuzz/"$sbom.json" tests/support/"$sbom.json"

version=$("$stage/claw-sessions" --version | cut -d ' ' -f 2)
name=claw-sessions-$version-$triple
chmod -R u=rwX,go=rX "$stage"
tar --create --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --directory="$stage" --transform="s,^\.,$name," . | gzip -9n > "$dist/$name.tar.gz"
(cd "$dist" && sha256sum "$name.tar.gz" > SHA256SUMS)

# The Homebrew formula of this archive. DIST_URL is where it will be fetched from.
sum=$(cut -d ' ' -f 1 "$dist/SHA256SUMS")
sed -e "s|@URL@|${DIST_URL:-file://$PWD/$dist}/$name.tar.gz|; s|@SHA256@|$sum|; s|@VERSION@|$version|" \
    packaging/homebrew/claw-sessions.rb > "$dist/claw-sessions.rb"

ls -l "$stage/claw-sessions" "$dist/$name.tar.gz"
cat "$dist/SHA256SUMS"
