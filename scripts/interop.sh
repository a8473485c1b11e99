#!/usr/bin/env bash
# Signatures both ways with cosign, notation, skopeo, Podman and gpg, against a registry on
# loopback, and keyless against @sigstore/mock: what Palisade signs they verify, what they
# sign Palisade verifies, and what is wrong is refused by both.
#
# usage: scripts/interop.sh [--install] [--palisade FILE]
#
# --install fetches cosign and notation (from Debian's testing, unpacked and not installed),
# the mock (npm), and python-tuf and sigstore for Python (PyPI) into target/interop. What is missing
# is skipped with the reason.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD tools=$PWD/target/interop palisade=$PWD/target/release/palisade install=
while [ $# -gt 0 ]; do
    case $1 in
    --install) install=yes ;;
    --palisade) palisade=$(realpath "$2") && shift ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 2 ;;
    esac
    shift
done
if [ -n "$install" ]; then
    mkdir -p "$tools"/apt/{state,lists/partial,cache/archives/partial} "$tools/npm"
    touch "$tools/apt/state/status"
    # The machine's own mirror, in either form of the file.
    mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } |
        sed -nE 's/^(URIs: |deb (\[.*\] )?)(https?:[^ ]+\/debian)\/?( .*)?$/\3/p' | sed -n 1p)
    echo "deb $mirror testing main" >"$tools/apt/sources.list"
    cat >"$tools/apt.conf" <<CONF
Dir::State "$tools/apt/state";
Dir::State::lists "$tools/apt/lists";
Dir::State::status "$tools/apt/state/status";
Dir::Cache "$tools/apt/cache";
Dir::Etc::sourcelist "$tools/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
CONF
    (export APT_CONFIG=$tools/apt.conf
        apt-get update -qq && cd "$tools" && apt-get download -qq cosign notation) || true
    for package in "$tools"/*.deb; do
        if [ -e "$package" ]; then dpkg-deb -x "$package" "$tools/root"; fi
    done
    (cd "$tools/npm" && npm install --silent --no-audit --no-fund @sigstore/mock@0.12.1) || true
    if [ ! -x "$tools/venv/bin/python" ]; then
        { python3 -m venv "$tools/venv" &&
            "$tools/venv/bin/pip" install --quiet 'tuf>=6' 'securesystemslib[crypto]' sigstore; } || true
    fi
fi
export PATH=$PATH:$tools/root/usr/bin
work=$(mktemp -d)
started=()
finish() {
    if [ ${#started[@]} -gt 0 ]; then kill "${started[@]}" 2>/dev/null || true; fi
    GNUPGHOME=$work/gnupg gpgconf --kill all 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
cd "$work"
export HOME=$work XDG_CONFIG_HOME=$work/xdg GNUPGHOME=$work/gnupg NOTATION_EXPERIMENTAL=1

passed=0 failed=0
# Says whether a command ends as expected: yes or no.
check() {
    local expected=$1 what=$2
    shift 2
    local found=yes
    "$@" >"$work/said" 2>&1 || found=no
    if [ "$found" = "$expected" ]; then
        passed=$((passed + 1)) && echo "ok    $what"
    else
        failed=$((failed + 1)) && echo "FAIL  $what" && sed 's/^/      /' "$work/said"
    fi
}
skip() { echo "skip  $1: $2"; }
has() { command -v "$1" >/dev/null; }

if ! has docker-registry || ! has skopeo; then
    skip everything "docker-registry and skopeo are needed (apt-get install docker-registry skopeo)"
    exit 0
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$work" "$port" >registry.yml
env -i docker-registry serve registry.yml >registry.log 2>&1 &
started+=($!)
until grep -q 'listening on' registry.log; do sleep 0.1; done
image=127.0.0.1:$port/team/shop:1
python3 - <<'P'
import gzip, hashlib, io, json, os, tarfile
os.makedirs("layout/blobs/sha256")
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    open("layout/blobs/sha256/" + digest, "wb").write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}
tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as archive:
    entry = tarfile.TarInfo("hello"); entry.size = 5
    archive.addfile(entry, io.BytesIO(b"hello"))
layer = gzip.compress(tar.getvalue(), mtime=0)
config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers",
    "diff_ids": ["sha256:" + hashlib.sha256(tar.getvalue()).hexdigest()]}}
oci = "application/vnd.oci.image."
manifest = json.dumps({"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
    "config": {"mediaType": oci + "config.v1+json", **blob(json.dumps(config).encode())},
    "layers": [{"mediaType": oci + "layer.v1.tar+gzip", **blob(layer)}]}).encode()
named = {"mediaType": oci + "manifest.v1+json", **blob(manifest),
    "annotations": {"org.opencontainers.image.ref.name": "1"}}
json.dump({"schemaVersion": 2, "manifests": [named]}, open("layout/index.json", "w"))
json.dump({"imageLayoutVersion": "1.0.0"}, open("layout/oci-layout", "w"))
P
check yes "an image goes from a layout into a registry" "$palisade" copy oci:layout "$image"
"$palisade" sign --generate-key shop >/dev/null 2>&1
"$palisade" sign --generate-key other >/dev/null 2>&1

if has cosign; then
    key=(cosign verify --insecure-ignore-tlog --private-infrastructure)
    check no "cosign refuses an image that nobody signed" "${key[@]}" --key shop.pub "$image"
    check yes "a key signs in a registry" "$palisade" sign --key shop.key --simple "$image"
    check yes "cosign verifies the bundle" "${key[@]}" --key shop.pub "$image"
    check yes "cosign verifies the older form" "${key[@]}" --new-bundle-format=false --key shop.pub "$image"
    check no "cosign refuses another key" "${key[@]}" --key other.pub "$image"
    echo '{"buildDefinition":{"buildType":"x"},"runDetails":{"builder":{"id":"b"}}}' >provenance.json
    check yes "provenance is attested" "$palisade" attest --key shop.key --type slsaprovenance1 --predicate provenance.json "$image"
    check yes "cosign verifies the attestation" cosign verify-attestation --insecure-ignore-tlog --private-infrastructure --type slsaprovenance1 --key shop.pub "$image"
else
    skip cosign "it is not installed (--install)"
fi

mock=${PALISADE_SHARED:-$root/../shared}/tools/keyless-mock.cjs
if has cosign && has node && [ -d "$tools/npm/node_modules/@sigstore/mock" ] && [ -f "$mock" ]; then
    cp "$mock" "$tools/npm/mock.cjs"
    mport=$((port + 1))
    (cd "$tools/npm" && exec node mock.cjs "$mport" "$work") >mock.log 2>&1 &
    started+=($!)
    until grep -q ready mock.log; do sleep 0.1; done
    issuer=http://localhost:$mport
    python3 - "$issuer" <<'P'
import base64, json, subprocess, sys, time
text = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
subprocess.run("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out op.key", shell=True, check=True, stderr=subprocess.DEVNULL)
now = int(time.time())
claims = {"iss": sys.argv[1], "sub": "dev", "aud": "sigstore", "email": "dev@shop.example", "email_verified": True, "iat": now - 5, "exp": now + 600}
message = text(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "k"}).encode()) + "." + text(json.dumps(claims).encode())
signature = subprocess.run("openssl dgst -sha256 -sign op.key", shell=True, input=message.encode(), capture_output=True, check=True).stdout
open("token", "w").write(message + "." + text(signature))
P
    keyless=(--keyless --signing-config signing_config.json --identity-token token --trusted-root trusted_root.json)
    who=(--trusted-root trusted_root.json --certificate-oidc-issuer "$issuer")
    check yes "a certificate signs, and the signature verifies" "$palisade" sign "${keyless[@]}" "$image"
    check yes "cosign verifies the identity" cosign verify "${who[@]}" --certificate-identity dev@shop.example "$image"
    check no "cosign refuses another identity" cosign verify "${who[@]}" --certificate-identity evil@shop.example "$image"
    cp -r layout keyless
    check yes "the same in a layout" "$palisade" sign "${keyless[@]}" oci:keyless
    check yes "verify finds the identity" "$palisade" verify "${who[@]}" --certificate-identity dev@shop.example oci:keyless
    check no "verify refuses another identity" "$palisade" verify "${who[@]}" --certificate-identity evil@shop.example oci:keyless
    registry=("${who[@]}" --certificate-identity dev@shop.example)
    check yes "verify finds it in the registry, and asks nobody else" "$palisade" verify --offline "${registry[@]}" "$image"
    check no "verify refuses another issuer" "$palisade" verify --trusted-root trusted_root.json --certificate-oidc-issuer http://evil.example --certificate-identity dev@shop.example "$image"
    check yes "verify finds it by a pattern" "$palisade" verify "${who[@]}" --certificate-identity-regexp '.*@shop\.example' "$image"
    stripped=127.0.0.1:$port/stripped/shop:1
    skopeo copy -q --dest-tls-verify=false oci:layout:1 "docker://$stripped" >/dev/null 2>&1
    check no "a copy without its signatures is refused" "$palisade" verify "${registry[@]}" "$stripped"
    check yes "cosign signs keyless" cosign sign --yes --trusted-root trusted_root.json --signing-config signing_config.json --identity-token "$(cat token)" --allow-insecure-registry "$stripped"
    check yes "verify finds whom cosign's certificate names" "$palisade" verify "${registry[@]}" "$stripped"
    rm -rf tampered && cp -r keyless tampered
    manifest=$(python3 -c 'import json; print(json.load(open("keyless/index.json"))["manifests"][0]["digest"][7:])')
    echo >>"tampered/blobs/sha256/$manifest"
    check no "a manifest that was changed is refused" "$palisade" verify "${registry[@]}" oci:tampered
    python=$tools/venv/bin/sigstore
    if [ -x "$python" ]; then
        sig=("$python" --trust-config trust_config.json)
        identity=(--cert-identity dev@shop.example --cert-oidc-issuer "$issuer")
        ours() { "$palisade" trust conformance verify-bundle --trusted-root trusted_root.json --certificate-identity "$1" --certificate-oidc-issuer "$2" --bundle file.json "$3"; }
        echo hello >file && echo changed >other
        check yes "sigstore (Python) signs a file" "${sig[@]}" sign --overwrite --identity-token "$(cat token)" --bundle file.json file
        check yes "its bundle is verified" ours dev@shop.example "$issuer" file
        check no "and refused for another identity" ours evil@shop.example "$issuer" file
        check no "and for another issuer" ours dev@shop.example http://evil.example file
        check no "and for another file" ours dev@shop.example "$issuer" other
        # What is attested of an image is attested of its manifest, which is a file as any other.
        # (Of plain signatures of images, cosign's and ours, it wants a name of the subject.)
        check yes "provenance is attested keyless" "$palisade" attest "${keyless[@]}" --type slsaprovenance1 --predicate provenance.json "$image"
        python3 - "$port" <<'P'
import json, sys, urllib.request
def get(path, kind="*/*"):
    request = urllib.request.Request("http://127.0.0.1:%s/v2/team/shop/%s" % (sys.argv[1], path), headers={"Accept": kind})
    return urllib.request.urlopen(request).read()
oci = "application/vnd.oci.image."
image = json.load(open("keyless/index.json"))["manifests"][0]["digest"]
open("manifest", "wb").write(get("manifests/" + image, oci + "manifest.v1+json"))
for one in json.loads(get("manifests/" + image.replace(":", "-"), oci + "index.v1+json"))["manifests"]:
    document = json.loads(get("manifests/" + one["digest"], oci + "manifest.v1+json"))
    bundle = get("blobs/" + document["layers"][0]["digest"])
    if b'"certificate"' in bundle and "provenance" in document["annotations"].get("dev.sigstore.bundle.predicateType", ""):
        open("ours.json", "wb").write(bundle)
P
        check yes "sigstore (Python) verifies it" "${sig[@]}" verify identity "${identity[@]}" --bundle ours.json manifest
        check no "and refuses another identity" "${sig[@]}" verify identity --cert-identity evil@shop.example --cert-oidc-issuer "$issuer" --bundle ours.json manifest
        check no "and another manifest" "${sig[@]}" verify identity "${identity[@]}" --bundle ours.json other
    else
        skip "sigstore for Python" "it is not installed (--install)"
    fi
else
    skip keyless "cosign, node and @sigstore/mock are needed (--install)"
fi

fixtures=$root/crates/trust/testdata/notary
if has notation; then
    install -m 600 "$fixtures/p256.key" notary.key
    mkdir -p xdg/notation/truststore/x509/ca/shop xdg/notation/crl
    cp "$fixtures/root.pem" xdg/notation/truststore/x509/ca/shop/
    cp "$fixtures/good.crl" xdg/notation/crl/
    policy=xdg/notation/trustpolicy.json
    cat >$policy <<JSON
{"version": "1.0", "trustPolicies": [{"name": "shop", "registryScopes": ["127.0.0.1:$port/team/shop", "local.example/shop"],
 "signatureVerification": {"level": "strict", "override": {"revocation": "skip"}}, "trustStores": ["ca:shop"],
 "trustedIdentities": ["x509.subject: C=US, ST=WA, O=shop.example"]}]}
JSON
    check no "notation refuses what nobody signed for it" notation verify --insecure-registry "$image"
    for form in jws cose; do
        check yes "a key with its chain signs ($form)" "$palisade" sign --key notary.key --notary-chain "$fixtures/p256.chain.pem" --notary-format $form "$image"
        check yes "notation verifies it" notation verify --insecure-registry "$image"
        check yes "verify finds it in the registry" "$palisade" verify --offline --notary-policy $policy "$image"
        printf '{"default":"k","keys":[{"name":"k","keyPath":"%s","certPath":"%s"}]}' "$work/notary.key" "$fixtures/p256.chain.pem" >xdg/notation/signingkeys.json
        rm -rf signed && cp -r layout signed
        check yes "notation signs ($form)" notation sign --oci-layout --signature-format $form --key k signed:1
        check yes "verify finds its identity" "$palisade" verify --notary-policy $policy --reference local.example/shop oci:signed:1
        check no "verify refuses another repository" "$palisade" verify --notary-policy $policy --reference local.example/other oci:signed:1
    done
else
    skip notation "it is not installed (--install)"
fi

if has gpg; then
    mkdir -m 700 gnupg
    for who in dev evil; do
        gpg --batch --quiet --passphrase '' --quick-gen-key $who@shop.example rsa3072 sign never 2>/dev/null
        gpg --export $who@shop.example >$who.gpg
        printf '{"default":[{"type":"reject"}],"transports":{"docker":{"127.0.0.1:%s":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"%s"}]},"dir":{"":[{"type":"insecureAcceptAnything"}]}}}' "$port" "$work/$who.gpg" >$who.json
    done
    mkdir registries.d
    printf 'docker:\n  127.0.0.1:%s:\n    lookaside: file://%s/lookaside\n    lookaside-staging: file://%s/lookaside\n' "$port" "$work" "$work" >registries.d/d.yaml
    pull=(--registries.d registries.d copy -q --src-tls-verify=false "docker://$image")
    check no "skopeo refuses what nobody signed" skopeo --policy dev.json "${pull[@]}" dir:none
    check yes "gpg signs into a lookaside folder" "$palisade" sign --gpg-key dev@shop.example --lookaside "$work/lookaside" "$image"
    check yes "skopeo accepts it" skopeo --policy dev.json "${pull[@]}" dir:pulled
    check no "skopeo refuses another key" skopeo --policy evil.json "${pull[@]}" dir:refused
    check yes "verify reads what skopeo pulled" "$palisade" verify --containers-policy dev.json --reference "$image" dir:pulled
    theirs=127.0.0.1:$port/theirs/shop:1
    check yes "skopeo signs" skopeo --policy dev.json --registries.d registries.d copy -q --dest-tls-verify=false --remove-signatures --sign-by dev@shop.example dir:pulled "docker://$theirs"
    check yes "skopeo fetches what it signed" skopeo --policy dev.json --registries.d registries.d copy -q --src-tls-verify=false "docker://$theirs" dir:theirs
    check yes "verify finds its key" "$palisade" verify --containers-policy dev.json --reference "$theirs" dir:theirs
    check no "verify refuses another key" "$palisade" verify --containers-policy evil.json --reference "$theirs" dir:theirs
    obey() { "$palisade" verify --registries-d "$1" --containers-policy "$2" "${@:3}"; }
    check yes "verify finds skopeo's signature in the registry's lookaside folder" obey registries.d dev.json "$theirs"
    check yes "and ours" obey registries.d dev.json "$image"
    check no "and refuses another key there" obey registries.d evil.json "$theirs"
    check no "and what is not there" obey registries.d dev.json "127.0.0.1:$port/none/shop:1"
    mkdir -p http.d && hport=$((port + 2))
    printf 'docker:\n  127.0.0.1:%s:\n    lookaside: http://127.0.0.1:%s\n' "$port" "$hport" >http.d/d.yaml
    (cd lookaside && exec python3 -m http.server --bind 127.0.0.1 "$hport") >http.log 2>&1 &
    started+=($!)
    until python3 -c "import socket; socket.create_connection((\"127.0.0.1\", $hport))" 2>/dev/null; do sleep 0.1; done
    check yes "a lookaside folder on a server is read" obey http.d dev.json "$theirs"
    check yes "by skopeo too" skopeo --policy dev.json --registries.d http.d copy -q --src-tls-verify=false "docker://$theirs" dir:served
    check no "and not with --offline" obey http.d dev.json --offline "$theirs"
    if has podman; then
        mkdir -p .config/containers/registries.d && cp registries.d/d.yaml .config/containers/registries.d/
        pod=(podman --root "$work/podman" --runroot "$work/podman-run" --storage-driver vfs --cgroup-manager cgroupfs)
        check yes "podman pulls what was signed with gpg" "${pod[@]}" pull -q --tls-verify=false --signature-policy dev.json "$image"
        check no "podman refuses another key" "${pod[@]}" pull -q --tls-verify=false --signature-policy evil.json "$theirs"
        made=127.0.0.1:$port/podman/shop:1
        check yes "podman signs" "${pod[@]}" push -q --remove-signatures --tls-verify=false --signature-policy dev.json --sign-by dev@shop.example "$image" "docker://$made"
        check yes "verify finds podman's signature" obey registries.d dev.json "$made"
        check no "and refuses another key" obey registries.d evil.json "$made"
    else
        skip podman "it is not installed"
    fi
    if has cosign; then
        keyed=127.0.0.1:$port/keyed/shop:1
        skopeo copy -q --dest-tls-verify=false oci:layout:1 "docker://$keyed" >/dev/null 2>&1
        PALISADE_KEY_PASSWORD=secret "$palisade" sign --generate-key closed >/dev/null 2>&1
        check yes "cosign signs in the older form" env COSIGN_PASSWORD=secret cosign sign --yes --new-bundle-format=false --use-signing-config=false --tlog-upload=false --allow-insecure-registry --key closed.key "$keyed"
        printf 'docker:\n  127.0.0.1:%s:\n    use-sigstore-attachments: true\n' "$port" >http.d/d.yaml
        for who in closed other; do
            printf '{"default":[{"type":"reject"}],"transports":{"docker":{"127.0.0.1:%s":[{"type":"sigstoreSigned","keyPath":"%s","signedIdentity":{"type":"matchRepository"}}]}}}' "$port" "$work/$who.pub" >key-$who.json
        done
        check yes "a policy that asks for cosign's key allows it" obey http.d key-closed.json "$keyed"
        check no "and refuses another key" obey http.d key-other.json "$keyed"
        check no "and an image without" obey http.d key-closed.json "$theirs"
        check no "and where registries.d does not turn it on" obey registries.d key-closed.json "$keyed"
    fi
else
    skip gpg "it is not installed"
fi

python=$tools/venv/bin/python
if [ -x "$python" ] && "$python" -c 'import tuf.api.metadata' 2>/dev/null; then
    printf '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}' >root-file.json
    "$python" "$root/scripts/interop-tuf.py" tuf root-file.json
    import=("$palisade" --data-dir "$work/data" trust root import)
    check yes "a repository of python-tuf is believed by its first root" "${import[@]}" --root tuf/1.root.json --tuf tuf
    check yes "and goes on" "$palisade" --data-dir "$work/data" trust root update
    sed 's/"version":2/"version":3/' tuf/timestamp.json >changed && mv changed tuf/timestamp.json
    check no "a changed document is refused" "$palisade" --data-dir "$work/data" trust root update
    check yes "delegated roles are followed as python-tuf does, in 40 random repositories" \
        "$python" "$root/scripts/interop-tuf-graphs.py" "$palisade" "$work/graphs" 40
    # The roots that the field's clients bring are signed as they say; there is no more to fetch.
    mapfile -t roots < <(find "$tools/venv" -path '*sigstore/_store/*' -name root.json)
    for one in "${roots[@]}"; do
        mkdir -p bare
        "${import[@]}" --replace --root "$one" --tuf bare >"$work/said" 2>&1 || true
        check yes "sigstore's root of $(basename "$(dirname "$one")") is signed as it says" grep -qE 'no .timestamp.json|expired' "$work/said"
    done
else
    skip TUF "python-tuf is needed (--install)"
fi

echo "$passed as expected, $failed not"
[ "$failed" -eq 0 ]
