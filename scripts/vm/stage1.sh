#!/bin/busybox sh
# First process of the guest: loads modules and moves into a root of its own, because the root
# file system of an initramfs cannot be left by pivot_root(2), which container runtimes call.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod "$module" || echo "guest: cannot load $module"; done
$b mount -t tmpfs -o size=80% root /new || exec $b poweroff -f
$b cp -a /system/. /new/ || echo "guest: copying the root failed"
$b umount /proc
$b umount /dev
exec $b switch_root /new /tests/init.sh
