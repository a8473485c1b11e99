#!/usr/bin/env bash
# Installs what a make target needs and the machine lacks, by apt; says what and why.
# usage: scripts/install-deps.sh build|demo|test|bench|flood|vm|image …   (asks nothing)
set -euo pipefail

# package | command or file that proves it | needed for | why
list() {
    cat <<'TABLE'
gcc|gcc|build|links the program and compiles libbpf
make|make|build|runs the targets
pkg-config|pkg-config|build|finds libelf and zlib
libelf-dev|/usr/include/libelf.h|build|libbpf reads the probes' object file with it
zlib1g-dev|/usr/include/zlib.h|build|libelf needs it
runc|runc|demo|starts the container that Palisade has prepared
mmdebstrap|mmdebstrap|demo|makes the demo's image from real Debian packages
util-linux|nsenter|demo|lets the demo's attacker speak to the container's loopback
docker-registry|docker-registry|test|the registry that images are pushed to and pulled from
bpftool|bpftool|bench|loads the empty program that the dispatcher is compared with
redis-server|redis-server|bench|is watched while it serves
redis-tools|redis-benchmark|bench|asks it
nginx-light|nginx|bench|is watched while it serves
wrk|wrk|bench|asks it
podman|podman|test|is an engine whose containers the tests confine
docker.io|dockerd|test|is another, started by the tests with everything of its own
containerd|containerd|test|is a third
containernetworking-plugins|/usr/lib/cni/bridge|test|gives the pods of containerd's Kubernetes interface a network
python3-grpcio|/usr/lib/python3/dist-packages/grpc/__init__.py|test|speaks to that interface
lxc|lxc-start|test|is the engine of whole systems, started as it was and hardened
crun|crun|test|is the other runtime that is handed over to
uidmap|newuidmap|test|maps the ids of an ordinary user's containers
passt|pasta|test|is the network of an ordinary user's containers
slirp4netns|slirp4netns|test|is the other one
docker-compose|docker-compose|test|starts a project of two services
iptables|iptables|test|publishes the ports of Docker's containers
iproute2|ip|test|brings the loopback of Docker's namespace up
nftables|nft|test|filters what containers on a bridge send
python3|python3|test|is an attacking neighbour, and servers that break
perl|perl|test|is a server that crashes
openssl|openssl|test|is a server with an old TLS, and an authority of time
redis-server|redis-server|test|is probed with and without a password
gnupg|gpg|test|signs images and repositories
age|age|test|opens evidence that is encrypted
skopeo|skopeo|test|copies signed images
rpm|rpmbuild|test|makes and installs packages of RPM
createrepo-c|createrepo_c|test|makes their repositories
zstd|zstd|test|packs their indices
strace|strace|test|sees that nothing is connected to offline
libc6-dev|/usr/include/stdio.h|test|links the probe that tries what a container reaches
docker.io|dockerd|bench|is timed with and without the runtime
busybox-static|/bin/busybox|bench|is the container that is timed
busybox-static|/bin/busybox|test|the smallest real container for the tests
iproute2|ip|bench|shows what is left of containers' networks
nftables|nft|bench|filters what they send
bsdutils|script|bench|gives a container a terminal
binutils|strip|test|measures the stripped program
qemu-system-x86|qemu-system-x86_64|vm|runs other kernels
secilc|secilc|vm|compiles the module that SELinux is asked to hold
kmod|depmod|vm|finds the modules of the guests' kernels
cpio|cpio|vm|packs the guests' first file system
xz-utils|xz|vm|unpacks the modules of newer kernels
e2fsprogs|mkfs.ext4|vm|makes the guests' disk
debian-archive-keyring|/usr/share/keyrings/debian-archive-keyring.gpg|vm|verifies Debian's kernels
busybox-static|/bin/busybox|vm|is the guests' init
npm|npm|bench|installs packages into the large image
python3-pip|pip3|bench|installs packages into the large image
qemu-utils|qemu-img|bench|opens the disk of which the Alpine root is made
e2fsprogs|debugfs|bench|reads that root
unzip|unzip|bench|unpacks the package that brings it
perl|perl|flood|is the receiver that comes back
binutils|strip|vm|shortens the tests for the guests
runc|runc|vm|starts containers in the guests
apparmor|apparmor_parser|vm|compiles the containers' profiles in the guests
apparmor|apparmor_parser|test|compiles profiles
buildah|buildah|image|builds the agent's image
podman|podman|image|starts it
mmdebstrap|mmdebstrap|image|makes the base where no registry is at hand
busybox-static|/bin/busybox|image|is the canary's shell
TABLE
}

# The probes need any clang from 14 on; the newest that apt has is taken.
newest_clang() {
    local version
    for version in 19 18 17 16 15 14; do
        if apt-cache show "clang-$version" >/dev/null 2>&1; then
            echo "clang-$version"
            return
        fi
    done
    echo clang
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -- "$@"; fi
}

is_there() { # command or absolute path
    case "$1" in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
    esac
}

wanted=" $* "
missing=()
reasons=()
while IFS='|' read -r package proof purpose why; do
    case "$wanted" in *" $purpose "*) ;; *) continue ;; esac
    if ! is_there "$proof"; then
        missing+=("$package")
        reasons+=("$package: $why")
    fi
done < <(list)

needs_clang=no
case "$wanted" in *" build "*)
    needs_clang=yes
    for version in 19 18 17 16 15 14; do
        if is_there "clang-$version"; then needs_clang=no; fi
    done
    if is_there clang; then needs_clang=no; fi
    ;;
esac

if [ ${#missing[@]} -eq 0 ] && [ "$needs_clang" = no ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "error: this machine has no apt-get; install by hand: ${missing[*]} clang" >&2
    exit 3
fi

echo "==> Refreshing the package index" >&2
as_root apt-get -qq update
if [ "$needs_clang" = yes ]; then
    clang=$(newest_clang)
    missing+=("$clang")
    reasons+=("$clang: compiles the eBPF probes")
fi
echo "==> Installing, by apt, what is missing:" >&2
printf '      %s\n' "${reasons[@]}" >&2
# Older releases lack some (passt): the tests that need it say that they are skipped.
found=()
for package in "${missing[@]}"; do
    if apt-cache show "$package" >/dev/null 2>&1; then
        found+=("$package")
    else
        echo "warning: this release has no package $package" >&2
    fi
done
[ ${#found[@]} -eq 0 ] && exit 0
# Nothing that is there is taken away for it.
install() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends --no-remove "$@" >/dev/null
}
if ! install "${found[@]}"; then
    # One that cannot be beside what is there does not keep the others away.
    refused=()
    for package in "${found[@]}"; do
        install "$package" 2>/dev/null || refused+=("$package")
    done
    if [ ${#refused[@]} -gt 0 ]; then
        echo "error: apt does not install ${refused[*]} without taking something away" >&2
        echo "  remedy: see what is in the way with \`apt-get install --simulate ${refused[*]}\`; packages of one source must be of one version (apt-get install --allow-downgrades NAME=VERSION)" >&2
        exit 3
    fi
fi
