#!/usr/bin/env bash
# Runs the tests over material made by others and prints a line for each group.
# $PALISADE_SHARED/conformance is the material; any folder of the same layout works.
set -uo pipefail
cd "$(dirname "$0")/.."

material=${PALISADE_SHARED:-../shared}/conformance
if [ ! -d "$material" ]; then
    echo "skipped: no conformance material at $material (set PALISADE_SHARED)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi

output=$(mktemp)
trap 'rm -f "$output"' EXIT
cargo test --workspace --locked --no-fail-fast --test it -- --nocapture --test-threads=1 \
    conformance legacy:: purls:: trivy:: versions:: root::e2e root::event_generator >"$output" 2>&1
code=$?
# The test's name stands on the line of the first thing that it prints.
sed -i 's/^test [^ ]* \.\.\. //' "$output"
# Each group prints `conformance GROUP: N passed, N failed[, N skipped (reason)]`.
grep -E '^conformance [^:]+: ' "$output" | sort -u
awk '
    /^conformance [^:]+: / {
        for (i = 1; i < NF; i++) {
            if ($(i + 1) ~ /^passed/) passed += $i
            if ($(i + 1) ~ /^failed/) failed += $i
            if ($(i + 1) ~ /^skipped/) skipped += $i
        }
    }
    END { printf "total: %d passed, %d failed, %d skipped\n", passed, failed, skipped }
' <(grep -E '^conformance [^:]+: ' "$output" | sort -u)
if [ "$code" -ne 0 ]; then
    grep -E '^(error|test .* FAILED|---- )|panicked' "$output" >&2
fi
exit "$code"
