#!/usr/bin/env bash
# Times the advisory database and the stored inventories on real feeds.
# usage: scripts/bench-feeds.sh --bench FILE   (the example `bench_feeds` of crate scan, release)
set -euo pipefail
cd "$(dirname "$0")/.."

bench=target/release/examples/bench_feeds
while [ $# -gt 0 ]; do
    case "$1" in
        --bench) bench=$2; shift 2 ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
feeds=${PALISADE_SHARED:-../shared}/feeds
if [ ! -d "$feeds" ]; then
    echo "skipped: no feeds at $feeds (set PALISADE_SHARED)"
    exit 0
fi
echo "| the advisory database, on real feeds | measured |"
echo "|---|---|"
"$bench" "$feeds"
