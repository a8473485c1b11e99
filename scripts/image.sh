#!/usr/bin/env bash
# Builds the agent's image with buildah, starts it with podman and expects an alert of a canary
# container. `scripts/image.sh --help` has the usage; docs/guide/service.md says how it runs for good.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/image.sh [--base registry|debian] [--profile NAME] [--tag NAME] [--keep] [--no-build | --no-run]

  --base registry   the build's base is the one that packaging/Containerfile names [default]
  --base debian     or one that is made here: Debian by mmdebstrap, with this machine's toolchain
                    and crates mounted, for machines without a registry at hand
  --profile NAME    cargo's profile: dist or release [default: dist]
  --tag NAME        the image's name [default: localhost/palisade]
  --keep            keep the engine's storage, in target/image, where else it is removed
  --no-build        run the image that an earlier call with --keep has built
  --no-run          build only

The engines work in a storage of their own (target/image, vfs) and touch no other container.
Exit codes: 0 built, and the alert was seen; 1 not; 2 usage; 3 something is missing.
TEXT
}
base=registry profile=dist tag=localhost/palisade keep="" build=yes run=yes
while [ $# -gt 0 ]; do
    case "$1" in
        --base | --profile | --tag)
            if [ $# -lt 2 ]; then echo "error: \`$1\` takes a value" >&2; exit 2; fi
            case "$1" in --base) base=$2 ;; --profile) profile=$2 ;; --tag) tag=$2 ;; esac
            shift 2
            ;;
        --keep) keep=yes; shift ;;
        --no-build) build=""; shift ;;
        --no-run) run=""; shift ;;
        --help | -h) usage; exit 0 ;;
        *) echo "error: unknown argument \`$1\`" >&2; usage >&2; exit 2 ;;
    esac
done
case "$base" in registry | debian) ;; *) echo "error: --base is registry or debian, not \`$base\`" >&2; exit 2 ;; esac
case "$profile" in dist | release) ;; *) echo "error: --profile is dist or release, not \`$profile\`" >&2; exit 2 ;; esac
if [ "$(id -u)" -ne 0 ]; then
    echo "error: the image's agent loads eBPF programs, so this needs root" >&2
    exit 3
fi
tools=(buildah podman)
if [ "$base" = debian ]; then tools+=(mmdebstrap rustc); fi
for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null || {
        echo "error: no program \`$tool\`" >&2
        echo "  remedy: apt-get install buildah podman mmdebstrap (and a Rust toolchain)" >&2
        exit 3
    }
done

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
storage=$target/image
mkdir -p "$storage"
work=$(mktemp -d)
agent=palisade-agent-$$ canary=palisade-canary-$$
engine=(--root "$storage/root" --runroot "$storage/run" --storage-driver vfs)
# crun takes no hierarchy that is partly of version 2.
runtime=()
if [ -d /sys/fs/cgroup/unified ] && command -v runc >/dev/null; then runtime=(--runtime "$(command -v runc)"); fi
podman() { command podman "${engine[@]}" ${runtime[@]+"${runtime[@]}"} --cgroup-manager cgroupfs --events-backend file --tmpdir "$storage/tmp" "$@"; }
buildah() { command buildah "${engine[@]}" "$@"; }
cleanup() {
    # One at a time: where one is missing, podman removes neither.
    podman rm --force --time 2 "$agent" >/dev/null 2>&1 || true
    podman rm --force --time 2 "$canary" >/dev/null 2>&1 || true
    if [ -z "$keep" ]; then
        buildah rm --all >/dev/null 2>&1 || true
        podman rmi --all --force >/dev/null 2>&1 || true
        rm -rf "$storage"
    fi
    rm -rf "$work"
    if [ ${#made[@]} -gt 0 ]; then rmdir "${made[@]}" 2>/dev/null || true; fi
}
made=()
trap cleanup EXIT
trap 'exit 130' INT TERM

arguments=(--build-arg "PROFILE=$profile")
if [ -n "$build" ] && [ "$base" = debian ]; then
    if ! buildah inspect --type image localhost/palisade-build >/dev/null 2>&1; then
        echo "==> Making the build's base" >&2
        # shellcheck source=/dev/null
        suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
        mmdebstrap --quiet --variant=minbase \
            --include=ca-certificates,clang,llvm,libelf-dev,zlib1g-dev,gcc,libc6-dev,make,pkg-config \
            "$suite" "$work/base.tar"
        container=$(buildah from scratch)
        buildah add --quiet "$container" "$work/base.tar" / >/dev/null
        buildah config --env "PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$container"
        buildah commit --quiet "$container" localhost/palisade-build >/dev/null
        buildah rm "$container" >/dev/null
        rm "$work/base.tar"
    fi
    mkdir -p "$target/image-target"
    arguments+=(
        --build-arg RUST_IMAGE=localhost/palisade-build
        --volume "$(rustc --print sysroot):/opt/rust:ro"
        --volume "${CARGO_HOME:-$HOME/.cargo}:/root/.cargo"
        --volume "$target/image-target:/src/target"
    )
fi
if [ -n "$build" ]; then
    echo "==> Building $tag" >&2
    buildah build --isolation chroot --network host --format docker --file packaging/Containerfile \
        --ignorefile packaging/Containerfile.dockerignore --tag "$tag" "${arguments[@]}" . >"$work/build.log" 2>&1 || {
        tail -n 40 "$work/build.log" >&2
        echo "error: the image does not build" >&2
        exit 1
    }
fi
podman images --format '{{.Repository}} {{.Size}}' "$tag"
[ -n "$run" ] || exit 0

echo "==> Starting it" >&2
# Data of its own, so that an agent of this machine is not in the way.
mkdir -p "$work"/{state,data,etc}
# The host's folders are shown read-only; these are where the agent's own are mounted in them.
for folder in /run/palisade /var/lib/palisade; do
    if [ ! -d "$folder" ]; then mkdir -p "$folder"; made+=("$folder"); fi
done
cat >"$work/etc/rules.yaml" <<'RULES'
- rule: Image canary
  desc: The canary of scripts/image.sh.
  condition: evt.type in (open, openat) and fd.name = /palisade-image-canary
  output: canary (file=%fd.name process=%proc.name container=%container.name)
  priority: WARNING
RULES
# Less than any shell may have: a root in a sandbox cannot raise its limits, as engines do.
limits=(--ulimit nofile=16384:16384 --ulimit nproc=4096:4096)
extra=("${limits[@]}")
# Profiles of older engines allow bpf(2) with SYS_ADMIN alone.
seccomp=/usr/share/containers/seccomp.json
if [ -e "$seccomp" ] && ! grep -q CAP_BPF "$seccomp"; then extra+=(--security-opt seccomp=unconfined); fi
# Podman runs health checks by systemd's timers.
[ -S /run/systemd/private ] || extra+=(--no-healthcheck)
podman run --detach --name "$agent" "${extra[@]}" --pid host --cgroupns host --network host --read-only --tmpfs /tmp \
    --cap-drop all --cap-add BPF,PERFMON,SYS_PTRACE,DAC_READ_SEARCH \
    --security-opt no-new-privileges --security-opt apparmor=unconfined --security-opt label=disable \
    -v /run:/run:ro -v /var/lib:/var/lib:ro -v /sys/fs/cgroup:/sys/fs/cgroup:ro \
    -v /etc/passwd:/etc/passwd:ro -v /etc/group:/etc/group:ro -v "$work/etc:/etc/palisade:ro" \
    -v "$work/state:/run/palisade" -v "$work/data:/var/lib/palisade" \
    "$tag" watch --no-builtin-rules --rules /etc/palisade/rules.yaml --format json --respond off >/dev/null
wait_for() { # seconds command…
    local end=$((SECONDS + $1))
    until "${@:2}"; do
        if [ $SECONDS -ge $end ]; then return 1; fi
        sleep 0.5
    done
}
is_watching() { podman exec "$agent" /usr/local/bin/palisade status >/dev/null 2>&1; }
wait_for 60 is_watching || { podman logs "$agent" >&2; echo "error: the agent does not watch" >&2; exit 1; }
podman exec "$agent" /usr/local/bin/palisade status | head -n 5

# The canary: a container of the same engine, with a shell of this machine's busybox.
mkdir -p "$work/canary/bin"
cp "$(command -v busybox)" "$work/canary/bin/sh"
tar -C "$work/canary" -cf "$work/canary.tar" .
podman import --quiet "$work/canary.tar" localhost/palisade-canary >/dev/null
id=$(podman create --name "$canary" "${limits[@]}" --network none localhost/palisade-canary \
    /bin/sh -c 'echo secret >/palisade-image-canary')
podman start --attach "$canary"
# By its id: the name is in files of the engine that lie where no agent looks.
has_alert() { podman logs "$agent" 2>/dev/null | grep '"rule":"Image canary"' | grep -q "\"container\":{\"id\":\"$id\""; }
wait_for 20 has_alert || { podman logs "$agent" >&2; echo "error: no alert of the canary" >&2; exit 1; }
podman logs "$agent" 2>/dev/null | grep '"rule":"Image canary"' | head -n 1 | cut -c 1-300
podman stop --time 10 "$agent" >/dev/null
code=$(podman inspect --format '{{.State.ExitCode}}' "$agent")
[ "$code" -eq 0 ] || { echo "error: the agent ended with $code" >&2; exit 1; }
echo "the image's agent saw its canary, and ended by itself"
