# An OCI layout of one folder, written by hand: no tool for images is needed. Sourced by bench-run.sh and cycles.sh.
# usage: [IMAGE_CONFIG='"Cmd":["/bin/true"]'] write_layout ROOT LAYOUT      (LAYOUT.tar stays: the layer)
write_layout() {
    local root=$1 out=$2 at=$2/blobs/sha256 layer config manifest arch default='"Cmd":["/bin/true"]'
    case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
    mkdir -p "$at"
    tar -C "$root" -cf "$out.tar" .
    layer=$(store_blob "$out.tar" "$at")
    printf '{"architecture":"%s","os":"linux","config":{%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$arch" "${IMAGE_CONFIG:-$default}" "$layer" >"$out.json"
    config=$(store_blob "$out.json" "$at")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
        "$config" "$(stat -c %s "$out.json")" "$layer" "$(stat -c %s "$out.tar")" >"$out.manifest.json"
    manifest=$(store_blob "$out.manifest.json" "$at")
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s}]}' \
        "$manifest" "$(stat -c %s "$out.manifest.json")" >"$out/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$out/oci-layout"
    rm "$out.json" "$out.manifest.json"
}
store_blob() { # file folder
    local digest
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    cp "$1" "$2/$digest"
    echo "$digest"
}
