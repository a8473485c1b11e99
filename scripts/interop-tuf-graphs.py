"""Delegated roles in random repositories, which python-tuf makes and looks through: Palisade must
find the same file, or none.

usage: interop-tuf-graphs.py PALISADE FOLDER [REPOSITORIES [SEED]]
"""
import random
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, unquote

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import (
    DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, SuccinctRoles, TargetFile,
    Targets, Timestamp,
)
from tuf.ngclient import FetcherInterface, Updater

palisade, folder = sys.argv[1], Path(sys.argv[2])
n_repositories = int(sys.argv[3]) if len(sys.argv) > 3 else 100
seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 32)
print(f"seed {seed}")
chance = random.Random(seed)
now = datetime.now(timezone.utc).replace(microsecond=0)
late, early = now + timedelta(days=30), now - timedelta(days=1)
NAMES = ["a", "b", "c/d", "role e", "..", "f", "g", "\u00f6"]
FILES = ["trusted_root.json", "x/trusted_root.json", "x/y/trusted_root.json", "x/[z].json"]
PATTERNS = ["*", "*.json", "x/*", "*/*", "x/?/*", "x/[xyz]/*", "[!a]*", "*/*/*", "x/[[]z].json", "none"]
keys = {name: CryptoSigner.generate_ed25519() for name in ["top", "stranger", "bins", *NAMES]}


class Local(FetcherInterface):
    """Files of a folder under addresses of no host."""

    def _fetch(self, url):
        path = folder / "tuf" / url.removeprefix("http://tuf.example/")
        if not path.is_file():
            raise DownloadHTTPError("not there", 404)
        yield path.read_bytes()


def content(role):
    """A trusted root without members, which says by its length whose it is."""
    number = 1 + [*NAMES, "targets", "bins"].index(role)
    text = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
    return (text + " " * number).encode()


def branch(name):
    """A delegation to a role."""
    paths = prefixes = None
    if chance.random() < 0.7:
        paths = chance.sample(PATTERNS, chance.randint(1, 4))
    else:
        wanted = sha256(chance.choice(FILES).encode()).hexdigest()
        prefixes = [wanted[: chance.randint(0, 3)], "%x" % chance.randrange(16)]
    threshold = 2 if chance.random() < 0.03 else 1
    keyids = [keys[name].public_key.keyid]
    if threshold == 2:
        keyids.append(keys["stranger"].public_key.keyid)
    return DelegatedRole(name, keyids, threshold, chance.random() < 0.2, paths, prefixes)


def delegations(width):
    known = {signer.public_key.keyid: signer.public_key for signer in keys.values()}
    if chance.random() < 0.1:
        bins = SuccinctRoles([keys["bins"].public_key.keyid], 1, chance.randint(1, 6), "bins")
        return Delegations(known, succinct_roles=bins)
    children = chance.sample(NAMES, chance.randint(0, width))
    return Delegations(known, roles={name: branch(name) for name in children})


def publish():
    out = folder / "tuf"
    subprocess.run(["rm", "-rf", out], check=True)
    (out / "targets").mkdir(parents=True)
    consistent = chance.random() < 0.7
    root = Root(version=1, expires=late, consistent_snapshot=consistent)
    for role in ["root", "timestamp", "snapshot", "targets"]:
        root.add_key(keys["top"].public_key, role)

    def put(role, signed, signer):
        one = Metadata(signed)
        one.sign(keys[signer])
        version = f"{signed.version}." if consistent and role != "timestamp" or role == "root" else ""
        one.to_file(str(out / f"{version}{quote(role, '')}.json"))

    meta = {}

    def targets(role, signer, width, files):
        signed = Targets(version=1, expires=late)
        for path in files:
            target = TargetFile.from_data(path, content(signer if signer != "top" else "targets"), ["sha256"])
            signed.targets[path] = target
            where = out / "targets" / path
            where.parent.mkdir(parents=True, exist_ok=True)
            data = content(signer if signer != "top" else "targets")
            if consistent:
                where = where.with_name(f"{target.hashes['sha256']}.{where.name}")
            where.write_bytes(data)
        if chance.random() < 0.9:
            signed.delegations = delegations(width)
        fault = chance.random() if role != "targets" else 1
        if fault < 0.02:
            signed.expires = early
        meta[f"{role}.json"] = MetaFile(2 if 0.02 < fault < 0.03 else 1)
        put(role, signed, "stranger" if 0.03 < fault < 0.05 else signer)
        if 0.05 < fault < 0.06:
            del meta[f"{role}.json"]
        return signed.delegations.succinct_roles if signed.delegations else None

    some = lambda: [path for path in FILES if chance.random() < 0.25] if consistent else []
    bins = [targets("targets", "top", 4, [])]
    # Without hashes in the names of files, two roles would have one file with two contents.
    owner = {path: chance.choice(NAMES) for path in FILES}
    for name in NAMES:
        own = some() if consistent else [path for path in FILES if owner[path] == name]
        bins.append(targets(name, name, 3, own))
    for succinct in filter(None, bins):
        for role in succinct.get_roles():
            if f"{role}.json" not in meta:
                files = [path for path in FILES if chance.random() < 0.5] if consistent else []
                targets(role, "bins", 0, files)
    put("snapshot", Snapshot(version=1, expires=late, meta=meta), "top")
    put("timestamp", Timestamp(version=1, expires=late, snapshot_meta=MetaFile(1)), "top")
    put("root", root, "top")


def theirs(path):
    cache = folder / "cache"
    subprocess.run(["rm", "-rf", cache], check=True)
    (cache / "targets").mkdir(parents=True)
    first = (folder / "tuf/1.root.json").read_bytes()
    updater = Updater(str(cache), "http://tuf.example/", str(cache / "targets"),
        "http://tuf.example/targets/", Local(), bootstrap=first)
    try:
        found = updater.get_targetinfo(path)
        return found and Path(updater.download_target(found)).read_bytes()
    except (RepositoryError, DownloadHTTPError):
        return "refused"


def ours(path):
    data = folder / "data"
    subprocess.run(["rm", "-rf", data], check=True)
    done = subprocess.run([palisade, "--data-dir", data, "trust", "root", "import", "--root",
        folder / "tuf/1.root.json", "--tuf", folder / "tuf", "--target", path], capture_output=True, text=True)
    if done.returncode == 0:
        return (data / "trusted-root/trusted_root.json").read_bytes()
    assert done.returncode == 1, done.stderr
    return None if "offers no" in done.stderr else "refused"


folder.mkdir(parents=True, exist_ok=True)
counts = {}
for number in range(n_repositories):
    publish()
    for path in FILES:
        a, b = theirs(path), ours(path)
        if a != b:
            sys.exit(f"repository {number} of seed {seed}, `{path}`: theirs {a}, ours {b}")
        kind = "found" if isinstance(a, bytes) else a or "not there"
        counts[kind] = counts.get(kind, 0) + 1
print(f"{n_repositories} repositories: {counts}")
