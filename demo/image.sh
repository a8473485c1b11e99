#!/usr/bin/env bash
# Builds the demo's image: an OCI layout from packages of the machine's own mirror.
# usage: demo/image.sh LAYOUT_DIR WORK_DIR
#
# Nothing of Palisade takes part: the image is made by mmdebstrap, tar and gzip, so that
# what Palisade reads is what the field's tools write. The packages come from the
# release as published, without its security updates: the image is really behind.
set -euo pipefail

layout=$1
work=$2
here=$(cd "$(dirname "$0")" && pwd)
say() { printf '      %s\n' "$*" >&2; }

# shellcheck disable=SC1091
. /etc/os-release
suite=$VERSION_CODENAME

# The mirror that apt uses for the release itself; no security, no updates pocket.
sources=$(apt-get indextargets --format '$(CREATED_BY) $(SITE) $(CODENAME) $(RELEASE) $(COMPONENT)' |
    awk -v suite="$suite" '$1 == "Packages" && ($3 == suite || $4 == suite) && !seen[$2, $5]++ {
        print "deb", $2, suite, $5 }')
[ -n "$sources" ] || { echo "error: apt has no source for $suite; run apt-get update" >&2; exit 3; }

rm -rf "$work/root" "$work/layer" "$layout.part"
mkdir -p "$work" "$layout.part/blobs/sha256"

# Without this hook the image would carry all of perl, for usrmerge's sake.
hooks=()
merged=/usr/share/mmdebstrap/hooks/merged-usr
if [ -d "$merged" ]; then hooks=(--hook-dir="$merged" --include=usr-is-merged); fi

say "installing lighttpd and openssl of $PRETTY_NAME into a folder (mmdebstrap)"
mmdebstrap --quiet --mode=root --variant=essential \
    "${hooks[@]}" --include=lighttpd,openssl,passwd \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    "$suite" "$work/root" - <<<"$sources" 2>"$work/mmdebstrap.log" ||
    { cat "$work/mmdebstrap.log" >&2; exit 3; }
rm -rf "$work/root"/dev/* "$work/root"/var/cache/apt/* "$work/root"/var/lib/apt/lists/*

say "adding the web shop and what a hasty developer forgets in an image"
app=$work/layer
install -D -m 0644 "$here/app/lighttpd.conf" "$app/etc/lighttpd/shop.conf"
install -D -m 0644 "$here/app/index.html" "$app/srv/shop/index.html"
install -D -m 0755 "$here/app/cgi-bin/track.pl" "$app/srv/shop/cgi-bin/track.pl"
# The secrets are made here, so that none stands in the repository.
random() { head -c 512 /dev/urandom | tr -dc "$1" | head -c "$2"; }
install -d -m 0755 "$app/srv/shop/.config" "$app/etc/ssl/private"
printf 'AWS_ACCESS_KEY_ID=AKIA%s\nAWS_SECRET_ACCESS_KEY=%s\n' \
    "$(random 'A-Z2-7' 16)" "$(random 'A-Za-z0-9' 40)" >"$app/srv/shop/.config/deploy.env"
chroot "$work/root" openssl ecparam -name prime256v1 -genkey -noout \
    >"$app/etc/ssl/private/shop.pem"

blob() { # file -> prints "digest size" and moves the file into the layout
    local digest size
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    mv "$1" "$layout.part/blobs/sha256/$digest"
    echo "$digest $size"
}
pack() { # folder name [tar options] -> compressed layer and its diff id in the work folder
    local folder=$1 name=$2
    shift 2
    tar --sort=name --numeric-owner --mtime=@0 --one-file-system "$@" \
        --xattrs --xattrs-include='security.capability' -C "$folder" -cf "$work/$name.tar" .
    sha256sum "$work/$name.tar" | cut -d' ' -f1 >"$work/$name.diffid"
    gzip -1 -n -c "$work/$name.tar" >"$work/$name.tar.gz"
    rm "$work/$name.tar"
}
say "packing two layers"
pack "$work/root" base
pack "$app" app --owner=0 --group=0
read -r base_digest base_size <<<"$(blob "$work/base.tar.gz")"
read -r app_digest app_size <<<"$(blob "$work/app.tar.gz")"

cat >"$work/config.json" <<JSON
{"architecture":"$(dpkg --print-architecture)","os":"linux","created":"1970-01-01T00:00:00Z",
 "config":{"User":"33:33","Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin","SHOP_DATABASE_PASSWORD=$(random 'A-Za-z0-9' 20)"],
  "Entrypoint":["/usr/sbin/lighttpd","-D","-f","/etc/lighttpd/shop.conf"],
  "WorkingDir":"/srv/shop","ExposedPorts":{"8080/tcp":{}},
  "Labels":{"org.opencontainers.image.title":"Palisade demo shop"}},
 "rootfs":{"type":"layers","diff_ids":["sha256:$(cat "$work/base.diffid")","sha256:$(cat "$work/app.diffid")"]},
 "history":[{"created_by":"mmdebstrap $suite"},{"created_by":"COPY app /"}]}
JSON
read -r config_digest config_size <<<"$(blob "$work/config.json")"

media=application/vnd.oci.image
cat >"$work/manifest.json" <<JSON
{"schemaVersion":2,"mediaType":"$media.manifest.v1+json",
 "config":{"mediaType":"$media.config.v1+json","digest":"sha256:$config_digest","size":$config_size},
 "layers":[{"mediaType":"$media.layer.v1.tar+gzip","digest":"sha256:$base_digest","size":$base_size},
           {"mediaType":"$media.layer.v1.tar+gzip","digest":"sha256:$app_digest","size":$app_size}]}
JSON
read -r manifest_digest manifest_size <<<"$(blob "$work/manifest.json")"
cat >"$layout.part/index.json" <<JSON
{"schemaVersion":2,"mediaType":"$media.index.v1+json","manifests":[
 {"mediaType":"$media.manifest.v1+json","digest":"sha256:$manifest_digest","size":$manifest_size,
  "platform":{"architecture":"$(dpkg --print-architecture)","os":"linux"},
  "annotations":{"org.opencontainers.image.ref.name":"latest"}}]}
JSON
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout.part/oci-layout"

# The newest package of each source: its changelog says what every upload so far has fixed.
say "fetching the newest version of each source's package, for the changelogs"
mkdir -p "$work/debs"
one_of_each=$(dpkg-query --admindir="$work/root/var/lib/dpkg" -W \
    -f '${source:Package} ${Package}\n' | sort -u | awk '!seen[$1]++ { print $2 }')
# shellcheck disable=SC2086
(cd "$work/debs" && apt-get -qq -o APT::Sandbox::User=root download $one_of_each)

rm -rf "$work/root" "$work/layer"
mv "$layout.part" "$layout"
