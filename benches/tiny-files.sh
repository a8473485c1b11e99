#!/usr/bin/env bash
# Makes an image of tiny files: an OCI layout of one layer, not compressed, with N of them in N / 1000 folders.
# usage: benches/tiny-files.sh LAYOUT_DIR [N]
set -euo pipefail

layout=$1
n=${2:-1000000}
rm -rf "$layout" "$layout.part"
mkdir -p "$layout.part/blobs/sha256"

# The archive as tar(5) has it; a million calls of tar would take an hour.
python3 - "$n" >"$layout.part/layer" <<'PYTHON'
import sys
n = int(sys.argv[1])
out = sys.stdout.buffer
def entry(name, kind, content):
    head = bytearray(512)
    head[0:len(name)] = name.encode()
    head[100:124] = b"0000755\0" b"0000000\0" b"0000000\0"
    head[124:148] = b"%011o\0" % len(content) + b"00000000000\0"
    head[148:157] = b" " * 8 + kind
    head[257:265] = b"ustar\x0000"
    head[148:156] = b"%06o\0 " % sum(head)
    out.write(head + content + bytes(-len(content) % 512))
entry("etc/os-release", b"0", b"ID=debian\nVERSION_ID=12\n")
for at in range(n - 1):
    if at % 1000 == 0:
        entry(f"srv/{at // 1000}/", b"5", b"")
    entry(f"srv/{at // 1000}/{at % 1000}", b"0", b"x")
out.write(bytes(1024))
PYTHON

blob() { # file -> prints "digest size" and moves the file into the layout
    local digest size
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    mv "$1" "$layout.part/blobs/sha256/$digest"
    echo "\"digest\":\"sha256:$digest\",\"size\":$size"
}
diff=$(sha256sum "$layout.part/layer" | cut -d' ' -f1)
layer=$(blob "$layout.part/layer")
printf '{"architecture":"amd64","os":"linux","config":{"User":"33"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$diff" >"$layout.part/config"
config=$(blob "$layout.part/config")
types=application/vnd.oci.image
printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar",%s}]}' \
    "$types" "$types" "$config" "$types" "$layer" >"$layout.part/manifest"
manifest=$(blob "$layout.part/manifest")
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json",%s,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' \
    "$types" "$manifest" >"$layout.part/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout.part/oci-layout"
mv "$layout.part" "$layout"
