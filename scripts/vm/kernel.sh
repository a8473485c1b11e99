#!/usr/bin/env bash
# Fetches Debian's newest cloud kernel of a series and prints the folder that holds it, unpacked.
# usage: scripts/vm/kernel.sh 5.10|6.1|6.12 CACHE
#
# apt works in a state folder of its own, with sources of its own, and verifies what it fetches
# by the archive's keys; nothing is installed and the machine's own apt is not touched.
set -euo pipefail
series=$1
cache=$2

case "$series" in
    5.10) suite=bullseye ;;
    6.1) suite=bookworm ;;
    6.12) suite=bookworm-backports ;;
    *) echo "error: no suite is known to have Linux $series" >&2; exit 2 ;;
esac
keys=/usr/share/keyrings/debian-archive-keyring.gpg
if [ ! -e "$keys" ]; then
    echo "error: the keys of Debian's archive are not at \`$keys\`" >&2
    echo "  remedy: apt-get install debian-archive-keyring" >&2
    exit 3
fi

# A kernel that was fetched within a week is new enough for tests.
latest=$cache/$series
if [ -e "$latest/vmlinuz" ] && [ -n "$(find "$latest/vmlinuz" -mtime -7)" ]; then
    echo "$latest"
    exit 0
fi

# The mirror that this machine uses for Debian, if it does.
mirror=${PALISADE_VM_MIRROR:-$(apt-get indextargets --format '$(SITE) $(ORIGIN) $(LABEL)' 2>/dev/null |
    awk '$2 == "Debian" && $3 == "Debian" { print $1; exit }')}
mirror=${mirror:-http://deb.debian.org/debian}
state=$cache/apt/$suite
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
echo "deb [signed-by=$keys arch=amd64] $mirror $suite main" >"$state/sources.list"
cat >"$state/apt.conf" <<CONF
Dir::Etc::SourceList "$state/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$state";
Dir::State::Lists "$state/lists";
Dir::State::status "/dev/null";
Dir::Cache "$state/cache";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Sandbox::User "";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
CONF
export APT_CONFIG=$state/apt.conf

fetch() {
    local package file version unpacked
    echo "==> Fetching Debian's Linux $series ($suite)" >&2
    apt-get -qq update >&2 || return 1
    package=$(apt-cache search --names-only "^linux-image-${series//./\\.}[.+].*cloud-amd64\$" |
        cut -d' ' -f1 | sort -V | tail -n 1)
    if [ -z "$package" ]; then
        echo "error: $mirror $suite has no cloud kernel of the series $series" >&2
        return 1
    fi
    unpacked=$(mktemp -d "$cache/unpack.XXXXXX")
    if ! (cd "$unpacked" && apt-get -qq download "$package" >&2); then
        rm -rf "$unpacked"
        return 1
    fi
    file=$(echo "$unpacked"/*.deb)
    dpkg-deb -x "$file" "$unpacked"
    rm "$file"
    version=${package#linux-image-}
    mv "$unpacked/boot/vmlinuz-$version" "$unpacked/vmlinuz"
    touch "$unpacked/vmlinuz"
    echo "$version" >"$unpacked/version"
    depmod -b "$unpacked" "$version"
    rm -rf "$latest"
    mv "$unpacked" "$latest"
}

if ! fetch; then
    if [ -e "$latest/vmlinuz" ]; then
        echo "warning: using the Linux $series that was fetched before" >&2
    else
        echo "error: cannot fetch Linux $series from $mirror" >&2
        echo "  remedy: see that the mirror can be reached, or name another in PALISADE_VM_MIRROR" >&2
        exit 3
    fi
fi
echo "$latest"
