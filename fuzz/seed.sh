#!/usr/bin/env bash
# Fills corpus/ from the fixtures: every store, transcript, key and configuration in them, each once.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for archive in ../fixtures/real-*.tar.gz; do tar -xzf "$archive" -C "$work"; done
cp -r ../fixtures/crafted "$work"

# Files named on standard input, as seeds of a target, named by their content.
seed() {
    mkdir -p "corpus/$1"
    while read -r -d '' file; do cp "$file" "corpus/$1/$(sha1sum < "$file" | cut -c -40)"; done
    echo "$1: $(ls "corpus/$1" | wc -l) seeds"
}

find "$work" -path '*/sessions/*.jsonl*' ! -name '*.lock' -size -9k -print0 | seed transcript
find "$work" -path '*/sessions/sessions.json*' ! -name '*.lock' -size -64k -print0 | seed store

mkdir "$work/keys" "$work/policies"
grep -ohE '"(agent|global)[^"]*"' -r "$work" --include=sessions.json | sort -u | tr -d '"' \
    | split -l 1 -a 4 - "$work/keys/"
sed -n 's/^ *("\([^"]*\)", [A-Z][A-Za-z]*),$/\1/p' ../src/model/key.rs | split -l 1 -a 4 - "$work/keys/more-"
find "$work/keys" -type f -print0 | seed key

awk -v to="$work/policies/" '/^```/ { on = /^```toml/; n++; next } on { print > (to n) }' ../docs/*.md
find "$work" \( -name openclaw.json -o -path '*/policies/*' \) -type f -print0 | seed config
