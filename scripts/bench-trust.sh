#!/usr/bin/env bash
# Measures verification: what one signature costs, what one command against a registry on
# loopback costs, what a remembered decision costs, and the log.
#
# usage: scripts/bench-trust.sh [--palisade FILE] [--quick]
#
# --quick leaves the log of ten million entries out. What is missing is skipped with the reason.
set -euo pipefail
cd "$(dirname "$0")/.."
palisade=$PWD/target/release/palisade n_entries=10000000
while [ $# -gt 0 ]; do
    case $1 in
    --palisade) palisade=$(realpath "$2") && shift ;;
    --quick) n_entries=100000 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 2 ;;
    esac
    shift
done
work=$(mktemp -d) started=
trap 'if [ -n "$started" ]; then kill "$started"; fi; rm -rf "$work"' EXIT

# usage: measure N NAME COMMAND…: wall time, CPU time and memory of a command that must succeed.
measure=$work/measure
cat >"$measure" <<'P'
#!/usr/bin/env python3
import os, subprocess, sys, time
walls, cpus, most = [], [], 0
for _ in range(int(sys.argv[1])):
    begun = time.perf_counter()
    child = subprocess.Popen(sys.argv[3:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    walls.append(time.perf_counter() - begun)
    assert status == 0, f"{sys.argv[3:]} ended with {status}"
    cpus.append(used.ru_utime + used.ru_stime)
    most = max(most, used.ru_maxrss)
middle = lambda all: sorted(all)[len(all) // 2] * 1000
print(f"{sys.argv[2]}: wall {middle(walls):.1f} ms (worst {max(walls) * 1000:.1f}), CPU {middle(cpus):.1f} ms, memory {most / 1024:.1f} MB")
P
chmod +x "$measure"

echo "== signatures, one core, roots warm"
cargo test --quiet --release --locked -p palisade-trust --test it cost_of -- --ignored --nocapture --test-threads 1 2>&1 |
    grep 'each' || echo "skip: the conformance material is needed (\$PALISADE_SHARED)"
echo "== a remembered decision, with its keys and root read"
cargo test --quiet --release --locked -p palisade-policy --lib decisions::tests::cost -- --ignored --nocapture 2>&1 | grep 'cached'

echo "== the command, against a registry on loopback: 20 times"
if command -v docker-registry >/dev/null; then
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$work" "$port" >"$work/registry.yml"
    env -i docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
    started=$!
    until grep -q 'listening on' "$work/registry.log"; do sleep 0.1; done
    image=127.0.0.1:$port/team/shop:1
    mkdir "$work/root" && echo hello >"$work/root/hello"
    . scripts/layout.sh
    write_layout "$work/root" "$work/layout"
    export PALISADE_DATA_DIR=$work/data HOME=$work
    (cd "$work" && "$palisade" sign --generate-key shop >/dev/null 2>&1
        "$palisade" copy "oci:layout" "$image" >/dev/null 2>&1
        "$palisade" sign --key shop.key "$image" >/dev/null 2>&1)
    "$measure" 20 "verify --key, registry" "$palisade" verify --key "$work/shop.pub" "$image"

    echo "== the OCI runtime, create of a container of Docker's, handed over to /bin/true: 40 times"
    printf 'version: 1\nname: p\nimages: {verify: "off"}\n' >"$work/off.yaml"
    printf 'version: 1\nname: p\nimages:\n  verify: required\n  trust:\n    - name: shop\n      images: ["127.0.0.1:*/team/*"]\n      keys: [shop.pub]\n' >"$work/on.yaml"
    "$palisade" verify --policy "$work/on.yaml" "$image" >/dev/null 2>&1
    python3 - "$work" "$image" <<'P'
import json, os, sys
work, image = sys.argv[1:]
index = json.load(open(work + "/layout/index.json"))
blob = lambda digest: json.load(open(work + "/layout/blobs/sha256/" + digest.split(":")[1]))
config = blob(index["manifests"][0]["digest"])["config"]["digest"]
for folder in ["docker/containers/c1", "docker/overlay2/f/merged", "bundle"]:
    os.makedirs(os.path.join(work, folder))
json.dump({"Image": config, "Driver": "overlay2", "Config": {"Image": image}},
    open(work + "/docker/containers/c1/config.v2.json", "w"))
json.dump({"ociVersion": "1.0.2", "root": {"path": work + "/docker/overlay2/f/merged"}, "linux": {},
    "process": {"args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "capabilities": {}}},
    open(work + "/bundle/config.json", "w"))
for name in ["on", "off"]:
    json.dump({"policy": f"{work}/{name}.yaml", "runtime": "/bin/true", "state": work + "/state",
        "standing": work + "/data/standing.json", "decisions": work + "/data/decisions",
        "verifier": "/bin/false"}, open(f"{work}/{name}.json", "w"))
P
    for name in off on; do
        cp "$work/bundle/config.json" "$work/config.json"
        "$measure" 40 "create, signatures $name" "$(dirname "$palisade")/palisade-runtime" \
            --palisade-config "$work/$name.json" create --bundle "$work/bundle" c1
        cp "$work/config.json" "$work/bundle/config.json"
    done
else
    echo "skip: docker-registry is needed"
fi

echo "== the log"
cargo run --quiet --release --locked -p palisade-tlog --example measure_log "$work/log" "$n_entries"
