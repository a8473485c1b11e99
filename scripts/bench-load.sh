#!/usr/bin/env bash
# Measures the sensor under load. usage: scripts/bench-load.sh --palisade FILE [--floor FILE]
#
# `--floor` is the example of crate bpf that puts an empty program at the dispatcher's hook:
# what is measured beside it is what the kernel itself takes.
#
# Own CPU time for an event, a flood of events with nothing lost, what the hook itself costs, and
# what a Redis and an nginx lose. BENCH_SECONDS is the length of the flood (60), BENCH_RATE its
# events a second (200000), BENCH_ROUNDS the number of pairs of runs without and with the sensor.
#
# Every ratio is the median of rounds that measure without and with the sensor, in turns that
# change their order, so that a neighbour's noise and a drifting clock hit both. Throughput is
# that of a second of the server's CPU time.
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade
floor=""
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        --floor) floor=$(realpath "$2"); shift 2 ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
if [ "$(id -u)" -ne 0 ]; then
    echo "error: the benchmarks load eBPF programs, so they need root" >&2
    exit 3
fi
palisade=$(realpath "$palisade")
rounds=${BENCH_ROUNDS:-5}
seconds=${BENCH_SECONDS:-60}
rate=${BENCH_RATE:-200000}
work=$(mktemp -d /dev/shm/palisade-bench.XXXXXX)
chmod 755 "$work" # nginx's worker is another user
pids=()
watcher=""
cleanup() {
    for pid in $watcher "${pids[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done || true
    rm -rf "$work"
}
trap cleanup EXIT
export PALISADE_DATA_DIR=$work/data PALISADE_RUN_DIR=$work/run PALISADE_QUIET=true
gcc -O2 -o "$work/loops" benches/loops.c
echo content >"$work/opened"

# Falco's stable rules where the conformance material is, else the built-in ones.
rules=()
stable=${PALISADE_SHARED:-../shared}/conformance/falco/rules/falco_rules.yaml
what="the built-in rules"
if [ -f "$stable" ]; then
    rules=(--no-builtin-rules --rules "$stable")
    what="Falco's stable rules"
fi

median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
row() { printf '| %s | %s |\n' "$1" "$2"; }
ticks=$(getconf CLK_TCK)
cpu_of() { # pid… -> CPU seconds of the processes so far
    local pid total=0
    for pid in "$@"; do
        total=$((total + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }')))
    done
    awk -v t="$total" -v hz="$ticks" 'BEGIN { print t / hz }'
}
start_watch() { # arguments…
    rm -f "$work/ready"
    "$palisade" watch --host --format json --ready-file "$work/ready" --stats "$@" \
        >"$work/alerts.jsonl" 2>"$work/stats.json" &
    watcher=$!
    for _ in $(seq 200); do
        [ -e "$work/ready" ] && return
        sleep 0.05
    done
    echo "error: the sensor did not start" >&2
    cat "$work/stats.json" >&2
    exit 3
}
stop_watch() {
    kill -TERM "$watcher"
    wait "$watcher" || true
    watcher=""
}
n_events() { awk -F'[:,]' '/"n_events"/ { print $2 + 0; exit }' "$work/stats.json"; }
n_lost() { # the sum over the classes
    tr -d '\n' <"$work/stats.json" | sed -n 's/.*"losses": *\[\([^]]*\)\].*/\1/p; s/.*"losses": *{\([^}]*\)}.*/\1/p' |
        grep -o '[0-9]\+' | awk '{ n += $1 } END { print n + 0 }'
}

start_floor() {
    "$floor" <"$work/floor.stdin" >"$work/floor.said" &
    watcher=$!
    exec 9>"$work/floor.stdin"
    for _ in $(seq 100); do
        [ -s "$work/floor.said" ] && return
        sleep 0.05
    done
    echo "error: the empty program was not attached" >&2
    exit 3
}
stop_floor() {
    exec 9>&-
    wait "$watcher"
    watcher=""
}
mkfifo "$work/floor.stdin"

# --- what the hook costs, and the dispatcher at it ---------------------------------------
if [ -n "$floor" ]; then
    for _ in $(seq "$rounds"); do
        before=$("$work/loops" getpid 2000000)
        start_floor
        empty=$("$work/loops" getpid 2000000)
        stop_floor
        start_watch "${rules[@]}"
        sleep 0.3
        ours=$("$work/loops" getpid 2000000)
        stop_watch
        echo "$before $empty $ours" >>"$work/hook"
    done
    row "a system call that nobody asked for: an empty program at the hook, the dispatcher" \
        "$(awk '{ print $2 - $1 }' "$work/hook" | median | xargs printf '+%.0f ns'), $(awk '{ print $3 - $1 }' "$work/hook" | median | xargs printf '+%.0f ns')"
fi

# --- a flood -------------------------------------------------------------------------------
start_watch "${rules[@]}" --rules benches/flood.yaml
sleep 0.5
before=$(cpu_of "$watcher")
read -r made took < <("$work/loops" flood "$rate" "$seconds" "$work/opened")
sleep 0.5
spent=$(awk -v a="$before" -v b="$(cpu_of "$watcher")" 'BEGIN { print b - a }')
peak=$(awk '/VmHWM/ { printf "%d", $2 / 1024 }' "/proc/$watcher/status")
stop_watch
row "$rate opens asked for a second for $seconds s: made, events seen, lost" \
    "$(awk -v n="$made" -v s="$took" 'BEGIN { printf "%.0f a second", n / s }'), $(n_events), $(n_lost)"
row "own CPU time for an event, $what" \
    "$(awk -v cpu="$spent" -v n="$(n_events)" 'BEGIN { printf "%.2f µs", cpu * 1e6 / n }')"
row "resident memory of watch in the flood, peak" "$peak MiB"

# --- what an event takes on the ring ----------------------------------------------------
# A workload of programs: compilations, and small programs of a shell.
start_watch "${rules[@]}"
for i in $(seq 20); do
    echo "int f$i(int x) { return x * $i; }" | gcc -O2 -x c -c -o "$work/f.o" -
    for _ in $(seq 10); do /bin/true; done
done
sleep 0.5
stop_watch
bytes=$(awk -F'[:,]' '/"n_ring_bytes"/ { print $2 + 0; exit }' "$work/stats.json")
row "bytes of an event on the ring, programs begun and ended, $what" \
    "$(awk -v b="$bytes" -v n="$(n_events)" 'BEGIN { printf "%.0f", b / n }') (mean of $(n_events))"

# --- servers ---------------------------------------------------------------------------------
port=$((20000 + $$ % 20000))
serve_redis() { redis-benchmark -p "$port" -q -n "${BENCH_REQUESTS:-200000}" -c 50 -t set,get >/dev/null; }
served_redis() { redis-cli -p "$port" info stats | awk -F: '/^total_commands_processed/ { print $2 + 0 }'; }
serve_nginx() { wrk -t 1 -c 32 -d "${BENCH_SERVER_SECONDS:-4}" "http://127.0.0.1:$port/page" >"$work/wrk"; }
once() { # name pids -> requests a CPU second
    local name=$1 before after requests
    shift
    if [ "$name" = redis ]; then
        requests=$(served_redis)
        before=$(cpu_of "$@")
        serve_redis
        after=$(cpu_of "$@")
        requests=$(($(served_redis) - requests))
    else
        before=$(cpu_of "$@")
        serve_nginx
        after=$(cpu_of "$@")
        requests=$(awk '/requests in/ { print $1 }' "$work/wrk")
    fi
    awk -v n="$requests" -v a="$before" -v b="$after" 'BEGIN { print n / (b - a) }'
}
compare() { # label name pids…
    local label=$1 name=$2 round off on empty=
    shift
    once "$@" >/dev/null # warm
    for round in $(seq "$rounds"); do
        [ $((round % 2)) -eq 0 ] || off=$(once "$@")
        if [ -n "$floor" ]; then
            start_floor
            empty=$(once "$@")
            stop_floor
        fi
        start_watch "${rules[@]}"
        on=$(once "$@")
        stop_watch
        [ $((round % 2)) -eq 1 ] || off=$(once "$@")
        echo "$off $on $empty"
    done >"$work/$name.rounds"
    local with
    with="$(change 2 "$work/$name.rounds") %"
    [ -z "$floor" ] || with+="; an empty program at the hook: $(change 3 "$work/$name.rounds") %"
    row "$label" "$(column 1 "$work/$name.rounds") → $(column 2 "$work/$name.rounds") k requests a CPU second ($with)"
}
column() { awk -v i="$1" '{ print $i / 1000 }' "$2" | median | xargs printf '%.1f'; }
change() { awk -v i="$1" '{ print ($i / $1 - 1) * 100 }' "$2" | median | xargs printf '%+.1f'; }
wait_for() { # file
    for _ in $(seq 100); do
        [ -e "$1" ] && return
        sleep 0.05
    done
    echo "error: $1 did not appear" >&2
    exit 3
}
if command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null; then
    redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$work" --pidfile "$work/redis.pid" \
        --daemonize no >"$work/redis.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 100); do
        redis-cli -p "$port" ping >/dev/null 2>&1 && break
        sleep 0.05
    done
    compare "Redis, set and get, 50 clients, $what" redis "${pids[-1]}"
else
    echo "skipped: Redis needs redis-server and redis-benchmark (packages redis-server, redis-tools)" >&2
fi
if command -v nginx >/dev/null && command -v wrk >/dev/null; then
    port=$((port + 1))
    head -c 1024 /dev/zero | tr '\0' x >"$work/page"
    cat >"$work/nginx.conf" <<CONF
worker_processes 1;
daemon off;
pid $work/nginx.pid;
error_log $work/nginx.log;
events { worker_connections 256; }
http {
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    server { listen 127.0.0.1:$port; root $work; }
}
CONF
    nginx -c "$work/nginx.conf" 2>/dev/null &
    pids+=($!)
    wait_for "$work/nginx.pid"
    sleep 0.3
    mapfile -t workers < <(pgrep -P "${pids[-1]}")
    compare "nginx, a file of 1 KiB, 32 clients, $what" nginx "${workers[@]}"
else
    echo "skipped: nginx needs nginx and wrk (packages nginx-light, wrk)" >&2
fi
