#!/usr/bin/env python3
"""The advisories that Palisade is given, as a database of Trivy.

usage: trivy_db.py --out CACHE_DIR [--osv ALL_ZIP]... [--secdb DIR]... [--tracker JSON]

It shares no code with Palisade's importers: a feed that one of them misreads shows as a
difference of findings. Records keep their own name where Trivy's form allows one record for a
name, so that each can be compared.
"""

import argparse
import collections
import json
import pathlib
import re
import zipfile

import bolt

SOURCES = {
    "Go": ("go::The Go Vulnerability Database", "govulndb"),
    "PyPI": ("pip::Python Packaging Advisory Database", "osv"),
    "crates.io": ("cargo::RustSec Advisory Database", "osv"),
}
CODENAMES = {"bullseye": "11", "bookworm": "12", "trixie": "13"}


def tree():
    return collections.defaultdict(tree)


class Database:
    def __init__(self):
        self.buckets = tree()
        self.vulnerabilities = {}
        self.n_records = 0

    def add(self, bucket, source, package, name, advisory):
        self.buckets["data-source"][bucket] = encoded({"ID": source, "Name": bucket, "URL": ""})
        old = self.buckets[bucket][package].get(name)
        if old is not None:
            # One vulnerability, several records: what any of them says.
            before = json.loads(old)
            advisory["VulnerableVersions"] = before["VulnerableVersions"] + advisory["VulnerableVersions"]
        self.buckets[bucket][package][name] = encoded(advisory)
        self.vulnerabilities[name] = encoded({"Title": name, "Severity": "UNKNOWN"})
        self.n_records += 1

    def write(self, cache):
        self.buckets["vulnerability"] = self.vulnerabilities
        folder = pathlib.Path(cache, "db")
        folder.mkdir(parents=True, exist_ok=True)
        bolt.write(folder / "trivy.db", self.buckets)
        far = "2099-01-01T00:00:00Z"
        meta = {"Version": 2, "NextUpdate": far, "UpdatedAt": far, "DownloadedAt": far}
        (folder / "metadata.json").write_text(json.dumps(meta))


def encoded(value):
    return json.dumps(value).encode()


PEP_440 = re.compile(
    r"v?(\d+!)?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?\d*)?"
    r"(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?([-_.]?dev[-_.]?\d*)?(\+[a-z0-9]+([-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)

# OSV's `0` is before every version, also before pre-releases of 0.0.0.
FIRST = {"Go": "0.0.0-0", "crates.io": "0.0.0-0", "PyPI": "0.dev0"}


def constraints(affected):
    """Ranges and versions in Trivy's words."""
    first = FIRST[affected["package"]["ecosystem"]]
    found = []
    for span in affected.get("ranges") or []:
        if span["type"] == "GIT":
            continue
        lower = None
        for event in span["events"]:
            if "introduced" in event:
                if lower is not None:
                    found.append(lower)
                lower = ">=" + (first if event["introduced"] == "0" else event["introduced"])
            elif "fixed" in event:
                found.append(f"{lower}, <{event['fixed']}")
                lower = None
            elif "last_affected" in event:
                found.append(f"{lower}, <={event['last_affected']}")
                lower = None
        if lower is not None:
            found.append(lower)
    # One version that PEP 440 does not know makes Trivy drop the whole record.
    versions = affected.get("versions") or []
    if affected["package"]["ecosystem"] == "PyPI":
        versions = filter(PEP_440.fullmatch, versions)
    return found + ["=" + version for version in versions]


def osv_records(path):
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            yield json.loads(archive.read(name))


def read_osv(database, path):
    for record in osv_records(path):
        if record.get("withdrawn"):
            continue
        if record["id"].startswith("AL"):
            read_alma(database, record)
            continue
        for affected in record.get("affected", []):
            ecosystem = affected["package"]["ecosystem"]
            if ecosystem in SOURCES:
                bucket, source = SOURCES[ecosystem]
                vulnerable = constraints(affected)
                names = [a for a in record.get("aliases") or [] if a.startswith("CVE-")] or [record["id"]]
                for name in names:
                    advisory = {"VulnerableVersions": vulnerable, "VendorIDs": [record["id"]]}
                    if vulnerable:
                        package = affected["package"]["name"]
                        if ecosystem == "PyPI":
                            package = re.sub("[-_.]+", "-", package).lower()
                        database.add(bucket, source, package, name, advisory)


def stream_of(record, fixed):
    """`NAME:STREAM`, where the build is of a module: "Moderate: nodejs:20 security update"."""
    words = re.findall(r"\S+:\S+", record["summary"]) if ".module" in fixed else []
    return words[0] if words else None


def fixes_of(affected):
    return [e["fixed"] for s in affected["ranges"] for e in s["events"] if "fixed" in e]


def rpm_key(version):
    """Something that is ordered as rpm orders versions without `~` and `^`, which notices do not have."""
    epoch, _, rest = version.rpartition(":")
    parts = [re.findall(r"\d+|[a-zA-Z]+", part) for part in rest.split("-", 1)]
    ranked = [[(1, int(run), "") if run.isdigit() else (0, 0, run) for run in part] for part in parts]
    return int(epoch or 0), ranked


def read_alma(database, record):
    """A notice fixes the CVEs that it is related to; the first build that has the fix decides."""
    named = [*(record.get("related") or []), *(record.get("upstream") or []), *(record.get("aliases") or [])]
    if not any(name.startswith("CVE-") for name in named):
        return
    first = {}
    for affected in record["affected"]:
        for fixed in fixes_of(affected):
            stream = stream_of(record, fixed)
            package = affected["package"]["name"]
            key = (affected["package"]["ecosystem"].split(":")[1], f"{stream}::{package}" if stream else package)
            first[key] = min(first.get(key, fixed), fixed, key=rpm_key)
    for (release, package), fixed in first.items():
        database.add(f"alma {release}", "alma", package, record["id"], {"FixedVersion": fixed})


def secdb_entries(path):
    """(package, fixed version, identifiers) of one file of Alpine's secdb. Its YAML is as flat as this."""
    name = fixed = None
    release = None
    for line in path.read_text().splitlines():
        text = line.strip()
        if text.startswith("distroversion:"):
            release = text.split()[1].lstrip("v")
        elif text.startswith("name:"):
            name = text.split(None, 1)[1]
        elif text.startswith("- pkg:") or text == "secfixes:":
            pass
        elif name and text.endswith(":") and not text.startswith("-"):
            fixed = text[:-1].strip("'\"")
        elif name and fixed and text.startswith("- "):
            yield release, name, fixed, text[2:].strip().strip("'\"")


def read_secdb(database, folder):
    for path in sorted(pathlib.Path(folder).rglob("*.yaml")):
        for release, name, fixed, identifiers in secdb_entries(path):
            for identifier in identifiers.split():
                cve = re.match(r"CVE-\d{4}-\d{4,}", identifier)
                identifier = cve.group() if cve else identifier
                known = database.buckets[f"alpine {release}"][name]
                # One that is listed under several versions: Trivy has room for one of a name.
                while identifier in known:
                    identifier += "#"
                advisory = {"FixedVersion": meant(fixed)}
                database.add(f"alpine {release}", "alpine", name, identifier, advisory)


def meant(version):
    """Slips before the revision, which no package can have: 0.8.21.r2, 2.7.16-33, 1.18.-r2, 4.10-1-r1."""
    base, revision = re.fullmatch(r"(.*?)(?:(?:-r|\.r|-)(\d+))?", version).groups()
    base = re.sub(r"-(?=\d)", ".", base.rstrip("."))
    return base if revision is None else f"{base}-r{revision}"


def read_tracker(database, path):
    with open(path) as file:
        tracker = json.load(file)
    for package, vulnerabilities in tracker.items():
        for name, vulnerability in vulnerabilities.items():
            for codename, release in vulnerability["releases"].items():
                if codename not in CODENAMES or release.get("fixed_version") == "0":
                    continue
                advisory = {"FixedVersion": release.get("fixed_version", "")}
                if release["status"] == "open":
                    reasons = {"postponed": 6, "ignored": 5}
                    advisory = {"Status": reasons.get(release.get("nodsa_reason"), 2)}
                database.add(f"debian {CODENAMES[codename]}", "debian", package, name, advisory)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--osv", action="append", default=[])
    parser.add_argument("--secdb", action="append", default=[])
    parser.add_argument("--tracker")
    arguments = parser.parse_args()
    database = Database()
    for path in arguments.osv:
        read_osv(database, path)
    for folder in arguments.secdb:
        read_secdb(database, folder)
    if arguments.tracker:
        read_tracker(database, arguments.tracker)
    database.write(arguments.out)
    print(f"{database.n_records} records for Trivy")


if __name__ == "__main__":
    main()
