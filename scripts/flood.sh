#!/usr/bin/env bash
# Floods a running `palisade watch` and prints what it survived. usage: scripts/flood.sh --palisade FILE [SCENARIO…]
#
# Scenarios: opens forks containers receiver kills. Each fails the script if the sensor died, grew past its
# bound, lost something without saying so, or missed the canary that follows.
# FLOOD_DOWN_SECONDS, FLOOD_OPENS, FLOOD_FORK_SECONDS, FLOOD_CONTAINERS, FLOOD_KILLS change how much there is of each.
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade
scenarios=()
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        opens|forks|containers|receiver|kills) scenarios+=("$1"); shift ;;
        *) echo "error: unknown argument $1; scenarios are opens, forks, containers, receiver, kills" >&2; exit 2 ;;
    esac
done
[ ${#scenarios[@]} -gt 0 ] || scenarios=(opens forks containers kills receiver)
if [ "$(id -u)" -ne 0 ]; then
    echo "error: the floods load eBPF programs and make control groups, so they need root" >&2
    exit 3
fi

# The state tables have room for 32,768 threads; a full sensor stays below this.
readonly MEMORY_MIB_MAX=${FLOOD_MEMORY_MIB:-128}
readonly PORT=${FLOOD_PORT:-18181}
work=$(mktemp -d)
groups=()
watcher=""
receiver=""
remove_groups() { # kills what is in them, and only that
    local group
    for group in ${groups[@]+"${groups[@]}"}; do
        for _ in $(seq 50); do
            [ -d "$group" ] || break
            xargs -r kill -KILL <"$group/cgroup.procs" 2>/dev/null || true
            rmdir "$group" 2>/dev/null || sleep 0.1
        done
    done
    groups=()
}
cleanup() {
    local process
    for process in $watcher $receiver; do kill -KILL "$process" 2>/dev/null || true; done
    remove_groups
    rm -rf "$work" "$PALISADE_RUN_DIR"
}
trap cleanup EXIT
export PALISADE_DATA_DIR=$work/data PALISADE_RUN_DIR=/run/palisade-flood PALISADE_QUIET=true

gcc -O2 -static -o "$work/flood" benches/flood.c
fail() { echo "error: $*" >&2; tail -n 20 "$work/stats" >&2 || true; exit 1; }
row() { printf '| %s | %s |\n' "$1" "$2"; }

start_watch() { # arguments…
    rm -f "$work/ready"
    "$palisade" watch --host --format json --ready-file "$work/ready" --stats --fold-seconds 0 \
        --rules benches/flood-rules.yaml "$@" >>"$work/alerts.jsonl" 2>"$work/stats" &
    watcher=$!
    local tries
    for tries in $(seq 400); do
        [ -e "$work/ready" ] && return
        sleep 0.05
    done
    fail "the sensor did not start after $tries tries"
}
stop_watch() {
    kill -TERM "$watcher" 2>/dev/null || fail "the sensor is not alive"
    local code=0
    wait "$watcher" || code=$?
    # 4: something was lost, and said.
    [ "$code" -eq 0 ] || { [ "$code" -eq 4 ] && grep -q '^warning: .*lost' "$work/stats"; } ||
        fail "the sensor ended with code $code"
    watcher=""
}
cpu_of_watch() { awk '{ print ($14 + $15) / 100 }' "/proc/$watcher/stat"; }
peak_mib() { awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$watcher/status"; }
losses() { sed -n 's/^warning: .*lost: //p' "$work/stats" | grep . || echo nothing; }
counter() { sed -n "s/^ *\"$1\": \([0-9]*\),\?$/\1/p" "$work/stats" | head -n 1; }
canaries() { # count of distinct canary alerts in the journal
    "$palisade" respond alerts --format tsv | awk -F'\t' '$4 == "Flood canary opened" { print $NF }' | sort -u | wc -l
}
expect_canaries() { # before count
    local now
    for _ in $(seq 100); do
        now=$(canaries)
        [ "$now" -ge $(($1 + $2)) ] && return
        sleep 0.1
    done
    fail "after the flood $((now - $1)) of $2 canaries raised an alert"
}
after() { # what: the canary, the memory, the end
    local before peak cpu
    before=$(canaries)
    mkdir -p "$work/$1-canary"
    "$work/flood" canary "$work/$1-canary" 20 1000
    expect_canaries "$before" 20
    peak=$(peak_mib)
    cpu=$(cpu_of_watch)
    stop_watch
    [ "$peak" -le "$MEMORY_MIB_MAX" ] || fail "peak memory $peak MiB is above $MEMORY_MIB_MAX"
    row "$2" "alive, peak $peak MiB, $cpu s of CPU, $(counter n_events) events, lost: $(losses)"
}

echo "| flood | what became of it |"
echo "|---|---|"

flood_opens() {
    local count=${FLOOD_OPENS:-1000000}
    mkdir -p "$work/opens"
    start_watch
    "$work/flood" opens $((count / 2)) "$work/opens" &
    "$work/flood" opens $((count - count / 2)) "$work/opens" &
    wait %2 %3
    after opens "$count opens with random names of up to 4,095 bytes, two at a time"
}

flood_forks() {
    local seconds=${FLOOD_FORK_SECONDS:-20} limit=500
    # A control group of its own for processes and for the processor, as engines give each container.
    groups=(/sys/fs/cgroup/palisade-flood)
    [ -d /sys/fs/cgroup/pids ] && groups=(/sys/fs/cgroup/{pids,cpu}/palisade-flood)
    mkdir -p "${groups[@]}"
    [ -e "${groups[0]}/pids.max" ] || fail "no pids controller below /sys/fs/cgroup"
    echo "$limit" >"${groups[0]}/pids.max"
    start_watch
    # shellcheck disable=SC2016
    sh -c 'flood=$1 seconds=$2; shift 2; for g; do echo $$ >"$g/cgroup.procs" || exit 1; done; exec "$flood" forks "$seconds"' \
        _ "$work/flood" "$seconds" "${groups[@]}" || fail "the bomb could not be put into its groups"
    remove_groups
    after forks "fork bomb of $seconds s within $limit processes"
}

# A bundle without a spec of its own to speak of: what matters is that engines come and go.
bundle() {
    mkdir -p "$work/bundle/rootfs"
    cp "$work/flood" "$work/bundle/rootfs/flood"
    (cd "$work/bundle" && runc spec)
    sed -i -e 's/"terminal": true/"terminal": false/' \
        -e 's|"sh"$|"/flood", "canary", "/", "1", "0"|' "$work/bundle/config.json"
}
containers_of() { # worker count
    local i
    for i in $(seq "$2"); do
        runc --root "$work/runc" run --bundle "$work/bundle" \
            "$(printf '%064x' $(($1 * 100000 + i)))" </dev/null >/dev/null 2>>"$work/runc.log" || true
    done
}
flood_containers() {
    local count=${FLOOD_CONTAINERS:-1000} seen
    bundle
    start_watch
    containers_of 1 $((count / 2)) & 
    local first=$!
    containers_of 2 $((count - count / 2)) &
    wait "$first" $!
    for _ in $(seq 100); do
        seen=$(seen_containers)
        [ "$seen" -ge "$count" ] && break
        sleep 0.1
    done
    [ "$seen" -eq "$count" ] || fail "$seen of $count containers raised their alert: $(tail -n 3 "$work/runc.log")"
    after containers "$count containers started and ended by runc, each alert with its own container's id"
}
# The output ends with the first twelve characters of the id, which are all zero here: the column of the container has it whole.
seen_containers() {
    grep '"Flood canary opened"' "$work/alerts.jsonl" | grep -o '"container":{"id":"[0-9a-f]*"' | sort -u | wc -l
}

start_receiver() {
    perl benches/receiver.pl "$PORT" "$work/received" &
    receiver=$!
}
journal_ids() { "$palisade" respond alerts --format tsv | cut -f1; }
# Every alert of the journal has arrived; $1 says whether an identifier may come twice.
expect_delivered() {
    local missing
    for _ in $(seq 1200); do
        missing=$(comm -23 <(journal_ids | sort -u) <(sort -u "$work/received" 2>/dev/null))
        [ -z "$missing" ] && break
        sleep 0.1
    done
    [ -z "$missing" ] || fail "$(wc -l <<<"$missing") alerts never arrived"
    if [ "$1" = once ] && [ -n "$(sort "$work/received" | uniq -d)" ]; then
        fail "$(sort "$work/received" | uniq -d | wc -l) alerts arrived twice without a crash"
    fi
    # First arrivals stand in the journal's order.
    diff <(journal_ids) <(awk '!seen[$0]++' "$work/received") >/dev/null || fail "alerts arrived out of order"
}

flood_receiver() {
    local seconds=${FLOOD_DOWN_SECONDS:-600}
    rm -rf "$PALISADE_DATA_DIR" "$work/received"
    mkdir -p "$work/receiver"
    # The canaries alone: what else this machine does in so long a time would fill the sink's queue.
    start_watch --no-builtin-rules --sink "http://127.0.0.1:$PORT/alerts"
    "$work/flood" canary "$work/receiver" $((seconds * 10)) 100000
    start_receiver
    expect_delivered once
    local n
    n=$(wc -l <"$work/received")
    kill "$receiver"
    receiver=""
    after receiver "receiver down for $seconds s: $n alerts arrived, in order, each once"
}

flood_kills() {
    local rounds=${FLOOD_KILLS:-20} i shown
    rm -rf "$PALISADE_DATA_DIR" "$work/received" "$work/alerts.jsonl"
    mkdir -p "$work/kills"
    start_receiver
    for i in $(seq "$rounds"); do
        start_watch --sink "http://127.0.0.1:$PORT/alerts"
        "$work/flood" canary "$work/kills" 400 1000 &
        local storm=$!
        sleep "0.$((RANDOM % 40 + 10))"
        kill -KILL "$watcher"
        wait "$watcher" 2>/dev/null || true
        watcher=""
        wait "$storm"
    done
    start_watch --sink "http://127.0.0.1:$PORT/alerts"
    expect_delivered twice
    # What was shown is in the journal; a line cut by the kill was not shown.
    shown=$(grep -o '^{"schema":"[^"]*","id":"[^"]*"' "$work/alerts.jsonl" | grep -o '[^"]*"$' | tr -d '"' | sort -u)
    [ -n "$shown" ] || fail "no alert was shown"
    [ -z "$(comm -23 <(echo "$shown") <(journal_ids | sort -u))" ] || fail "an alert that was shown is not in the journal"
    kill "$receiver"
    receiver=""
    after kills "SIGKILL at $rounds moments of a storm of alerts: $(wc -l <<<"$shown") shown, all in the journal, all delivered, in order"
}

for scenario in "${scenarios[@]}"; do "flood_$scenario"; done
