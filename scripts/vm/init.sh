#!/bin/busybox sh
# The guest's init: file systems, control groups as asked for, then the tests, then the end.
b=/bin/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs -o mode=1777 shm /dev/shm
$b mount -t tmpfs run /run
$b mount -t securityfs securityfs /sys/kernel/security
$b ln -s /proc/self/fd /dev/fd
# Containers' layers lie on a disk, as they do in life: a tmpfs cannot map ids before Linux 6.3.
$b mount -t ext4 /dev/vda /var/tmp && $b chmod 1777 /var/tmp && $b mount --bind /var/tmp /tmp
exec >/dev/ttyS0 2>&1 </dev/null
$b stty -F /dev/ttyS1 raw 2>/dev/null
$b hostname "$($b cat /etc/hostname)"
$b ip link set lo up
$b ip -6 addr add ::1/128 dev lo 2>/dev/null

option() { $b tr ' ' '\n' </proc/cmdline | $b sed -n "s/^palisade.$1=//p"; }
case "$(option cgroups)" in
    v2)
        # systemd mounts the same and finds it there.
        $b mount -t cgroup2 cgroup2 /sys/fs/cgroup
        for controller in cpuset cpu io memory pids; do
            echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
        done
        ;;
    hybrid)
        $b mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup
        for controller in cpuset cpu cpuacct blkio memory devices freezer pids; do
            $b mkdir "/sys/fs/cgroup/$controller"
            $b mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
        done
        $b mkdir /sys/fs/cgroup/unified
        $b mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
        ;;
esac
if [ "$(option init)" = systemd ]; then
    echo service >/tests/suites
    exec /lib/systemd/systemd
fi
echo "guest: $($b uname -r), control groups $(option cgroups), security modules $($b cat /sys/kernel/security/lsm)"
/bin/bash /tests/tests.sh "$(option only)"
$b sync
$b poweroff -f
