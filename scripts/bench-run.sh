#!/usr/bin/env bash
# How long a container takes to start, run /bin/true and be gone: runC by itself and with us, Docker with and without our
# runtime. The two of a pair take turns; what is shown is the median of each and of their differences.
# usage: scripts/bench-run.sh --palisade FILE        (as root; BENCH_ROUNDS, default 40)
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
palisade=$(realpath "$palisade")
rounds=${BENCH_ROUNDS:-40}
[ "$(id -u)" -eq 0 ] || { echo "error: containers need root" >&2; exit 3; }
for program in runc busybox tar; do
    command -v "$program" >/dev/null || { echo "error: $program is not installed (scripts/install-deps.sh bench)" >&2; exit 3; }
done

work=$(mktemp -d /var/tmp/palisade-bench-XXXXXX)
chmod 711 "$work"
engine=""
clean() {
    # The first process of its namespace takes the engine with it.
    [ -z "$engine" ] || { kill -9 "$engine" 2>/dev/null; wait "$engine" 2>/dev/null; } || true
    find /sys/fs/cgroup -depth -type d -path "*/$(basename "$work")*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT
export PALISADE_DATA_DIR=$work/data PALISADE_RUN_DIR=$work/run PALISADE_QUIET=true
export PALISADE_RUNTIME_CONFIG=$work/runtime.json
echo "{\"policy\": \"baseline\", \"state\": \"$work/state\"}" >"$work/runtime.json"

# --- one static program as a root file system, a bundle, an image
mkdir -p "$work/root/bin" "$work/root/etc" "$work/root/tmp" "$work/links"
cp "$(command -v busybox)" "$work/root/bin/busybox"
for name in true sh; do ln -s busybox "$work/root/bin/$name"; done
# The small program where it is, as `palisade install` does.
small=$(dirname "$palisade")/palisade-runtime
[ -x "$small" ] || small=$palisade
ln -s "$small" "$work/links/palisade-runtime"
mkdir "$work/bundle"
runc spec --bundle "$work/bundle"
sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"sh"/"\/bin\/true"/' -e "s|\"path\": \"rootfs\"|\"path\": \"$work/root\"|" \
    "$work/bundle/config.json"
cp "$work/bundle/config.json" "$work/config.json"

median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
# Microseconds that a command takes.
time_of() {
    local start=${EPOCHREALTIME/./} end
    "$@" >/dev/null 2>"$work/error" </dev/null || { echo "error: $*: $(tail -n 3 "$work/error")" >&2; exit 3; }
    end=${EPOCHREALTIME/./}
    echo $((end - start))
}
# Label, then two functions that take turns.
pair() {
    local label=$1 one=$2 other=$3 i a b
    "$one" >/dev/null 2>&1 </dev/null && "$other" >/dev/null 2>"$work/error" </dev/null ||
        { echo "error: $label: $(tail -n 3 "$work/error")" >&2; exit 3; }
    : >"$work/one"; : >"$work/other"; : >"$work/difference"
    for i in $(seq "$rounds"); do
        # Who is first changes, so that neither always finds what the other warmed.
        if [ $((i % 2)) -eq 0 ]; then a=$(time_of "$one"); b=$(time_of "$other"); else b=$(time_of "$other"); a=$(time_of "$one"); fi
        echo "$a" >>"$work/one"; echo "$b" >>"$work/other"; echo $((b - a)) >>"$work/difference"
    done
    printf '| %s | %s | %s | %s |\n' "$label" \
        "$(median <"$work/one" | awk '{ printf "%.1f ms", $1 / 1000 }')" \
        "$(median <"$work/other" | awk '{ printf "%.1f ms", $1 / 1000 }')" \
        "$(median <"$work/difference" | awk '{ printf "%+.1f ms", $1 / 1000 }')"
}

n=0
next() { n=$((n + 1)); echo "bench-$$-$n-$RANDOM"; }
run_runc() { cp "$work/config.json" "$work/bundle/config.json"; runc --root "$work/runc" run --bundle "$work/bundle" "$(next)"; }
run_wrapped() {
    cp "$work/config.json" "$work/bundle/config.json"
    "$work/links/palisade-runtime" --root "$work/runc" run --bundle "$work/bundle" "$(next)"
}
# What the policy makes of the configuration: runC takes longer for its filter of system calls alone.
"$palisade" harden --policy baseline --output "$work/hardened.json" "$work/config.json"
run_hardened() { cp "$work/hardened.json" "$work/bundle/config.json"; runc --root "$work/runc" run --bundle "$work/bundle" "$(next)"; }
run_palisade() { "$palisade" run --policy "$work/policy.yaml" oci:"$work/layout" -- /bin/true; }
docker_of() { docker --host "unix://$work/sock" run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$@" box /bin/true; }
docker_plain() { docker_of --runtime runc; }
docker_ours() { docker_of --runtime palisade; }
# An image that must have been signed; that it was is decided and remembered.
signed=bench.example/box:1
docker_signed() { docker --host "unix://$work/sock" run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --runtime "$1" "$signed" /bin/true; }
docker_unasked() { docker_signed runc; }
docker_trusted() { docker_signed trusted; }

# --- the same files as an image
. scripts/layout.sh
write_layout "$work/root" "$work/layout"
printf 'version: 1\nname: bench\nimages: {verify: off}\n' >"$work/policy.yaml"

echo "| a container from start to end | without | with Palisade | difference |"
echo "|---|---|---|---|"
pair "\`runc run\`, and \`palisade-runtime run\` (\`baseline\`)" run_runc run_wrapped
pair "\`runc run\` with the configuration that it then gets, and \`palisade-runtime run\`" run_hardened run_wrapped
pair "\`runc run\`, and \`palisade run\` (\`baseline\`, layers checked and shared)" run_runc run_palisade

if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
    echo "Docker is not installed (scripts/install-deps.sh bench): left out" >&2
    exit 0
fi
cat >"$work/daemon.json" <<JSON
{"data-root": "$work/docker", "exec-root": "$work/exec", "pidfile": "$work/pid", "hosts": ["unix://$work/sock"],
 "storage-driver": "vfs", "bridge": "none", "iptables": false, "cgroup-parent": "/$(basename "$work")",
 "runtimes": {"palisade": {"path": "$work/links/palisade-runtime"},
  "trusted": {"path": "$work/links/palisade-runtime", "runtimeArgs": ["--palisade-config", "$work/trusted.json"]}}}
JSON
unshare --mount --pid --fork --kill-child --mount-proc --propagation private sh -c \
    "mkdir -p /run/docker; mount -t tmpfs tmpfs /run/docker; dockerd --config-file $work/daemon.json >$work/dockerd.log 2>&1; true" &
engine=$!
for _ in $(seq 120); do docker --host "unix://$work/sock" version >/dev/null 2>&1 && break; sleep 0.25; done
docker --host "unix://$work/sock" import "$work/layout.tar" box >/dev/null
pair "\`docker run\`, and with \`--runtime palisade\` (\`baseline\`)" docker_plain docker_ours

if ! command -v skopeo >/dev/null; then
    echo "skopeo is not installed (scripts/install-deps.sh test): the row with signatures is left out" >&2
    exit 0
fi
cd "$work"
skopeo --insecure-policy copy --quiet oci:layout "docker-archive:signed.tar:$signed" >/dev/null
docker --host "unix://$work/sock" load --quiet --input signed.tar >/dev/null
"$palisade" sign --generate-key "$work/key" >/dev/null
"$palisade" sign --key "$work/key.key" oci:layout >/dev/null
cat >signed.yaml <<YAML
version: 1
name: signed
images:
  verify: required
  remember_minutes: 600
  trust:
    - {name: bench, images: ["bench.example/*"], keys: [key.pub]}
YAML
"$palisade" verify --policy signed.yaml --reference "$signed" oci:layout >/dev/null
echo "{\"policy\": \"$work/signed.yaml\", \"state\": \"$work/state\", \"decisions\": \"$work/data/decisions\", \"verifier\": \"/bin/false\"}" >trusted.json
pair "\`docker run\`, and with signatures required and known" docker_unasked docker_trusted
