#!/usr/bin/env bash
# Makes the Debian package in target/dist from what dist.sh put there, and adds it to SHA256SUMS.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo-deb > /dev/null || cargo install --locked cargo-deb
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

dist=target/dist
version=$("$dist/stage/claw-sessions" --version | cut -d ' ' -f 2)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
cat > "$dist/changelog.Debian" << END
claw-sessions ($version-1) unstable; urgency=medium

  * Version $version: changelog.gz says what changed.

 -- $maintainer  $(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
END

rm -f "$dist"/*.deb
cargo deb --locked --no-build --no-strip --output "$dist/"
(cd "$dist" && sha256sum ./*.tar.gz ./*.deb | sed 's| \./| |' > SHA256SUMS)
ls -l "$dist"/*.deb
