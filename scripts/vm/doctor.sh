# `palisade doctor` on this kernel. Sourced by tests.sh.
# shellcheck shell=bash disable=SC2317

doctor_works() {
    local code=0
    palisade doctor --format tsv >/tmp/doctor.tsv || code=$?
    cat /tmp/doctor.tsv
    sed 's/^/DOCTOR\t/' /tmp/doctor.tsv >"$results"
    # 4: a part of Palisade cannot work here. What the sensor needs must be there all the same.
    [ "$code" -eq 0 ] || [ "$code" -eq 4 ] || return 1
    local name
    for name in btf ringbuf tp_btf cgroup_skb; do
        awk -F'\t' -v name="$name" '$2 == name && $3 == "ok" { found = 1 } END { exit !found }' \
            /tmp/doctor.tsv || { echo "doctor does not say that $name works"; return 1; }
    done
}

# A kernel without type information, as far as a process can tell: the file is hidden from it.
without_btf() {
    unshare -m bash -c 'mount -t tmpfs none /sys/kernel/btf && "$@"' _ "$@"
}
doctor_names_a_missing_btf() {
    local code=0
    without_btf palisade doctor >/tmp/doctor.txt || code=$?
    grep -A1 BTF /tmp/doctor.txt
    [ "$code" -eq 4 ] && grep -A1 'BTF.*missing' /tmp/doctor.txt | grep -q 'CONFIG_DEBUG_INFO_BTF=y'
}
watch_refuses_without_btf() {
    local code=0
    without_btf palisade watch --duration 1 >/tmp/nobtf.txt 2>&1 || code=$?
    cat /tmp/nobtf.txt
    [ "$code" -eq 3 ] && grep -q 'no type information' /tmp/nobtf.txt &&
        grep -q 'CONFIG_DEBUG_INFO_BTF=y' /tmp/nobtf.txt
}
export -f without_btf doctor_works doctor_names_a_missing_btf watch_refuses_without_btf
export results

for name in doctor_works doctor_names_a_missing_btf watch_refuses_without_btf; do
    run_test doctor "$name" bash -c "$name"
done
