#!/usr/bin/env bash
# Fuzzes every target for some seconds with coverage feedback, old findings first.
# usage: scripts/fuzz.sh SECONDS [TARGET[:FORM]…]
#
# Some targets read input of several forms; TARGET:FORM spends all of the time on one of them.
# The instrumentation is LLVM's own, switched on by flags of the stable compiler, so no
# nightly toolchain is needed; AddressSanitizer would need one, and safe Rust gains little by it.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET[:FORM]…]}
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(sed -n 's/^name = "\(fuzz_.*\)"/\1/p' Cargo.toml)
fi

export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=on -Coverflow-checks=on"
# A target triple keeps the flags from build scripts and procedural macros.
triple=$(rustc -vV | sed -n 's/^host: //p')
mapfile -t bins < <(printf '%s\n' "${targets[@]%%:*}" | sort -u)
cargo build --release --target "$triple" "${bins[@]/#/--bin=}"
folder=${CARGO_TARGET_DIR:-target}/$triple/release

# Targets write archives and unpack layers: in memory where there is such a folder.
memory=/dev/shm
TMPDIR=$(mktemp -d "$([ -w "$memory" ] && echo "$memory" || echo "${TMPDIR:-/tmp}")/palisade-fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

failed=0
for run in "${targets[@]}"; do
    target=${run%%:*}
    unset PALISADE_FUZZ_FORM
    case "$run" in
        *:*) export PALISADE_FUZZ_FORM=${run#*:} ;;
    esac
    log=corpus/$run.log
    mkdir -p "corpus/$run" artifacts
    inputs=("corpus/$run")
    for given in "seeds/$target" "regressions/$target"; do
        if [ -d "$given" ]; then inputs+=("$given"); fi
    done
    # Seeds and old findings are run first; new findings are put into artifacts/.
    if "$folder/$target" "${inputs[@]}" -max_total_time="$seconds" -max_len=65536 \
        -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 -artifact_prefix="artifacts/$run-" \
        >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "$run: no finding in $seconds s, $runs runs"
    else
        echo "$run: FINDING, see fuzz/$log" >&2
        failed=1
    fi
done
exit "$failed"
