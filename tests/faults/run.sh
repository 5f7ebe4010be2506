#!/usr/bin/env bash
# Every fault, as the user who calls this and, for root, as an ordinary user too. The figures go into
# docs/reliability.md. `FULL=` (empty) tries the sample that `make test` tries.
set -euo pipefail
cd "$(dirname "$0")/../.."

figures=$(mktemp -d)
trap 'rm -rf "$figures"' EXIT
chmod 777 "$figures"
if [ "${FULL-1}" ]; then export FULL=1; else unset FULL; fi
export FIGURES="$figures/all"

cargo test --locked --release --test faults --no-run
tests=$(cargo test --locked --release --test faults --no-run --message-format=json 2> /dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | grep /faults-)
# A gateway that runs on this machine is none of theirs.
alone=(unshare --pid --fork --mount-proc)
"${alone[@]}" true 2> /dev/null || alone=()
failed=0
"${alone[@]}" "$tests" || failed=1
if [ "$(id -u)" = 0 ]; then
    ordinary=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    if "${ordinary[@]}" test -x "$tests"; then
        chmod 666 "$FIGURES"
        # The compiler's own files may be closed to that user: a backtrace would only complain.
        RUST_BACKTRACE=0 "${alone[@]}" "${ordinary[@]}" "$tests" || failed=1
    else
        echo "skipped: as an ordinary user: $tests is closed to others, or there is no setpriv"
    fi
else
    echo "skipped: as root: run this as root too"
fi
tests/faults/table.sh "$FIGURES" docs/reliability.md
exit $failed
