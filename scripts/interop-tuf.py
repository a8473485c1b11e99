"""Makes a repository of The Update Framework by python-tuf: a second opinion on what one is.

usage: interop-tuf.py FOLDER FILE: FILE becomes the target trusted_root.json of versions 1 and 2.
Version 2 has another key of the root and another one for everything else.
"""
import sys
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp,
)

folder, file = Path(sys.argv[1]), Path(sys.argv[2])
end = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
(folder / "targets").mkdir(parents=True, exist_ok=True)


def signers():
    kinds = [CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa]
    return [kind() for kind in kinds], CryptoSigner.generate_ecdsa()


def publish(version, root, all_roots, online):
    target = TargetFile.from_file("trusted_root.json", str(file), ["sha256", "sha512"])
    targets = Targets(version=version, expires=end, targets={"trusted_root.json": target})
    metadata = {
        "snapshot": Snapshot(version=version, expires=end, meta={"targets.json": MetaFile(version)}),
        "timestamp": Timestamp(version=version, expires=end, snapshot_meta=MetaFile(version)),
        "targets": targets,
    }
    written = Metadata(root)
    for signer in all_roots:
        written.sign(signer, append=True)
    written.to_file(str(folder / f"{version}.root.json"))
    for role, signed in metadata.items():
        one = Metadata(signed)
        one.sign(online)
        name = f"{role}.json" if role == "timestamp" else f"{version}.{role}.json"
        one.to_file(str(folder / name))
    for digest in target.hashes.values():
        (folder / "targets" / f"{digest}.trusted_root.json").write_bytes(file.read_bytes())


old, online = signers()
first = Root(version=1, expires=end, consistent_snapshot=True)
for signer in old:
    first.add_key(signer.public_key, "root")
first.roles["root"].threshold = 2
for role in ["timestamp", "snapshot", "targets"]:
    first.add_key(online.public_key, role)
publish(1, first, old, online)
# The next one: another key of the root, another one for the rest; both sides sign.
second = deepcopy(first)
second.version = 2
new, online2 = signers()
second.revoke_key(old[2].public_key.keyid, "root")
second.add_key(new[0].public_key, "root")
for role in ["timestamp", "snapshot", "targets"]:
    second.revoke_key(online.public_key.keyid, role)
    second.add_key(online2.public_key, role)
publish(2, second, [old[0], old[1], new[0]], online2)
