#!/usr/bin/env bash
# Builds the tests and puts them, with the programs and libraries they use, into the folder that
# becomes the guest's root. usage: scripts/vm/system.sh FOLDER TARGET PALISADE SUITE…
set -euo pipefail
cd "$(dirname "$0")/../.."
system=$1 target=$2 palisade=$3
shift 3
suites=("$@")

# Programs of this machine that the tests call, and the real bash: /dev/tcp is a feature of it.
programs=(bash sh cat cp rm mkdir rmdir mv ln ls chmod touch true false sleep date id env head tail
    tr grep sed awk timeout mount umount mktemp stat wc sort cut unshare nsenter runc unlink pivot_root dpkg-deb tar gzip xz)

# An engine, for ways out of its containers. It is asked for nothing that needs iptables, but looked
# for by the tests.
case " ${suites[*]} " in
    *" escapes "*) programs+=(dockerd docker docker-init containerd containerd-shim-runc-v2 ip iptables losetup) ;;
esac

mkdir -p "$system"/{usr/bin,usr/sbin,usr/lib,usr/lib64,etc,proc,sys,dev,run,tmp,root,mnt,tests}
mkdir -p "$system"/var/{tmp,lib,log}
# As in every distribution of today: tests that show a guest nothing but /usr rely on it.
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$system/$folder"; done
chmod 1777 "$system/tmp" "$system/var/tmp"

# A program or library at its own path, links resolved, and the libraries that it is linked with.
add() { # file
    local file=$1 library
    [ -e "$system$file" ] || install -D "$file" "$system$file"
    { ldd "$file" 2>/dev/null || true; } | awk '/=> \// { print $3 } /^\t\// { print $1 }' |
        while read -r library; do
            [ -e "$system$library" ] || install -D "$library" "$system$library"
        done
}
for name in "${programs[@]}"; do
    file=$(type -P "$name" || { [ -x "/usr/sbin/$name" ] && echo "/usr/sbin/$name"; } || true)
    if [ -z "$file" ]; then
        echo "error: no program \`$name\`, which the tests call in the guest" >&2
        echo "  remedy: scripts/install-deps.sh build demo test vm" >&2
        exit 3
    fi
    add "$file"
    # `/bin/true` is what tests call, wherever it lies here.
    [ -e "$system/bin/$name" ] || ln -s "$file" "$system/bin/$name"
    [ -e "$system/usr/bin/$name" ] || ln -s "$file" "$system/usr/bin/$name"
done
# Tests of profiles say that they are skipped where it is not.
if [ -x /usr/sbin/apparmor_parser ]; then
    add /usr/sbin/apparmor_parser
    # What profiles for the parser's own tools include.
    mkdir -p "$system/etc/apparmor.d"
    cp -r /etc/apparmor.d/{abi,abstractions,tunables} "$system/etc/apparmor.d/"
    # Without it the parser warns, and Docker takes the warning for its version.
    install -D -m 0644 /dev/null "$system/etc/apparmor/parser.conf"
fi
if [ -x /usr/bin/secilc ]; then add /usr/bin/secilc; fi
install -D /bin/busybox "$system/bin/busybox"
add "$palisade"
[ -e "$system/usr/bin/palisade" ] || ln -s "$palisade" "$system/usr/bin/palisade"

# The tests of crates, by suite; doctor, watch, enforce and service are scripts.
crates=()
for suite in "${suites[@]}"; do
    case "$suite" in
        doctor | watch | enforce | service) ;;
        palisade | escapes) crates+=(--package palisade) ;;
        *) crates+=(--package "palisade-$suite") ;;
    esac
done
: >"$system.build"
[ ${#crates[@]} -eq 0 ] ||
    "${CARGO:-cargo}" test --quiet "${crates[@]}" --locked --test it --no-run --message-format=json >"$system.build" ||
    { echo "error: the tests do not build" >&2; exit 3; }
for suite in "${suites[@]}"; do
    case "$suite" in
        doctor | watch | enforce | service) continue ;;
        escapes)
            crate=palisade
            for name in probe ways; do
                cc -static -O1 -o "$system/tests/$name" "crates/palisade/tests/probe/$name.c"
            done
            ;;
        *) crate=$suite ;;
    esac
    binary=$(sed -n "s|.*\"package_id\":\"[^\"]*/crates/$crate#.*\"kind\":\\[\"test\"\\].*\"executable\":\"\\([^\"]*\\)\".*|\\1|p" "$system.build")
    if [ -z "$binary" ]; then
        echo "error: cargo names no test program of crate $crate" >&2
        exit 3
    fi
    add "$binary"
    mv "$system$binary" "$system/tests/$suite"
    strip --strip-debug "$system/tests/$suite"
done
rm "$system.build"
# Tests of the program call it by the path where cargo built it.
mkdir -p "$system$target/debug"
ln -sf "$palisade" "$system$target/debug/palisade"

# systemd, for the guests that it starts.
if [ -x /lib/systemd/systemd ]; then
    add /lib/systemd/systemd
    add /bin/systemctl
    [ -e "$system/usr/bin/systemctl" ] || ln -s /bin/systemctl "$system/usr/bin/systemctl"
    scripts/vm/systemd.sh "$system"
fi
cp scripts/vm/{init.sh,tests.sh,agent.sh,doctor.sh,watch.sh,enforce.sh} "$system/tests/"
printf '%s\n' "${suites[@]}" >"$system/tests/suites"

echo palisade-guest >"$system/etc/hostname"
printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n' >"$system/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$system/etc/group"
(umask 077 && printf 'root:*:19000:0:99999:7:::\n' >"$system/etc/shadow")
printf '127.0.0.1 localhost palisade-guest\n::1 localhost\n' >"$system/etc/hosts"
echo 0123456789abcdef0123456789abcdef >"$system/etc/machine-id"
cp /etc/os-release "$system/etc/os-release"
: >"$system/etc/ld.so.cache"
