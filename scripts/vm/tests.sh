#!/bin/bash
# Runs every suite in the guest. usage: tests.sh [TEXT that the names of tests contain]
#
# Results go to the second serial line, one a line, tab-separated:
#   RESULT pass|fail|skip SUITE TEST MILLISECONDS REASON
#   DOCTOR and a row of `palisade doctor --format tsv`
#   END, if everything ran
# What tests print goes to the console.
set -u
only=${1:-}
results=/dev/ttyS1
seconds_a_test=420
export PALISADE_QUIET=true
cd /tmp

now_ms() { local t=${EPOCHREALTIME/./}; echo "${t%???}"; }

result() { # pass|fail|skip suite test milliseconds [reason]
    printf 'RESULT\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "${5:-}" >"$results"
}

# Runs a command as one test: its exit code decides, and a line `skipped: REASON` of its output.
run_test() { # suite test command…
    local suite=$1 name=$2 from took code=0 reason
    shift 2
    case "$name" in *"$only"*) ;; *) return 0 ;; esac
    echo "--- $suite $name"
    from=$(now_ms)
    timeout -k 5 "$seconds_a_test" "$@" >/tmp/test.out 2>&1 || code=$?
    took=$(($(now_ms) - from))
    reason=$(sed -n 's/^\(test .* \.\.\. \)\{0,1\}skipped: //p' /tmp/test.out | head -n 1)
    if [ "$code" -eq 0 ] && [ -n "$reason" ]; then
        result skip "$suite" "$name" "$took" "$reason"
    elif [ "$code" -eq 0 ]; then
        result pass "$suite" "$name" "$took"
    elif [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
        result fail "$suite" "$name" "$took" "not over after $seconds_a_test s"
    else
        result fail "$suite" "$name" "$took" "exit code $code"
    fi
    cat /tmp/test.out
}

# The tests of a crate that need this machine's kernel, one process each, so that one that hangs
# or dies takes no other with it.
run_crate() { # suite filter
    local name names
    names=$("/tests/$1" --list --format terse "$2" 2>/dev/null | sed -n 's/: test$//p')
    if [ -z "$names" ]; then
        result fail "$1" "any" 0 "the test program names no test with \`$2\`"
    fi
    for name in $names; do
        run_test "$1" "$name" "/tests/$1" --exact "$name" --nocapture --test-threads=1
    done
}

has_id_mapped_layers() {
    local major minor
    IFS=.- read -r major minor _ </proc/sys/kernel/osrelease
    [ "$major" -gt 5 ] || { [ "$major" -eq 5 ] && [ "$minor" -ge 19 ]; }
}

while read -r suite; do
    case "$suite" in
        doctor | watch | enforce | service)
            # shellcheck source=/dev/null
            . "/tests/$suite.sh"
            ;;
        sensor) run_crate sensor live ;;
        runtime | palisade)
            if has_id_mapped_layers; then
                run_crate "$suite" root
            else
                result skip "$suite" all 0 "\`run\` needs Linux 5.19 or later, for id-mapped layers"
            fi
            ;;
        escapes)
            # Some hundred containers of Docker's, each of which takes seconds here.
            seconds_a_test=5400
            run_crate escapes root::escapes
            run_crate escapes root::probes
            ;;
        *) run_crate "$suite" root ;;
    esac
done </tests/suites
echo END >"$results"
