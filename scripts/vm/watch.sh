# `palisade watch` from end to end: canaries in a control group that looks like a container's.
# Sourced by tests.sh.
# shellcheck shell=bash disable=SC2317

# shellcheck source=/dev/null
. /tests/agent.sh
cat >"$work/rules.yaml" <<'RULES'
- rule: Canary opened
  desc: The canary file was opened.
  condition: evt.type in (open, openat, openat2) and fd.name endswith /palisade-canary
  output: opened (file=%fd.name proc=%proc.name parent=%proc.pname result=%evt.res container=%container.id)
  priority: WARNING
- rule: Canary executed
  desc: A program was started with the canary's argument.
  condition: evt.type in (execve, execveat) and proc.name = true and proc.args = palisade-canary-argument
  output: executed (exe=%proc.exepath line=%proc.cmdline uid=%user.uid container=%container.id)
  priority: WARNING
- rule: Canary connected
  desc: A connection to the canary's port, which answers.
  condition: evt.type = connect and fd.sport = 4099
  output: connected (to=%fd.sip:%fd.sport proc=%proc.name container=%container.id)
  priority: WARNING
- rule: Canary refused
  desc: A connection to a port at which nobody listens.
  condition: evt.type = connect and evt.failed = true and evt.arg.addr = "127.0.0.1:4098"
  output: refused (to=%evt.arg.addr result=%evt.res proc=%proc.name container=%container.id)
  priority: WARNING
RULES

canaries_raise_alerts_with_their_fields() {
    local id=${container:0:12}
    echo secret >"$work/palisade-canary"
    start_watch --no-builtin-rules --rules "$work/rules.yaml" || return 1
    /bin/busybox nc -l -p 4099 &
    local listener=$!
    (in_container "cat $work/palisade-canary >/dev/null; cat $work/absent/palisade-canary 2>/dev/null
        /bin/true palisade-canary-argument
        bash -c 'exec 3<>/dev/tcp/127.0.0.1/4099' 2>/dev/null
        bash -c 'exec 3<>/dev/tcp/127.0.0.1/4098' 2>/dev/null
        :")
    # The same outside: nobody asked for the host.
    cat "$work/palisade-canary" >/dev/null
    kill "$listener" 2>/dev/null
    stop_watch || return 1
    expect "opened (file=$work/palisade-canary proc=cat parent=sh result=SUCCESS container=$id)" &&
        expect "opened (file=$work/absent/palisade-canary proc=cat parent=sh result=ENOENT container=$id)" &&
        expect "/true line=true palisade-canary-argument uid=0 container=$id)" &&
        expect "connected (to=127.0.0.1:4099 proc=bash container=$id)" &&
        expect "refused (to=127.0.0.1:4098 result=ECONNREFUSED proc=bash container=$id)" || return 1
    [ "$(grep -c '"rule"' "$work/alerts")" -eq 5 ] || { echo "not five alerts"; return 1; }
}

builtin_rules_see_an_attack() {
    start_watch || return 1
    (in_container 'cat /etc/shadow >/dev/null; cp /bin/true /dev/shm/palisade-dropped; /dev/shm/palisade-dropped
        rm /dev/shm/palisade-dropped; mount -t tmpfs none /mnt 2>/dev/null; :')
    stop_watch || return 1
    expect '"rule":"Sensitive file read"' && expect '"rule":"Dropped program executed"' &&
        expect "\"id\":\"$container\""
}
export -f canaries_raise_alerts_with_their_fields builtin_rules_see_an_attack

for name in canaries_raise_alerts_with_their_fields builtin_rules_see_an_attack; do
    run_test watch "$name" bash -c "$name"
done
