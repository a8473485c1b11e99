#!/usr/bin/env bash
# Runs every test of the workspace.
#
# Tests of kernel, network and processes meet whatever else the machine does. A program of tests in
# which one failed is run once more, whole and on its own; what passes only then is named at the
# end, as it is a race in a test or in the product that wants to be found. What fails twice fails.
#
# usage: scripts/test.sh [CARGO-FLAG…]
set -uo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
# Below nohup a hangup is ignored by every program, those under test too, which are to heed it.
run=(env --default-signal=HUP "$cargo")
log=$(mktemp)
trap 'rm -f "$log"' EXIT

"${run[@]}" test --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
result=${PIPESTATUS[0]}
if [ "$result" -eq 0 ]; then
    exit 0
fi
# Cargo ends with the flags that run each failed program again: `-p palisade-sys --test it`.
mapfile -t failed < <(sed -n 's/^    `\(-p [a-z-]* --[a-z]*\( [a-z_-]*\)\{0,1\}\)`$/\1/p' "$log")
if [ ${#failed[@]} -eq 0 ]; then
    exit "$result" # it did not come to tests
fi
echo
for flags in "${failed[@]}"; do
    echo "==> once more: cargo test $flags"
    # shellcheck disable=SC2086 # several words
    "${run[@]}" test "$@" $flags || exit 1
done
echo
echo "warning: failed at first and passed when run again; the first failure is above:" >&2
printf '    cargo test %s\n' "${failed[@]}" >&2
