#!/usr/bin/env bash
# Runs the tests that load eBPF programs and make containers on other kernels, in QEMU guests.
# `scripts/vm.sh --help` has the usage; docs/guide/kernels.md says what came of it.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/vm.sh [--on KERNEL[/KIND]]… [--suite NAME]… [--test TEXT] [--palisade FILE] [--lsm NAME]

  --on KERNEL[/KIND]     5.10, 6.1 or 6.12, with control groups of kind `v2` (the default) or
                         `hybrid`; `systemd`: v2, started by systemd, for the suite `service`
                         [default: 5.10, 6.1, 6.1/hybrid, 6.12, 6.12/systemd]
  --suite NAME           doctor, watch, enforce, bpf, sensor, sys, respond, agent, runtime, palisade,
                         escapes (ways out of Docker's containers, and what they reach; it takes
                         this machine's Docker along)
                         [default: all but `palisade` and `escapes`, each half an hour emulated]
  --test TEXT            only tests whose name contains TEXT
  --palisade FILE        the program [default: target/release/palisade]
  --lsm NAME             the large security module: apparmor or selinux [default: apparmor]

BPF is among the guests' security modules where the kernel was built with it (`lsm=…,bpf`).
Kernels are Debian's packages, verified by apt and kept in ${XDG_CACHE_HOME:-~/.cache}/palisade/vm.
PALISADE_VM_MIRROR names another mirror of Debian, PALISADE_VM_SECONDS the time that a guest
gets [default: 3000, 9000 with `escapes`]. Instructions are emulated, which is slow but works everywhere;
PALISADE_VM_ACCEL=kvm uses the processor's virtualisation. Consoles and results stay in target/vm.
Exit codes: 0 every test passed, 1 some failed, 2 usage, 3 something is missing.
TEXT
}

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
palisade=$target/release/palisade
guests=() suites=() only="" lsm=apparmor
while [ $# -gt 0 ]; do
    case "$1" in
        --on | --suite | --test | --palisade | --lsm)
            if [ $# -lt 2 ]; then echo "error: \`$1\` takes a value" >&2; exit 2; fi
            ;;
    esac
    case "$1" in
        --on) guests+=("$2"); shift 2 ;;
        --suite) suites+=("$2"); shift 2 ;;
        --test) only=$2; shift 2 ;;
        --palisade) palisade=$(realpath -m "$2"); shift 2 ;;
        --lsm) lsm=$2; shift 2 ;;
        --help | -h) usage; exit 0 ;;
        *) echo "error: unknown argument \`$1\`" >&2; usage >&2; exit 2 ;;
    esac
done
[ ${#guests[@]} -gt 0 ] || guests=(5.10 6.1 6.1/hybrid 6.12 6.12/systemd)
[ ${#suites[@]} -gt 0 ] || suites=(doctor watch enforce bpf sensor sys respond agent runtime)
for guest in "${guests[@]}"; do
    if ! [[ $guest =~ ^(5\.10|6\.1|6\.12)(/(v2|hybrid|systemd))?$ ]]; then
        echo "error: no guest \`$guest\`" >&2
        usage >&2
        exit 2
    fi
    if [[ $guest == */systemd && ! -x /lib/systemd/systemd ]]; then
        echo "error: this machine has no systemd to put into the guest \`$guest\`" >&2
        echo "  remedy: apt-get install systemd, or name the guests with --on" >&2
        exit 3
    fi
done
known=" doctor watch enforce bpf sensor sys respond agent runtime palisade escapes "
for suite in "${suites[@]}"; do
    if [[ $known != *" $suite "* ]]; then
        echo "error: no suite \`$suite\`; there are:$known" >&2
        exit 2
    fi
done
if ! [[ $only =~ ^[a-zA-Z0-9_:]*$ ]]; then
    echo "error: names of tests have letters, digits, \`_\` and \`:\`, not \`$only\`" >&2
    exit 2
fi

if ! [[ $lsm =~ ^(apparmor|selinux)$ ]]; then
    echo "error: no security module \`$lsm\`; there are: apparmor selinux" >&2
    exit 2
fi

if [ "$(uname -m)" != x86_64 ]; then
    echo "error: the guests run this machine's own binaries on x86_64 kernels; this is $(uname -m)" >&2
    exit 3
fi
qemu=$(command -v qemu-system-x86_64) || {
    echo "error: no qemu-system-x86_64 to run other kernels with" >&2
    echo "  remedy: apt-get install qemu-system-x86 (scripts/install-deps.sh vm does it)" >&2
    exit 3
}
if [ ! -x "$palisade" ]; then
    echo "error: no program at \`$palisade\`" >&2
    echo "  remedy: make build, or --palisade FILE" >&2
    exit 3
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/palisade/vm
out=$target/vm
seconds=${PALISADE_VM_SECONDS:-3000}
# The kernel's test of its timer fails where the host is busy (`no_timer_check` below).
# The emulated processor goes without cmpxchg16b, which QEMU 7.2 gets wrong: the kernel's memory
# allocator dies of it.
case "${PALISADE_VM_ACCEL:-tcg}" in
    tcg) accelerator=(-accel tcg -cpu "qemu64,+rdrand,-cx16") ;;
    kvm) accelerator=(-accel kvm -cpu host) ;;
    *) echo "error: PALISADE_VM_ACCEL is tcg or kvm, not \`$PALISADE_VM_ACCEL\`" >&2; exit 2 ;;
esac
mkdir -p "$cache" "$out"
work=$(mktemp -d "$out/work.XXXXXX")
running=""
cleanup() {
    [ -z "$running" ] || kill "$running" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

echo "==> Building the tests" >&2
scripts/vm/system.sh "$work/system" "$target" "$palisade" "${suites[@]}"

# What the guests of a suite hold in memory, and what modules their kernels have.
memory=1024 modules=()
for suite in "${suites[@]}"; do
    [ "$suite" = escapes ] || continue
    memory=3072 modules=(loop binfmt_misc af_alg algif_hash vsock) seconds=${PALISADE_VM_SECONDS:-9000}
done

n_passed=0 n_failed=0 n_skipped=0 failures=()
boot() { # kernel series, kind
    local series=$1 cgroups=$2 name=$1-$2 init=tests kernel results console status=0
    if [ "$2" = systemd ]; then cgroups=v2 init=systemd; fi
    results=$out/$name.results.tsv console=$out/$name.console.log
    kernel=$(scripts/vm/kernel.sh "$series" "$cache")
    scripts/vm/initramfs.sh "$kernel" "$work/system" "$work/initramfs" "${modules[@]}"
    rm -f "$work/disk"
    truncate -s 1G "$work/disk"
    /sbin/mkfs.ext4 -q -O ^has_journal "$work/disk"
    printf '\n== Linux %s, %s\n' "$(cat "$kernel/version")" "$2"
    rm -f "$results" "$console"
    timeout --kill-after=10 "$seconds" "$qemu" \
        -machine q35 "${accelerator[@]}" -smp 1 -m "$memory" \
        -kernel "$kernel/vmlinuz" -initrd "$work/initramfs" \
        -append "console=ttyS0 quiet loglevel=4 oops=panic panic=-1 mitigations=off no_timer_check lsm=landlock,lockdown,yama,loadpin,safesetid,integrity,$lsm,bpf palisade.cgroups=$cgroups palisade.only=$only palisade.init=$init" \
        -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" -nodefaults -display none -no-reboot \
        -serial "file:$console" -serial "file:$results" 2>"$out/$name.qemu.log" &
    running=$!
    follow "$results" "$running"
    wait "$running" || status=$?
    running=""
    judge "$name" "$results" "$console" "$status"
}

# Prints results as they come, until the guest has ended.
follow() { # file pid
    local shown=0 lines
    while kill -0 "$2" 2>/dev/null || [ "$shown" -lt "$(lines_of "$1")" ]; do
        lines=$(lines_of "$1")
        if [ "$lines" -gt "$shown" ]; then
            sed -n "$((shown + 1)),${lines}p" "$1" | tr -d '\r' |
                awk -F'\t' '$1 == "RESULT" { printf "%-4s  %-8s %s  (%s ms)%s\n", toupper($2), $3, $4, $5, $6 == "" ? "" : ": " $6 }'
            shown=$lines
        fi
        sleep 1
    done
}
lines_of() { if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi; }

judge() { # name results console status
    local passed failed skipped
    count() { tr -d '\r' <"$2" 2>/dev/null | awk -F'\t' -v want="$1" '$1 == "RESULT" && $2 == want' | wc -l; }
    passed=$(count pass "$2") failed=$(count fail "$2") skipped=$(count skip "$2")
    if ! grep -q '^END' "$2" 2>/dev/null; then
        failed=$((failed + 1))
        failures+=("$1: the guest did not come to its end (qemu's exit code $4, 124 is the timeout of $seconds s); see $3")
    fi
    while IFS=$'\t' read -r suite test; do
        failures+=("$1: $suite $test; see $3")
    done < <(tr -d '\r' <"$2" | awk -F'\t' '$1 == "RESULT" && $2 == "fail" { print $3 "\t" $4 }')
    if [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        failures+=("$1: no test has run")
    fi
    echo "-- $1: $passed passed, $failed failed, $skipped skipped"
    n_passed=$((n_passed + passed)) n_failed=$((n_failed + failed)) n_skipped=$((n_skipped + skipped))
}

# In one piece, so that bash has read all of this file before the minutes begin in which it may
# be edited.
{
for guest in "${guests[@]}"; do
    case "$guest" in
        */*) boot "${guest%/*}" "${guest#*/}" ;;
        *) boot "$guest" v2 ;;
    esac
done

echo
if [ ${#failures[@]} -gt 0 ]; then printf 'failed: %s\n' "${failures[@]}"; fi
if [ "$n_skipped" -gt 0 ]; then echo "$n_skipped skipped: what the kernel or the guest lacks, each with its reason above"; fi
echo "$n_passed passed, $n_failed failed"
[ "$n_failed" -eq 0 ] || exit 1
exit 0
}
