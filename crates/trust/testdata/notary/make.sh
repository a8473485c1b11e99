#!/bin/sh
# Makes the fixtures of the Notary Project's signatures anew: certificates and time stamps by
# openssl, signatures by notation (1.3 or later), over an OCI layout of one empty image.
# Usage: make.sh FOLDER; needs notation, openssl, python3. Nothing outside FOLDER is changed.
set -eu
out=$(realpath "$1")
work=$(mktemp -d)
trap 'kill "$tsa" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

authority='basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign'
leaf='basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning'

# issue NAME SUBJECT KEY-OPTIONS EXTENSIONS ISSUER
issue() {
    openssl genpkey $3 -out "$1.key" 2>/dev/null
    printf '%s\n' "$4" >"$1.ext"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr" 2>/dev/null
    if [ "$5" = "$1" ]; then
        openssl x509 -req -in "$1.csr" -signkey "$1.key" -days 36500 -sha256 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
    else
        openssl x509 -req -in "$1.csr" -CA "$5.pem" -CAkey "$5.key" -CAcreateserial -days "${6:-36500}" -sha256 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
    fi
}
p256='-algorithm EC -pkeyopt ec_paramgen_curve:P-256'
issue root '/C=US/ST=WA/O=shop.example/CN=Root' "$p256" "$authority" root
issue middle '/C=US/ST=WA/O=shop.example/CN=Middle' "$p256" "$authority
crlDistributionPoints=URI:http://127.0.0.1/root.crl" root
issue tsaroot '/C=US/ST=WA/O=time.example/CN=Root' "$p256" "$authority" tsaroot
issue tsa '/C=US/ST=WA/O=time.example/CN=TSA' "$p256" 'keyUsage=critical,digitalSignature
extendedKeyUsage=critical,timeStamping' tsaroot
for kind in p256 p384 p521 rsa2048 rsa3072; do
    case $kind in
    p*) options="-algorithm EC -pkeyopt ec_paramgen_curve:P-${kind#p}" ;;
    rsa*) options="-algorithm RSA -pkeyopt rsa_keygen_bits:${kind#rsa}" ;;
    esac
    issue "$kind" "/C=US/ST=WA/O=shop.example/OU=$kind/CN=Signer" "$options" "$leaf" middle
    cat "$kind.pem" middle.pem root.pem >"$kind.chain.pem"
done

mkdir -p notation layout/blobs/sha256
export NOTATION_EXPERIMENTAL=1 XDG_CONFIG_HOME="$work"
python3 - <<'P'
import hashlib, json, os
def blob(b):
    d = hashlib.sha256(b).hexdigest(); open("layout/blobs/sha256/" + d, "wb").write(b)
    return {"digest": "sha256:" + d, "size": len(b)}
config = blob(b"{}")
manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config}, "layers": []}).encode()
image = {"mediaType": "application/vnd.oci.image.manifest.v1+json", **blob(manifest)}
json.dump({"schemaVersion": 2, "manifests": [{**image, "annotations": {"org.opencontainers.image.ref.name": "v1"}}]}, open("layout/index.json", "w"))
json.dump({"imageLayoutVersion": "1.0.0"}, open("layout/oci-layout", "w"))
keys = [{"name": k, "keyPath": f"{os.getcwd()}/{k}.key", "certPath": f"{os.getcwd()}/{k}.chain.pem"}
    for k in ["p256", "p384", "p521", "rsa2048", "rsa3072"]]
json.dump({"default": "p256", "keys": keys}, open("notation/signingkeys.json", "w"))
open("image.json", "wb").write(manifest)
P
cat >ts.cnf <<'C'
[tsa]
default_tsa = t
[t]
serial = ./tsserial
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
signer_digest = sha256
C
echo 01 >tsserial
cat >tsa.py <<'P'
import http.server, subprocess
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        open("q.tsq", "wb").write(self.rfile.read(int(self.headers["content-length"])))
        subprocess.run("openssl ts -reply -queryfile q.tsq -signer tsa.pem -inkey tsa.key -chain tsaroot.pem -config ts.cnf -out r.tsr", shell=True, check=True, stderr=subprocess.DEVNULL)
        self.send_response(200); self.send_header("content-type", "application/timestamp-reply"); self.end_headers()
        self.wfile.write(open("r.tsr", "rb").read())
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 0), H); open("port", "w").write(str(s.server_address[1])); s.serve_forever()
P
python3 tsa.py & tsa=$!
while ! [ -s port ]; do sleep 0.1; done

# sign NAME KEY FORMAT OPTIONS…
sign() {
    name=$1 key=$2 format=$3
    shift 3
    rm -rf signed && cp -r layout signed
    notation sign --oci-layout --force-referrers-tag=false --key "$key" --signature-format "$format" "$@" signed:v1 >sign.log 2>&1 ||
        notation sign --oci-layout --key "$key" --signature-format "$format" "$@" signed:v1 >sign.log
    python3 - "$out/$name" <<'P'
import json, sys
index = json.load(open("signed/index.json"))
read = lambda d: open("signed/blobs/sha256/" + d["digest"][7:], "rb").read()
for one in index["manifests"]:
    manifest = json.loads(read(one))
    if "subject" in manifest:
        open(sys.argv[1], "wb").write(read(manifest["layers"][0]))
P
}
sign p256.jws p256 jws
sign p384.cose p384 cose
sign p521.jws p521 jws
sign rsa2048.cose rsa2048 cose
sign rsa3072.jws rsa3072 jws --expiry 24h --user-metadata build=7
stamped="--timestamp-url http://127.0.0.1:$(cat port) --timestamp-root-cert tsaroot.pem"
sign stamped.jws p256 jws $stamped
sign stamped.cose p256 cose $stamped

cat >crl.cnf <<'C'
[ca]
default_ca = c
[c]
database = ./db.txt
crlnumber = ./crlnumber
default_md = sha256
default_crl_days = 36500
C
echo 01 >crlnumber && : >db.txt
openssl ca -config crl.cnf -gencrl -keyfile root.key -cert root.pem 2>/dev/null | openssl crl -outform DER -out "$out/good.crl"
openssl ca -config crl.cnf -revoke middle.pem -keyfile root.key -cert root.pem 2>/dev/null
openssl ca -config crl.cnf -gencrl -keyfile root.key -cert root.pem 2>/dev/null | openssl crl -outform DER -out "$out/revoked.crl"
cp root.pem tsaroot.pem p256.key p256.chain.pem image.json "$out"
