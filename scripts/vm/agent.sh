# A watch in the guest, and a control group that looks like a container's. Sourced by the scripts of
# suites that run `palisade watch`.
# shellcheck shell=bash disable=SC2317

# 64 digits, as Docker names its containers.
export container=c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00
export work=/tmp/watch
mkdir -p "$work"
# Runs a script in a shell whose control groups, mounts and process ids are those of a container.
in_container() { # script
    local group
    for group in /sys/fs/cgroup/unified /sys/fs/cgroup/{memory,cpu,pids} /sys/fs/cgroup; do
        [ -e "$group/cgroup.procs" ] || continue
        case "$group" in /sys/fs/cgroup) [ ! -e /sys/fs/cgroup/unified ] || continue ;; esac
        mkdir -p "$group/docker/$container"
        echo "$BASHPID" >"$group/docker/$container/cgroup.procs"
    done
    exec unshare -mpf /bin/sh -c "$1"
}

start_watch() { # arguments…
    rm -f "$work/ready"
    palisade watch --format json --ready-file "$work/ready" --fold-seconds 0 "$@" \
        >"$work/alerts" 2>"$work/errors" &
    watcher=$!
    local i
    for ((i = 0; i < 600; i++)); do
        [ ! -e "$work/ready" ] || return 0
        kill -0 "$watcher" 2>/dev/null || break
        sleep 0.1
    done
    echo "watch did not get ready after $i looks"
    cat "$work/errors"
    return 1
}
stop_watch() {
    sleep 1
    kill -TERM "$watcher"
    local code=0
    wait "$watcher" || code=$?
    cat "$work/alerts" "$work/errors"
    [ "$code" -eq 0 ] || { echo "watch ended with $code"; return 1; }
}
expect() { # text that an alert contains
    grep -qF -- "$1" "$work/alerts" || { echo "no alert says: $1"; return 1; }
}

export -f in_container start_watch stop_watch expect
