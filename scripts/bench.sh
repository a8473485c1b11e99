#!/usr/bin/env bash
# Measures and prints the performance table. usage: scripts/bench.sh --palisade FILE
#
# CPU time and ratios, not wall time: this survives a noisy neighbour. Every figure of the
# table in README.md and docs/performance.md comes from here.
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
if [ "$(id -u)" -ne 0 ]; then
    echo "error: the benchmarks load eBPF programs and run containers, so they need root" >&2
    exit 3
fi

rounds=${BENCH_ROUNDS:-5}
work=$(mktemp -d)
watcher=""
cleanup() {
    [ -z "$watcher" ] || { kill "$watcher" 2>/dev/null && wait "$watcher" 2>/dev/null; } || true
    "$palisade" stop --all >/dev/null 2>&1 || true
    rm -rf "$work" "$PALISADE_RUN_DIR"
}
trap cleanup EXIT
# The container's own root must reach the run folder, so it does not lie in a private one.
export PALISADE_DATA_DIR=$work/data PALISADE_RUN_DIR=/run/palisade-bench PALISADE_QUIET=true

gcc -O2 -o "$work/loops" benches/loops.c
gcc -O2 -static -x c -o "$work/true" - <<<'int main(void) { return 0; }'

median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
row() { printf '| %s | %s |\n' "$1" "$2"; }
cpu_of() { # command… -> CPU seconds, children included
    { /usr/bin/env TIMEFORMAT='%U %S' bash -c 'time "$@" >/dev/null 2>&1' _ "$@"; } 2>&1 | tail -n 1 | awk '{ print $1 + $2 }'
}

peak_of() { "$work/loops" rss 1 "$@"; } # command… -> peak resident memory in MiB

start_watch() { # arguments…
    rm -f "$work/ready"
    "$palisade" watch --host --format json --ready-file "$work/ready" --stats "$@" \
        >"$work/alerts.jsonl" 2>"$work/stats.json" &
    watcher=$!
    local tries
    for tries in $(seq 200); do
        [ -e "$work/ready" ] && return
        sleep 0.05
    done
    echo "error: the sensor did not start after $tries tries" >&2
    cat "$work/stats.json" >&2
    exit 3
}
stop_watch() {
    kill -TERM "$watcher"
    wait "$watcher" || true
    watcher=""
}

echo "| what | measured |"
echo "|---|---|"

# --- what the sensor costs those it watches --------------------------------------------
# Each round measures without and with the sensor, so that a neighbour's noise hits both.
build_workload() {
    local i
    for i in $(seq 30); do
        echo "int f$i(int x) { return x * $i; }" | gcc -O2 -x c -c -o "$work/f.o" -
    done
}
export -f build_workload
export work
measure() { # suffix
    "$work/loops" getpid 2000000 >>"$work/getpid.$1"
    "$work/loops" open 200000 >>"$work/open.$1"
    "$work/loops" exec 2000 "$work/true" >>"$work/exec.$1"
    cpu_of bash -c build_workload >>"$work/build.$1"
}
for _ in $(seq "$rounds"); do
    measure off
    start_watch
    sleep 0.5
    measure on
    awk '/VmHWM/ { print $2 / 1024 }' "/proc/$watcher/status" >>"$work/rss"
    stop_watch
done
compare() { # kind unit: medians, and the median of the rounds' ratios
    local ratio
    ratio=$(paste "$work/$1.off" "$work/$1.on" | awk '{ print ($2 / $1 - 1) * 100 }' | median)
    awk -v a="$(median <"$work/$1.off")" -v b="$(median <"$work/$1.on")" -v unit="$2" \
        -v ratio="$ratio" 'BEGIN { printf "%.4g → %.4g %s (%+.1f %%)", a, b, unit, ratio }'
}
row "a system call that nobody asked for (getpid)" "$(compare getpid ns)"
row "open and close of a file, host watched" "$(compare open ns)"
row "fork and exec of a static program, host watched" "$(compare exec ns)"
row "30 compilations, CPU time" "$(compare build s)"
row "resident memory of watch, peak" "$(median <"$work/rss" | cut -d. -f1) MiB"

# --- from the system call to the alert --------------------------------------------------
start_watch --no-builtin-rules --rules benches/rules.yaml --fold-seconds 0
sleep 0.5
echo canary >"$work/palisade-bench-canary"
for _ in $(seq 1200); do
    cat "$work/palisade-bench-canary" >/dev/null
    sleep 0.002
done
sleep 0.5
stop_watch
# `raised` minus `time` of each alert, as the journal holds them.
"$palisade" respond alerts --format tsv | awk -F'\t' '$4 == "Bench canary opened" { print $7 }' |
    sort -g >"$work/latency"
n=$(wc -l <"$work/latency")
if [ "$n" -lt 1000 ]; then
    echo "error: only $n of 1200 alerts arrived" >&2
    exit 3
fi
at() { sed -n "$(((n * $1 + 99) / 100))p" "$work/latency"; }
row "system call to alert, p50 / p99 of $n" "$(at 50) ms / $(at 99) ms"

# --- the other parts, on the demo's image ---------------------------------------------
image=${PALISADE_DEMO_DIR:-demo-out}/shop
if [ ! -f "$image/index.json" ]; then
    demo/image.sh "$image" "${PALISADE_DEMO_DIR:-demo-out}/work" >/dev/null
fi
size=$(du -sm "$image" | cut -f1)
for _ in $(seq "$rounds"); do cpu_of "$palisade" scan --no-cache "oci:$image"; done >"$work/scan"
row "scan of the demo's image ($size MB compressed), CPU" "$(median <"$work/scan") s"
row "its peak memory" "$(peak_of "$palisade" scan --no-cache "oci:$image") MiB"
for _ in $(seq "$rounds"); do cpu_of "$palisade" scan "oci:$image"; done >"$work/again"
row "the same image again, unchanged, CPU" "$(median <"$work/again") s"
"$palisade" sign --generate-key "$work/bench" >/dev/null 2>&1
cp -r "$image" "$work/signed"
"$palisade" sign --key "$work/bench.key" "oci:$work/signed" >/dev/null
for _ in $(seq "$rounds"); do cpu_of "$palisade" verify --key "$work/bench.pub" "oci:$work/signed"; done >"$work/verify"
row "verify of the same, every byte, CPU" "$(median <"$work/verify") s"
run_true() { "$palisade" run --policy baseline --entrypoint /bin/true "oci:$image"; }
run_true 2>/dev/null # unpacks the layers, which is not what is measured
wall_of() {
    local from
    from=$(date +%s%N)
    "$@" >/dev/null 2>&1
    echo $((($(date +%s%N) - from) / 1000000))
}
for _ in $(seq "$rounds"); do wall_of run_true; done >"$work/starts"
row "run of /bin/true in it to its end, layers present, wall" "$(median <"$work/starts") ms"
