# Enforcement through the agent: `palisade watch --enforce on` with a policy and rules, on a control
# group that looks like a container's. Sourced by tests.sh.
# shellcheck shell=bash disable=SC2317
# shellcheck source=/dev/null
. /tests/agent.sh
mkdir -p "$work/enforce"
export enforce=$work/enforce
# Each rule is of this container alone. The policy gives the actions.
rule() { # name condition
    printf -- '- rule: %s\n  desc: A canary.\n  condition: container.id = %s and %s\n  output: canary (call=%%evt.type process=%%proc.name)\n  priority: WARNING\n' \
        "$1" "${container:0:12}" "$2"
}
{
    rule mount 'evt.type = mount and proc.name = busybox and evt.rawarg.flags in (8, 32776)'
    rule trace 'evt.type = ptrace and evt.rawarg.request in (1, 11, 20)'
    rule remove 'evt.type in (unlink, unlinkat, rmdir) and proc.name in (unlink, rm, rmdir)'
    rule rename 'evt.type in (rename, renameat, renameat2) and proc.name = mv'
    rule module 'evt.type in (init_module, finit_module)'
    rule program 'evt.type in (execve, execveat) and proc.name = id'
    rule secret 'evt.type in (open, openat, openat2) and fd.name endswith /palisade-secret'
    rule server 'evt.type = connect and fd.sport = 4097'
    rule kill 'evt.type = execve and proc.name = date'
} >"$enforce/rules.yaml"
enforce_policy() { # mode
    cat <<POLICY
version: 1
name: guest
runtime: {builtin_rules: false, rules: [$enforce/rules.yaml]}
enforce:
  mode: $1
  rules:
    - {rules: [mount, trace, remove, rename, module, program, secret, server], action: [deny]}
    - {rules: [kill], action: [kill]}
POLICY
}

# What the container tries; each line says what came of it.
attempts='cd /tmp/watch/enforce || exit 1
    /bin/busybox mount -o noexec -t tmpfs none /mnt && echo mounted; /bin/busybox mount -t tmpfs none /mnt && echo other-mounted
    rm -f canary-file; [ -e canary-file ] && echo kept-file; rm -rf other-file; rmdir canary-folder 2>/dev/null; [ -d canary-folder ] && echo kept-folder
    mv canary-name moved 2>/dev/null; [ -e canary-name ] && echo kept-name
    /bin/busybox insmod /tmp/watch/enforce/no-module.ko 2>&1 | grep -q "not permitted" && echo module-refused
    id >/dev/null 2>&1 || echo program-refused; true && echo true-ran
    cat palisade-secret 2>/dev/null || echo secret-kept; cat palisade-public
    (exec 3<>/dev/tcp/127.0.0.1/4097) 2>/dev/null || echo connection-refused
    date >/dev/null 2>&1; [ $? -eq 137 ] && echo date-killed; :'
export attempts

enforce_canaries() { # fresh ones
    rm -rf "$enforce"/{canary-*,moved,other-file}
    mkdir -p "$enforce/canary-folder"
    for name in canary-file other-file canary-name; do echo "$name" >"$enforce/$name"; done
    echo hidden >"$enforce/palisade-secret"
    echo public >"$enforce/palisade-public"
    head -c 4096 /dev/zero >"$enforce/no-module.ko"
}
in_bash() { # script: as `in_container`, by bash, for /dev/tcp
    in_container "exec bash -c '$1'"
}
expect_said() { # text…
    local text
    for text in "$@"; do
        grep -qxF -- "$text" "$enforce/said" || { echo "the container did not say: $text"; cat "$enforce/said"; return 1; }
    done
}
standing() { # rule words
    grep -qF "rule \"$1\" $2" "$work/errors" || { echo "rule $1 does not stand as: $2"; cat "$work/errors"; return 1; }
}
has_bpf_lsm() {
    case ",$(cat /sys/kernel/security/lsm)," in *,bpf,*) ;; *) return 1 ;; esac
    case "$(cat /proc/sys/kernel/osrelease)" in 5.10.*) return 1 ;; esac
}

rules_are_enforced_through_the_agent() {
    has_bpf_lsm || { echo "skipped: this kernel runs no BPF in its security framework"; return 0; }
    enforce_canaries
    enforce_policy on >"$enforce/policy.yaml"
    PALISADE_QUIET=false start_watch --policy "$enforce/policy.yaml" --no-auto-reload || return 1
    standing mount "prevents: deny by lsm" && standing trace "prevents: deny by lsm" &&
        standing remove "prevents: deny by lsm" && standing rename "prevents: deny by lsm" &&
        standing module "prevents: deny by lsm" && standing program "prevents: deny by lsm" &&
        standing secret "prevents: deny by lsm" && standing server "prevents: deny by" &&
        standing kill "prevents: kill by kernel-kill" || return 1
    /bin/busybox nc -l -p 4097 >/dev/null &
    local listener=$!
    # The container is known and guarded from its first events on; the first seconds are for those.
    (in_bash 'sleep 2; '"$attempts") >"$enforce/said" 2>"$enforce/complained"
    kill "$listener" 2>/dev/null
    # The same outside, where nothing is refused.
    local file=$enforce/canary-file
    rm "$file" || { echo "the host's own rm was refused"; return 1; }
    stop_watch || return 1
    expect_said other-mounted kept-file kept-folder kept-name module-refused program-refused true-ran \
        secret-kept public connection-refused date-killed || return 1
    ! grep -qxE 'mounted|hidden' "$enforce/said" || { echo "something passed"; cat "$enforce/said"; return 1; }
    local name
    for name in mount remove rename module program secret server kill; do
        grep "\"rule\":\"$name\"" "$work/alerts" | grep -q '"outcome":"prevented"' ||
            { echo "no alert says that $name was prevented"; return 1; }
    done
}

a_reload_changes_what_the_guest_enforces() {
    has_bpf_lsm || { echo "skipped: this kernel runs no BPF in its security framework"; return 0; }
    enforce_canaries
    enforce_policy dry-run >"$enforce/policy.yaml"
    PALISADE_QUIET=false start_watch --policy "$enforce/policy.yaml" --no-auto-reload || return 1
    rm -f "$enforce"/{go,done}
    (in_bash "sleep 2; cd $enforce; rm -f canary-file; [ -e canary-file ] || echo removed; touch done
        while [ ! -e go ]; do sleep 0.2; done; mv canary-name moved 2>/dev/null; [ -e canary-name ] && echo kept-name
        rmdir canary-folder 2>/dev/null; [ -d canary-folder ] && echo kept-folder; :") >"$enforce/said" 2>&1 &
    local guest=$! i
    for ((i = 0; i < 300; i++)); do [ ! -e "$enforce/done" ] || break; sleep 0.1; done
    enforce_policy on >"$enforce/policy.yaml"
    palisade watch reload || { cat "$work/errors"; return 1; }
    touch "$enforce/go"
    wait "$guest"
    stop_watch || return 1
    expect_said removed kept-name kept-folder
}
export -f enforce_canaries enforce_policy in_bash expect_said standing has_bpf_lsm
export -f rules_are_enforced_through_the_agent a_reload_changes_what_the_guest_enforces

for name in rules_are_enforced_through_the_agent a_reload_changes_what_the_guest_enforces; do
    run_test enforce "$name" bash -c "$name"
done
