# The systemd unit under systemd: everything that the agent does, with what the unit leaves it.
# Sourced by tests.sh, in a guest whose first process is systemd.
# shellcheck shell=bash disable=SC2317

export container=deadbeef00000000deadbeef00000000deadbeef00000000deadbeef00000000
export PALISADE_DATA_DIR=/var/lib/palisade PALISADE_RUN_DIR=/run/palisade

main_pid() { systemctl show -P MainPID palisade; }
wait_until() { # seconds command…
    local i
    for ((i = 0; i < $1 * 5; i++)); do
        if "${@:2}"; then return 0; fi
        sleep 0.2
    done
    echo "not within $1 s: ${*:2}"
    return 1
}

service_becomes_ready_and_is_confined() {
    systemctl start palisade || { systemctl status palisade; cat /var/log/palisade.log; return 1; }
    systemctl status palisade
    local status
    status=/proc/$(main_pid)/status
    grep -E 'CapBnd|Seccomp:|NoNewPrivs' "$status"
    # BPF, PERFMON, SYS_ADMIN, SYS_PTRACE, SYS_NICE, NET_ADMIN, KILL, DAC_*: and nothing else.
    grep -q $'^CapBnd:\t000000c000a81026$' "$status" && grep -q $'^Seccomp:\t2$' "$status" &&
        grep -q $'^NoNewPrivs:\t1$' "$status"
}

has_alert() { palisade respond alerts --format tsv | grep -F "$1"; }
is_contained() { palisade respond list --format tsv | grep -q contained; }

# The policy in /etc/palisade answers critical alerts with everything there is.
service_answers_an_attack() {
    local group=/sys/fs/cgroup/docker/$container victim
    mkdir -p "$group"
    # In a file: a shell with all of it as an argument would be taken for the miner itself.
    cat >/tmp/victim.sh <<'SH'
cat /etc/shadow >/dev/null
sleep 3
/bin/busybox true stratum+tcp://pool
while :; do sleep 1; done
SH
    (echo "$BASHPID" >"$group/cgroup.procs"
        exec unshare -mpf /bin/sh /tmp/victim.sh) &
    victim=$!
    wait_until 15 has_alert 'Sensitive file read' && wait_until 15 has_alert 'Crypto miner' &&
        wait_until 60 is_contained
    local code=$?
    palisade respond list
    palisade respond show latest
    cat /var/log/palisade.log
    [ "$code" -eq 0 ] || { kill "$victim"; return 1; }
    for action in freeze isolate evidence kill; do
        palisade respond show latest | grep -qi "action *$action: Done" ||
            { echo "not done: $action"; return 1; }
    done
    palisade evidence list /var/lib/palisade/evidence/*.tar
    palisade evidence verify /var/lib/palisade/evidence/*.tar || return 1
    wait_until 5 eval "! kill -0 $victim 2>/dev/null"
}

restarts_are() { [ "$(systemctl show -P NRestarts palisade)" -ge "$1" ]; }
is_active() { [ "$(systemctl is-active palisade)" = active ]; }
service_that_hangs_is_restarted() {
    local pid
    pid=$(main_pid)
    [ "$pid" -gt 1 ] || return 1
    kill -STOP "$pid"
    wait_until 60 restarts_are 1 && wait_until 60 is_active || return 1
    [ "$(main_pid)" != "$pid" ]
}

service_stops_when_told() {
    systemctl stop palisade
    systemctl show -p ActiveState -p Result -p ExecMainStatus palisade
    [ "$(systemctl show -P Result palisade)" = success ] &&
        [ "$(systemctl show -P ActiveState palisade)" = inactive ]
}
export -f main_pid wait_until has_alert is_contained restarts_are is_active

for name in service_becomes_ready_and_is_confined service_answers_an_attack \
    service_that_hangs_is_restarted service_stops_when_told; do
    export -f "${name?}"
    run_test service "$name" bash -c "$name"
done
