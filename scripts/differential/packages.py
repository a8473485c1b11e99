#!/usr/bin/env python3
"""Bills of materials in which every package of the feeds stands, at the versions where answers change.

usage: packages.py --out DIR [--osv ALL_ZIP]... [--secdb DIR]...

For each range: where it begins and where it ends, the version before and the one after, and
forms of these that the ecosystem orders in its own way (pre-releases, builds, local versions).
"""

import argparse
import collections
import json
import pathlib
import random
import re
import urllib.parse

import trivy_db

# Packages of one document: with all of them there are millions of findings, of the same few kinds.
PACKAGES_MAX = 1000

FORMS = {
    "Go": ["{}", "{}-0.20200101000000-0123456789ab", "{}-rc.1"],
    "PyPI": ["{}", "{}rc1", "{}.post1", "{}.dev1"],
    "crates.io": ["{}", "{}-alpha.1", "{}+build.5"],
}


def steps(version):
    """The version, the one before and the one after: its last number one less and one more."""
    yield version
    numbers = list(re.finditer(r"\d+", version))
    if numbers:
        last = numbers[-1]
        for number in (int(last.group()) - 1, int(last.group()) + 1):
            if number >= 0:
                yield version[: last.start()] + str(number) + version[last.end() :]


def languages(path, wanted):
    for record in trivy_db.osv_records(path):
        for affected in record.get("affected", []):
            ecosystem, package = affected["package"]["ecosystem"], affected["package"]["name"]
            if ecosystem not in FORMS:
                continue
            for span in affected.get("ranges") or []:
                if span["type"] == "GIT":
                    continue
                ends = (value for event in span["events"] for value in event.values())
                for version in (step for end in ends if end != "0" for step in steps(end)):
                    for form in FORMS[ecosystem] if re.fullmatch(r"[0-9.]+", version) else ["{}"]:
                        wanted[ecosystem].add((package, form.format(version), ""))
            for version in (affected.get("versions") or [])[:3]:
                wanted[ecosystem].add((package, version, ""))


def notices(path, wanted):
    for record in trivy_db.osv_records(path):
        for affected in record.get("affected", []):
            family, _, release = affected["package"]["ecosystem"].partition(":")
            if family != "AlmaLinux":
                continue
            for fixed in trivy_db.fixes_of(affected):
                stream = trivy_db.stream_of(record, fixed)
                label = f"{stream}:8000020200101000000:0123abcd" if stream else ""
                for version in steps(fixed):
                    wanted[f"AlmaLinux {release}"].add((affected["package"]["name"], version, label))


def secdb(folder, wanted):
    for path in sorted(pathlib.Path(folder).rglob("*.yaml")):
        for release, name, fixed, _ in trivy_db.secdb_entries(path):
            if fixed == "0":
                continue
            fixed = trivy_db.meant(fixed)
            for version in [*steps(fixed), re.sub(r"-r\d+$", "_rc1-r0", fixed), re.sub(r"-r\d+$", "_p1-r0", fixed)]:
                wanted[f"Alpine {release}"].add((name, version, ""))


def component(group, package, version, module):
    family, _, release = group.partition(" ")
    properties = []
    quoted = urllib.parse.quote(version, safe="")
    if family == "Go":
        # The Go tool writes a `v` before every version but that of its own library.
        version = version if package in ("stdlib", "toolchain") else f"v{version}"
        purl = f"pkg:golang/{package}@{urllib.parse.quote(version, safe='')}"
    elif family == "PyPI":
        purl = f"pkg:pypi/{re.sub('[-_.]+', '-', package).lower()}@{quoted}"
    elif family == "crates.io":
        purl = f"pkg:cargo/{package}@{quoted}"
    elif family == "AlmaLinux":
        epoch, _, rest = version.rpartition(":")
        purl = f"pkg:rpm/alma/{package}@{urllib.parse.quote(rest, safe='')}?arch=x86_64&distro=alma-{release}"
        purl += f"&epoch={epoch}" if epoch else ""
        if module:
            properties = [{"name": "aquasecurity:trivy:Modularitylabel", "value": module}]
    else:
        purl = f"pkg:apk/alpine/{package}@{quoted}?arch=x86_64&distro={release}"
    found = {"type": "library", "name": package, "version": version, "purl": purl, "bom-ref": purl + "#" + module}
    if properties:
        found["properties"] = properties
    return found


def system(group):
    family, _, release = group.partition(" ")
    if not release:
        return []
    name = {"AlmaLinux": "alma", "Alpine": "alpine"}[family]
    version = release if family == "AlmaLinux" else f"{release}.0"
    return [{"type": "operating-system", "name": name, "version": version, "bom-ref": "system"}]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--osv", action="append", default=[])
    parser.add_argument("--secdb", action="append", default=[])
    arguments = parser.parse_args()
    wanted = collections.defaultdict(set)
    for path in arguments.osv:
        languages(path, wanted)
        notices(path, wanted)
    for folder in arguments.secdb:
        secdb(folder, wanted)
    pathlib.Path(arguments.out).mkdir(parents=True, exist_ok=True)
    for group, packages in sorted(wanted.items()):
        packages = sorted(packages)
        if len(packages) > PACKAGES_MAX:
            packages = sorted(random.Random(6).sample(packages, PACKAGES_MAX))
        components = [component(group, *package) for package in packages]
        document = {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": {"type": "application", "name": group, "bom-ref": "all"}},
            "components": system(group) + components,
        }
        name = group.replace(" ", "-") + ".cdx.json"
        pathlib.Path(arguments.out, name).write_text(json.dumps(document))


if __name__ == "__main__":
    main()
