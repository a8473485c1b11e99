#!/usr/bin/env bash
# Measures how fast captures are replayed through rules. usage: scripts/bench-replay.sh --palisade FILE
#
# The five largest captures of the conformance material, uncompressed, one behind the other
# until there are ten million raw events, in memory. Prints rows of the performance table:
# CPU time of the whole process, and its peak memory.
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
material=${PALISADE_SHARED:-../shared}/conformance/falco
if [ ! -d "$material" ]; then
    echo "skipped: no conformance material at $material (set PALISADE_SHARED)" >&2
    exit 0
fi
rounds=${BENCH_ROUNDS:-5}
events=${BENCH_EVENTS:-10000000}
memory=/dev/shm
[ -w "$memory" ] || memory=${TMPDIR:-/tmp}
work=$(mktemp -d "$memory/palisade-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
row() { printf '| %s | %s |\n' "$1" "$2"; }
gcc -O2 -o "$work/loops" benches/loops.c

captures=$material/captures/sysflow
for name in mpm-preforked_full_capture objectstore_download namespaces_setns objectstore_upload alpine_alpine; do
    gzip -dcf "$captures/$name.scap"
done >"$work/once.scap"
raw_events() { "$palisade" replay --quiet --stats --rules "$1" "$2" 2>&1 >/dev/null | awk '$1 == "raw" && $2 == "events" { gsub(",", "", $3); print $3 }'; }
stable=$material/rules/falco_rules.yaml
once=$(raw_events "$stable" "$work/once.scap")
if ! [ "${once:-0}" -gt 0 ]; then
    echo "error: \`palisade replay --stats\` says no number of raw events" >&2
    exit 3
fi
copies=$(((events + once - 1) / once))
for _ in $(seq "$copies"); do cat "$work/once.scap"; done >"$work/all.scap"
n=$((copies * once))

# What the program's whole run takes: loading rules, reading, state, rules, output.
measure() { # what rules…
    local what=$1 file arguments=()
    shift
    for file in "$@"; do arguments+=(--rules "$file"); done
    for _ in $(seq "$rounds"); do
        /usr/bin/env TIMEFORMAT='%U %S' bash -c 'time "$@" >/dev/null 2>&1' _ \
            "$palisade" replay "${arguments[@]}" "$work/all.scap" 2>&1 | awk '{ print $1 + $2 }'
    done >"$work/cpu"
    local cpu peak
    cpu=$(median <"$work/cpu")
    peak=$("$work/loops" rss 1 "$palisade" replay "${arguments[@]}" "$work/all.scap" | tail -n 1)
    row "$what" "$(awk -v n="$n" -v cpu="$cpu" 'BEGIN { printf "%.2f M raw events / CPU s", n / cpu / 1e6 }'), ${cpu} s, peak ${peak} MiB"
}

row "raw events replayed" "$n ($copies × $once), $(du -m "$work/all.scap" | cut -f1) MiB uncompressed"
published=("$stable" "$material/rules/falco-incubating_rules.yaml" "$material/rules/falco-sandbox_rules.yaml")
measure "replay, Falco's stable rules (25)" "$stable"
measure "replay, all three published files (93 rules)" "${published[@]}"
mkdir "$work/same" "$work/varied"
perl benches/multiply-rules.pl same 10 "$work/same" "${published[@]}"
measure "replay, ten times as many: the same under other names (930 rules)" "$work"/same/*.yaml
perl benches/multiply-rules.pl varied 10 "$work/varied" "${published[@]}"
measure "replay, ten times as many: each with paths of its own (930 rules)" "$work"/varied/*.yaml
