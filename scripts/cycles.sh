#!/usr/bin/env bash
# Makes, enters and removes containers thousands of times, killing what does it in between, and looks for what is left.
# usage: scripts/cycles.sh --palisade FILE [--cycles N] [--jobs N] [--seed N]      (as root)
#
# Nine of twelve kinds of cycles go through `palisade run`, `exec` and `stop`, with a bridge, denied drift, a terminal and
# starts that fail among them; three through `palisade-runtime` in front of runC, called as an engine calls it. In seven kinds SIGKILL ends
# the program, or the container's first process, at a random moment. Containers of ordinary users are in no kind.
# Everything happens in namespaces of processes, mounts and networks of its own, so that what is left in them is ours.
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade cycles=10000 jobs=2 seed=$$
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        --cycles) cycles=$2; shift 2 ;;
        --jobs) jobs=$2; shift 2 ;;
        --seed) seed=$2; shift 2 ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
if [ "$(id -u)" -ne 0 ]; then
    echo "error: containers need root" >&2
    exit 3
fi
for program in runc busybox tar unshare ip nft script; do
    command -v "$program" >/dev/null || { echo "error: $program is not installed (scripts/install-deps.sh bench)" >&2; exit 3; }
done
palisade=$(realpath "$palisade")
if [ -z "${PALISADE_CYCLES_INSIDE:-}" ]; then
    export PALISADE_CYCLES_INSIDE=1
    exec unshare --mount --pid --net --fork --kill-child --mount-proc --propagation private \
        "$0" --palisade "$palisade" --cycles "$cycles" --jobs "$jobs" --seed "$seed"
fi
ip link set lo up

work=$(mktemp -d /var/tmp/palisade-cycles-XXXXXX)
name=$(basename "$work")
chmod 711 "$work"
# The first process of its namespace takes everything in it along.
clean() {
    find /sys/fs/cgroup -depth -type d -path "*/$name*" -exec rmdir {} + 2>/dev/null || true
    [ -n "${CYCLES_KEEP:-}" ] || rm -rf "$work"
}
trap clean EXIT
export PALISADE_DATA_DIR=$work/data PALISADE_RUN_DIR=$work/run PALISADE_QUIET=true
export PALISADE_RUNTIME_CONFIG=$work/runtime.json TMPDIR=$work/tmp
mkdir "$work/tmp" "$work/bundles" "$work/tally"
echo "{\"policy\": \"baseline\", \"state\": \"$work/state\"}" >"$work/runtime.json"

# --- one static program as a root file system, a configuration, an image
mkdir -p "$work/root/bin" "$work/root/etc" "$work/root/tmp"
cp "$(command -v busybox)" "$work/root/bin/busybox"
for link in true sh sleep; do ln -s busybox "$work/root/bin/$link"; done
mkdir "$work/links"
# The small program where it is, as `palisade install` does.
small=$(dirname "$palisade")/palisade-runtime
[ -x "$small" ] || small=$palisade
ln -s "$small" "$work/links/palisade-runtime"
mkdir "$work/model"
runc spec --bundle "$work/model"
sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"sh"/"\/bin\/sleep", "60"/' -e "s|\"path\": \"rootfs\"|\"path\": \"$work/root\"|" \
    "$work/model/config.json"
# The machine's own limits are no subject here.
sed -i -e '/"rlimits": \[/,/\],/d' "$work/model/config.json"
. scripts/layout.sh
write_layout "$work/root" "$work/layout"
printf 'version: 1\nname: cycles\nimages: {verify: off}\ncontainers: {user: image, tmpfs: [{path: /tmp, size: 1Mi}], network: none}\n' >"$work/policy.yaml"
sed 's/network: none/network: bridge/' "$work/policy.yaml" >"$work/bridge.yaml"
sed 's/user: image/user: non_root/' "$work/policy.yaml" >"$work/refuse.yaml"
# A user whom the image does not have, and one layer that is not what its digest says.
IMAGE_CONFIG='"Cmd":["/bin/true"],"User":"nobody-there"' write_layout "$work/root" "$work/nobody"
write_layout "$work/links" "$work/lie"
for out in "$work/lie"/blobs/sha256/*; do
    if [ "$(head -c 1 "$out")" != '{' ]; then printf x >>"$out"; fi
done

# --- what is counted before and after
mounts() { wc -l </proc/self/mountinfo; }
# In this namespace of processes: ours, and nobody else's.
processes() {
    local pid line
    for pid in /proc/[0-9]*; do
        line=$( (tr '\0' ' ' <"$pid/cmdline") 2>/dev/null || true)
        # Kernel threads are not in here; this script and its subshells are not what is looked for.
        case "$line" in '' | *cycles.sh*) ;; "tr "*) ;; *) echo "${pid#/proc/} $line" ;; esac
    done
}
# Containers' groups have random names below /palisade, which others may use meanwhile: those of before are not ours.
groups() { find /sys/fs/cgroup -maxdepth 4 -type d \( -path '*/palisade/*' -o -path "*/$name/*" \) 2>/dev/null | sort; }
# The bridge itself stays, as it is meant to; ports of containers do not.
ports() { { ip -o link show; nft list tables netdev; } | grep -vcE '^[0-9]+: (lo|palisade0)[:@]' || true; }
first_id=16777216
mounts_before=$(mounts)
groups >"$work/groups.before"

tally() { echo >>"$work/tally/$1"; }
counted() { if [ -f "$work/tally/$1" ]; then wc -l <"$work/tally/$1"; else echo 0; fi; }
fail() { tally failed; echo "cycle $1: $2" >>"$work/failures"; }
# Ends a command of ours by SIGKILL after up to $1 ms.
kill_within() { # ms command…
    local ms=$1 pid
    shift
    (exec "$@" >/dev/null 2>&1 </dev/null) &
    pid=$!
    sleep "0.$(printf '%03d' $((RANDOM % ms)))"
    if kill -KILL "$pid" 2>/dev/null; then tally killed; fi
    wait "$pid" 2>/dev/null || true
}
run() { "$palisade" run --policy "$work/policy.yaml" "$@"; }
detached() { # name
    tally ranges
    run --detach --name "$1" oci:"$work/layout" -- /bin/sleep 60
}
runtime=("$work/links/palisade-runtime" --root "$work/runc" --log-format json --log)
engine() { "${runtime[@]}" "$work/bundles/$1.log" "${@:2}" </dev/null >/dev/null 2>&1; }
bundle() { # id
    mkdir "$work/bundles/$1"
    sed "s|\"linux\": {|\"linux\": {\"cgroupsPath\": \"/$name/$1\",|" "$work/model/config.json" >"$work/bundles/$1/config.json"
}
unbundle() { rm -r "$work/bundles/$1" "$work/bundles/$1.log" 2>/dev/null || true; }

cycle() { # number kind
    local id=c$1 out pid code=0
    case "$2" in
        0) # to its end, with a code that the program has for nothing of its own
            tally ranges
            out=$(run oci:"$work/layout" -- /bin/sh -c 'exit 42' 2>&1 </dev/null) || code=$?
            [ "$code" -eq 42 ] || fail "$1" "run ended with $code, not 42: $out" ;;
        1) # detached, entered, stopped
            out=$(detached "$id" 2>&1 </dev/null) || fail "$1" "run --detach: $out"
            out=$("$palisade" exec "$id" -- /bin/true 2>&1 </dev/null) || fail "$1" "exec: $out"
            out=$("$palisade" stop --grace 0 "$id" 2>&1) || fail "$1" "stop: $out" ;;
        2) # run, killed at any moment: the next command finds what it left
            tally ranges
            kill_within 400 "$palisade" run --policy "$work/policy.yaml" oci:"$work/layout" -- /bin/sleep 60 ;;
        3) # the first process is killed behind our back
            out=$(detached "$id" 2>&1 </dev/null) || fail "$1" "run --detach: $out"
            pid=$("$palisade" ps --format tsv | awk -F'\t' -v name="$id" '$2 == name { print $4 }')
            if [[ $pid =~ ^[0-9]+$ ]] && kill -KILL "$pid" 2>/dev/null; then tally killed; fi ;;
        4) # as an engine does it
            bundle "$id"
            engine "$id" create --bundle "$work/bundles/$id" --pid-file "$work/bundles/$id/pid" "$id" || fail "$1" "create: $(tail -n 1 "$work/bundles/$id.log")"
            engine "$id" start "$id" || fail "$1" "start: $(tail -n 1 "$work/bundles/$id.log")"
            engine "$id" exec "$id" /bin/true || fail "$1" "exec: $(tail -n 1 "$work/bundles/$id.log")"
            engine "$id" delete --force "$id" || fail "$1" "delete: $(tail -n 1 "$work/bundles/$id.log")"
            unbundle "$id" ;;
        5) # create, killed at any moment; an engine then deletes by force
            bundle "$id"
            kill_within 120 "${runtime[@]}" "$work/bundles/$id.log" create --bundle "$work/bundles/$id" --pid-file "$work/bundles/$id/pid" "$id"
            engine "$id" delete --force "$id" || true
            # Nothing of ours stands in the bundle: what the engine put there, and runC's own `.pid`, which the engine takes away.
            for out in "$work/bundles/$id"/* "$work/bundles/$id"/.[!.]*; do
                case "${out##*/}" in config.json | pid | .pid | '*' | '.[!.]*') ;; *) tally bundle_files; fail "$1" "left in the bundle: $out" ;; esac
            done
            unbundle "$id" ;;
        6) # exec, killed at any moment
            bundle "$id"
            engine "$id" create --bundle "$work/bundles/$id" --pid-file "$work/bundles/$id/pid" "$id" || fail "$1" "create: $(tail -n 1 "$work/bundles/$id.log")"
            engine "$id" start "$id" || fail "$1" "start: $(tail -n 1 "$work/bundles/$id.log")"
            kill_within 60 "${runtime[@]}" "$work/bundles/$id.log" exec "$id" /bin/sleep 60
            engine "$id" delete --force "$id" || fail "$1" "delete: $(tail -n 1 "$work/bundles/$id.log")"
            unbundle "$id" ;;
        7) # exec of ours, killed at any moment
            out=$(detached "$id" 2>&1 </dev/null) || fail "$1" "run --detach: $out"
            kill_within 120 "$palisade" exec "$id" -- /bin/sleep 60
            out=$("$palisade" stop --grace 0 "$id" 2>&1) || fail "$1" "stop: $out" ;;
        8) # on the bridge: seen there, then killed with what looks after it
            tally ranges
            kill_within 600 "$palisade" run --policy "$work/bridge.yaml" oci:"$work/layout" -- /bin/sleep 60 ;;
        9) # programs refused by fanotify, killed at any moment: whoever waits for an answer must get one
            tally ranges
            kill_within 400 "$palisade" run --policy "$work/policy.yaml" --deny-drift oci:"$work/layout" -- \
                /bin/sh -c 'n=0; while [ $n -lt 300 ]; do /bin/true; n=$((n + 1)); done' ;;
        10) # on a terminal
            tally ranges
            out=$(script --quiet --return --command \
                "'$palisade' run --policy '$work/policy.yaml' --tty --interactive oci:'$work/layout' -- /bin/sh -c 'exit 42'" \
                /dev/null 2>&1 </dev/null) || code=$?
            [ "$code" -eq 42 ] || fail "$1" "run on a terminal ended with $code, not 42: $out" ;;
        11) # a start that fails, before there is a record and after
            tally ranges
            case $((RANDOM % 4)) in
                0) out=$(run oci:"$work/layout" -- /bin/absent 2>&1 </dev/null) || code=$? ;;
                1) out=$(run oci:"$work/nobody" 2>&1 </dev/null) || code=$? ;;
                2) out=$(run oci:"$work/lie" 2>&1 </dev/null) || code=$? ;;
                3) out=$("$palisade" run --policy "$work/refuse.yaml" oci:"$work/layout" 2>&1 </dev/null) || code=$? ;;
            esac
            case "$code" in 1 | 3 | 127) ;; *) fail "$1" "a start that must fail ended with $code: $out" ;; esac ;;
    esac
}
job() { # number
    RANDOM=$((seed + $1))
    local i
    for ((i = $1; i < cycles; i += jobs)); do
        cycle "$i" $((RANDOM % 12))
        tally done
    done
}
begun=$SECONDS
for ((j = 0; j < jobs; j++)); do job "$j" & done
while [ "$(jobs -rp | wc -l)" -gt 0 ]; do
    sleep 5
    [ -t 2 ] && printf '\r%s of %s' "$(counted done)" "$cycles" >&2
    [ -z "${CYCLES_LOG:-}" ] || echo "$(date +%T) $(counted done) of $cycles, $(counted failed) failed" >"$CYCLES_LOG"
done
wait || true
[ ! -t 2 ] || echo >&2

# --- what is left
# Half-written files of killed commands go with the next one that writes there.
tally ranges
run oci:"$work/layout" -- /bin/true >"$work/stop" 2>&1 </dev/null || fail end "run: $(cat "$work/stop")"
"$palisade" stop --all >/dev/null 2>"$work/stop" || fail end "stop --all: $(cat "$work/stop")"
status=0
row() { # what found allowed
    printf '| %s | %s |\n' "$1" "$2"
    if [ "$2" -ne "${3:-0}" ]; then status=1; fi
}
# A process that is being reaped, a group that is being removed: what is a leak is there ten seconds later.
for _ in $(seq 20); do
    processes >"$work/processes"
    groups | comm -13 "$work/groups.before" - >"$work/groups.left"
    [ -s "$work/processes" ] || [ -s "$work/groups.left" ] || break
    sleep 0.5
done
find "$work/run" "$work/data" "$work/state" "$work/tmp" "$work/runc" "$work/bundles" -mindepth 1 \
    ! -path "$work/data/layers*" ! -path "$work/data/ids" ! -path "$work/data/ids/ledger.*" ! -path "$work/data/logs*" \
    ! -path "$work/data/policies" ! -path "$work/data/policies/*.yaml" \
    ! -path "$work/state/runtimes*" ! -path "$work/run/runtimes*" ! -path "$work/run/names.lock" \
    ! -name lock ! -path "$work/run/containers" ! -path "$work/run/bundles" ! -path "$work/run/runc" ! -path "$work/data/containers" \
    2>/dev/null >"$work/files" || true
grep -ls "$work/run/" /run/palisade/network/*.json >>"$work/files" || true
# The first id that was not handed out: of those that were set aside, or the ledger's own.
next=$(sed -nE 's/.*"next":([0-9]+).*/\1/p' "$work/data/ids/ledger.aside" "$work/data/ids/ledger.json" 2>/dev/null | head -n 1 || true)
n_ranges=$(((${next:-$first_id} - first_id) / 65536))
echo "| cycles | $(counted done) in $((SECONDS - begun)) s, seed $seed, $jobs at a time |"
echo "| killed in between | $(counted killed) |"
row "cycles that went wrong" "$(counted failed)"
row "left: mounts" "$(($(mounts) - mounts_before))"
row "left: processes" "$(grep -c . "$work/processes" || true)"
row "left: control groups" "$(grep -c . "$work/groups.left" || true)"
row "left: ports of the bridge and their filters" "$(ports)"
row "left: files" "$(grep -c . "$work/files" || true)"
# Ranges are handed out in order and not returned: more of them than containers would be lost ones.
# The machine's register, which other data folders share: what names ours.
row "left: id ranges in the machine's register" "$({ find /var/lib/palisade/ranges -lname "$work/data/*" 2>/dev/null || true; } | wc -l)"
row "left: id ranges beyond one for each container" "$((n_ranges > $(counted ranges) ? n_ranges - $(counted ranges) : 0))"
if [ "$status" -ne 0 ]; then
    head -n 20 "$work/failures" >&2 2>/dev/null || true
    head -n 5 "$work/processes" "$work/groups.left" "$work/files" >&2 || true
fi
exit "$status"
