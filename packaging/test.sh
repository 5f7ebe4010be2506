#!/usr/bin/env bash
# Runs what is in target/dist: the archive's binary with nothing around it, the Debian package installed and removed
# again. What this machine cannot do is skipped by name.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
ok() { echo "ok: $*"; }
skipped() { echo "skipped: $*"; }
fail() {
    echo "failed: $*"
    exit 1
}
has() { command -v "$1" > /dev/null; }

dist=$PWD/target/dist
archive=$(echo "$dist"/claw-sessions-*.tar.gz)
deb=$(echo "$dist"/claw-sessions_*.deb)
fixture=$PWD/fixtures/real-gateway.tar.gz
now=(--now 2026-11-23T12:00:00Z --no-cache)
clean=(env -i PATH="$PATH:/usr/sbin:/sbin" HOME=/home TZ=UTC OPENCLAW_GATEWAY_PORT=1) # port 1 has no listener
# Root by right, or in a user namespace, where one may be made.
root=()
[ "$(id -u)" = 0 ] || root=(unshare --map-root-user)

echo "== $(basename "$archive")"
(cd "$dist" && sha256sum --check --quiet SHA256SUMS)
ok "SHA256SUMS"
tar -xzf "$archive" -C "$work"
unpacked=$(echo "$work"/claw-sessions-*)
binary=$unpacked/claw-sessions
file --brief "$binary" | cut -d , -f 1-5
! readelf --dynamic --program-headers "$binary" | grep -E '\(NEEDED\)|INTERP' || fail "it needs a shared library"
ok "no shared library is needed"
size=$(stat --format=%s "$binary")
limit=8000000
[[ $archive != *-gnu.tar.gz ]] || limit=8500000 # glibc is larger than musl
[ "$size" -le "$limit" ] || fail "the binary has $size bytes, more than $limit"
ok "the binary has $size bytes"
! grep -aqF -e "$PWD" -e "${CARGO_HOME:-$HOME/.cargo}" "$binary" || fail "a path of this machine is in the binary"
ok "no path of this machine is in the binary"
for file in README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE THIRD-PARTY-LICENSES claw-sessions.cdx.json \
    man/claw-sessions.1 man/claw-sessions-gc.1 completions/claw-sessions.bash completions/_claw-sessions \
    completions/claw-sessions.fish completions/_claw-sessions.ps1 completions/claw-sessions.elv \
    docs/install.md docs/systemd/user/claw-sessions-night.timer; do
    [ -s "$unpacked/$file" ] || fail "$file is missing"
done
ok "all files are there"
bash -n "$unpacked/completions/claw-sessions.bash"
# Every crate that is linked in is in the bill of materials and in the licences, under its version.
triple=$(basename "$archive" .tar.gz | grep -o "$(uname -m)-.*")
cargo tree --locked --edges normal,no-proc-macro --target "$triple" --prefix none --format '{p}' |
    sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1 \2/p' | sort -u | grep -v '^claw-sessions ' > "$work/crates"
[ "$(wc -l < "$work/crates")" -gt 20 ] || fail "the crates are not known"
while read -r name version; do
    grep -qF "pkg:cargo/$name@$version" "$unpacked/claw-sessions.cdx.json" || fail "$name $version is not in the SBOM"
    grep -qwF "$name $version" "$unpacked/THIRD-PARTY-LICENSES" || fail "$name $version is not in THIRD-PARTY-LICENSES"
done < "$work/crates"
ok "$(wc -l < "$work/crates") crates are in the SBOM and in THIRD-PARTY-LICENSES"

if "${root[@]}" true 2> /dev/null; then
    mkdir -p "$work/before" "$work/empty/home"
    tar --no-same-owner -xpzf "$fixture" -C "$work/before"
    before=$work/before/real-gateway/.openclaw
    cp -a "$before" "$work/empty/home/"
    cp "$binary" "$work/empty/"
    inside() { "${clean[@]}" "${root[@]}" chroot "$work/empty" /claw-sessions "$@" "${now[@]}"; }
    inside scan --json > "$work/inside.json"
    "${clean[@]}" HOME="$work/empty/home" "$binary" scan --json "${now[@]}" | sed "s|$work/empty||g" > "$work/outside.json"
    cmp "$work/inside.json" "$work/outside.json" || fail "a scan in the empty root tells something else"
    inside gc -q
    ! diff -rq --exclude=claw-sessions "$before" "$work/empty/home/.openclaw" > /dev/null || fail "gc took nothing"
    inside restore latest
    diff -r --exclude=claw-sessions "$before" "$work/empty/home/.openclaw" || fail "not everything came back"
    ok "scan, gc and restore in a root without any other file"
else
    skipped "the binary in an empty root: neither root nor a user namespace"
fi

echo "== $(basename "$deb")"
if has lintian; then
    lintian --fail-on error,warning "$deb"
    ok "lintian"
else
    skipped "lintian: not installed (Debian: lintian)"
fi

# All files of a root but those that dpkg and man keep for themselves.
files() { (cd "$1" && find . -xdev \( -path ./var/log -o -path ./var/cache -o -path ./var/lib/dpkg \) -prune -o -print | sort); }
# How to run dpkg, and a program, in this root.
try() {
    local name=$1 at=$2
    files "$at" > "$work/files.before"
    dpkg_there --install "$deb"
    there /usr/bin/claw-sessions --version
    "${clean[@]}" HOME="$work" "$at/usr/bin/claw-sessions" completions bash | cmp - "$at/usr/share/bash-completion/completions/claw-sessions"
    local page
    for page in "$unpacked"/man/*.1; do
        gzip -dc "$at/usr/share/man/man1/$(basename "$page").gz" | cmp - "$page"
    done
    if [ -x "$at/usr/bin/man" ]; then there man -w claw-sessions claw-sessions-gc; else skipped "man -w: no man in $name"; fi
    for page in "$at"/etc/systemd "$at"/lib/systemd "$at"/usr/lib/systemd; do
        [ ! -d "$page" ] || [ -z "$(find "$page" -name '*claw-sessions*')" ] || fail "a unit is installed"
    done
    dpkg_there --install "$deb" # once more, as an upgrade
    local how
    for how in --remove --purge; do
        dpkg_there "$how" claw-sessions
        files "$at" > "$work/files.after"
        diff "$work/files.before" "$work/files.after" || fail "$how left files behind, or took others away"
        [ "$how" = --purge ] || dpkg_there --install "$deb"
    done
    ok "installed, run, upgraded, removed and purged in $name; nothing is left"
}

private=$work/private
mkdir -p "$private/var/lib/dpkg/updates" "$private/var/lib/dpkg/info"
touch "$private/var/lib/dpkg/status" "$private/var/lib/dpkg/available"
dpkg_there() { "${root[@]}" dpkg --root="$private" --log=/dev/null "$@" > /dev/null; }
there() { "${clean[@]}" "$private$1" "${@:2}"; }
if ! has dpkg; then
    skipped "a private root: no dpkg"
elif ! "${root[@]}" true 2> /dev/null; then
    skipped "a private root: neither root nor a user namespace"
else
    try "a private root" "$private"
fi

suite=${SUITE:-bookworm}
clean_root=$work/$suite
if [ "$(id -u)" != 0 ]; then
    skipped "a clean Debian $suite: not root"
elif ! has debootstrap; then
    skipped "a clean Debian $suite: not installed (Debian: debootstrap)"
elif ! debootstrap --variant=minbase --include=man-db "$suite" "$clean_root" > "$work/debootstrap.log" 2>&1; then
    skipped "a clean Debian $suite: debootstrap failed: $(tail -n 1 "$work/debootstrap.log")"
else
    there() { "${clean[@]}" PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$clean_root" "$@"; }
    dpkg_there() {
        cp "$deb" "$clean_root/var/cache/"
        there dpkg "$1" "${2/#$dist//var/cache}"
    }
    try "a clean Debian $suite" "$clean_root"
fi

echo "== files of other package managers"
grep -qF "$(sha256sum "$archive" | cut -d ' ' -f 1)" "$dist/claw-sessions.rb" || fail "the formula has another checksum"
! grep -n '@[A-Z0-9]*@' "$dist/claw-sessions.rb" || fail "the formula is not filled in"
check() {
    if has "$1"; then
        "$@" > /dev/null
        ok "$*"
    else
        skipped "$*: not installed"
    fi
}
check ruby -c "$dist/claw-sessions.rb"
check nix-instantiate --parse packaging/nix/flake.nix
check hadolint packaging/docker/Dockerfile
check shellcheck packaging/*.sh
