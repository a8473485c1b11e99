#!/usr/bin/env bash
# Measures how fast a response is: from the attacking system call to the frozen container and
# to the cut network, 500 containers one after the other, idle and under load, and how long
# full evidence of fifty processes with 500 MB takes. Needs root. Touches control groups of its
# own and nothing else: the sensor looks at those alone.
#
#   scripts/bench-respond.sh            # builds with optimisation first
#   PALISADE_BENCH_PROFILE=dev scripts/bench-respond.sh
set -euo pipefail
cd "$(dirname "$0")/.."
profile="${PALISADE_BENCH_PROFILE:-release}"
flags=(--profile "$profile" -p palisade-agent -p palisade-respond --test it)
cargo test "${flags[@]}" --no-run

busy=()
cleanup() { [ ${#busy[@]} -eq 0 ] || kill "${busy[@]}" 2>/dev/null || true; }
trap cleanup EXIT

measure() { # label package filter
    echo "| $1 |"
    cargo test --profile "$profile" -p "$2" --test it -- --ignored --nocapture "$3" 2>&1 |
        sed -n 's/^measured: /|   | /p' | sed 's/$/ |/'
}
echo "| what | measured |"
echo "|---|---|"
measure idle palisade-agent latency
for _ in $(seq "$(nproc)"); do
    (while :; do :; done) &
    busy+=($!)
done
measure "every processor busy" palisade-agent latency
cleanup
busy=()
measure evidence palisade-respond measurement
