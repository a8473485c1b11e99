#!/usr/bin/env python3
"""Holds the table that `palisade db build --debian-changelogs` makes against the changelogs' words.

usage: changelog_sample.py PALISADE TABLE_TSV DATABASE WORK_DIR [--of-each N] [--list FILE]

TABLE_TSV is from changelogs.py, which shares no code with Palisade. Of each source N lines are taken
(default 10), at random but the same in every run. For each of them a bill of materials has the source at the version of the upload and at one just before it (`~` sorts
before everything): the CVE must be found in the second, with that upload as its fix, and not in the first.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import subprocess
import urllib.parse

# So many packages a document stay below the bound of findings of one report.
PACKAGES_MAX = 50


def sample(path, n_of_each):
    sources = {}
    with open(path) as file:
        for line in file:
            row = line.rstrip("\n").split("\t")
            sources.setdefault(row[0], []).append(row)
    chosen = random.Random(12)
    return [row for rows in sources.values() for row in chosen.sample(rows, min(n_of_each, len(rows)))]


def document(versions):
    system = {"type": "operating-system", "name": "debian", "version": "12.0", "bom-ref": "system"}
    components = [system]
    for source, version in sorted(versions):
        purl = f"pkg:deb/debian/{source}@{urllib.parse.quote(version, safe='')}?arch=amd64&distro=debian-12"
        components.append({"type": "library", "name": source, "version": version, "purl": purl, "bom-ref": purl})
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


def findings(palisade, database, work, versions):
    """(source, version, CVE) to the fixed version."""
    found = {}
    versions = sorted(versions)
    environment = {**os.environ, "PALISADE_DATA_DIR": str(work), "PALISADE_QUIET": "true"}
    for start in range(0, len(versions), PACKAGES_MAX):
        bill, report = work / "sample.cdx.json", work / "sample.json"
        bill.write_text(json.dumps(document(versions[start : start + PACKAGES_MAX])))
        command = [palisade, "scan", "--no-cache", "--format", "json", "--db", database, "-o", str(report), f"sbom:{bill}"]
        subprocess.run(command, check=True, env=environment)
        for finding in json.loads(report.read_text())["findings"]:
            if finding["kind"] == "vulnerability":
                found[finding["package"], finding["installed"], finding["id"]] = finding.get("fixed")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("palisade")
    parser.add_argument("table")
    parser.add_argument("database")
    parser.add_argument("work")
    parser.add_argument("--of-each", type=int, default=10)
    parser.add_argument("--list")
    arguments = parser.parse_args()
    rows = sample(arguments.table, arguments.of_each)
    work = pathlib.Path(arguments.work)
    versions = {(row[0], version) for row in rows for version in ("0~~", row[2], row[2] + "~")}
    found = findings(arguments.palisade, arguments.database, work, versions)
    counts, listed = collections.Counter(), []
    for source, name, version, words in rows:
        fixed = found.get((source, "0~~", name))
        is_found = [(source, at, name) in found for at in (version + "~", version)]
        if fixed == version and is_found == [True, False]:
            kind = "agree"
        elif fixed is None:
            kind = "are not in the table"
        elif is_lower(fixed, version) and not is_found[1]:
            # `1.3-1~deb12u1` and `1.2-1+deb12u1` continue `1.3-1` in the changelog, with its fixes.
            kind = "are fixed in a lower version that the changelog lists later"
        else:
            kind = "differ"
        counts[kind] += 1
        if kind != "agree":
            listed.append((kind, source, name, version, str(fixed), words))
    if arguments.list:
        with open(arguments.list, "w") as file:
            for row in listed:
                print(*row, sep="\t", file=file)
    shown = ", ".join(f"{n} {kind}" for kind, n in counts.most_common())
    print(f"{len(rows)} fixes in the changelogs' words: {shown}")


def is_lower(a, b):
    return subprocess.run(["dpkg", "--compare-versions", a, "lt", b], check=False).returncode == 0


if __name__ == "__main__":
    main()
