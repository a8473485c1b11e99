#!/usr/bin/env bash
# Packs the guest's first file system: busybox, the kernel's modules that are wanted, and the
# folder that becomes the root. usage: scripts/vm/initramfs.sh KERNEL SYSTEM FILE [MODULE…]
set -euo pipefail
kernel=$1 system=$2 file=$3
shift 3
version=$(cat "$kernel/version")
# The layers of containers, and a disk: the rest that tests need is built into Debian's kernels.
modules=(overlay virtio_pci virtio_blk ext4 "$@")

tree=$(mktemp -d "$file.XXXXXX")
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,proc,dev,new,modules}
cp /bin/busybox "$tree/bin/busybox"
cp "$(dirname "$0")/stage1.sh" "$tree/init"
PATH=$PATH:/sbin:/usr/sbin
n=0
modprobe -d "$kernel" -S "$version" --show-depends -a "${modules[@]}" | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
    while read -r module; do
        n=$((n + 1))
        to=$tree/modules/$(printf '%02d' "$n")-$(basename "${module%.xz}")
        # Busybox cannot unpack them.
        case "$module" in *.xz) xz -dc "$module" >"$to" ;; *) cp "$module" "$to" ;; esac
    done
# Uncompressed: an emulated machine unpacks slowly.
(cd "$tree" && find . -print0 | cpio --quiet --null -o -H newc) >"$file"
(cd "$(dirname "$system")" && find "$(basename "$system")" -print0 | cpio --quiet --null -o -H newc) >>"$file"
