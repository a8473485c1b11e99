#!/usr/bin/env python3
"""What the changelogs of a folder of Debian packages say was fixed, read without Palisade's code.

usage: changelogs.py DEBS --table TSV [--tracker JSON] [--codename bookworm]

The table has a line for each source package and CVE: the oldest upload whose entry names the
CVE, and the words of the entry that do. The tracker is the same in the form of Debian's security
tracker, which several programs read; every tenth vulnerability is said to be open there
(postponed or ignored in turn), so that the states without a fix are asked for as well.
"""

import argparse
import gzip
import io
import json
import pathlib
import re
import subprocess
import tarfile

HEADING = re.compile(r"^([a-z0-9][a-z0-9+.-]+) \(([^ )]+)\) [^;]+;.*$")
CVE = re.compile(r"CVE-\d{4}-\d{4,}")


def changelog(deb):
    """The text of the package's changelog, newest entry first."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process:
        found = {}
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                name = re.fullmatch(r"\./usr/share/doc/[^/]+/(changelog(?:\.Debian)?\.gz)", member.name)
                if name and member.isfile():
                    found[name.group(1)] = archive.extractfile(member).read()
    for name in ("changelog.Debian.gz", "changelog.gz"):
        if name in found:
            return gzip.open(io.BytesIO(found[name]), "rt", errors="replace").read()
    return ""


def entries(text):
    """(source, version, lines) of each upload."""
    current = None
    for line in text.splitlines():
        heading = HEADING.match(line)
        if heading:
            if current:
                yield current
            current = (heading.group(1), heading.group(2), [])
        elif current and line.startswith("  "):
            current[2].append(line.strip())
    if current:
        yield current


def fixes(debs):
    """(source, CVE) to (version, words) of the oldest upload that names it."""
    found = {}
    for deb in sorted(pathlib.Path(debs).glob("*.deb")):
        # Newest first, so that the oldest is what stays.
        for source, version, lines in entries(changelog(deb)):
            for index, line in enumerate(lines):
                for name in CVE.findall(line):
                    words = " ".join(lines[max(0, index - 1) : index + 2])
                    found[source, name] = (version, words)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("debs")
    parser.add_argument("--table", required=True)
    parser.add_argument("--tracker")
    parser.add_argument("--codename", default="bookworm")
    arguments = parser.parse_args()
    found = fixes(arguments.debs)
    with open(arguments.table, "w") as file:
        for (source, name), (version, words) in sorted(found.items()):
            print(source, name, version, words.replace("\t", " "), sep="\t", file=file)
    if arguments.tracker:
        tracker = {}
        for index, ((source, name), (version, _)) in enumerate(sorted(found.items())):
            release = {"status": "resolved", "repositories": {}, "fixed_version": version, "urgency": "not yet assigned"}
            if index % 10 == 9:
                release = {"status": "open", "repositories": {}, "urgency": "not yet assigned", "nodsa": "Minor issue"}
                release["nodsa_reason"] = "ignored" if index % 20 == 9 else "postponed"
            issue = {"description": "", "scope": "local", "releases": {arguments.codename: release}}
            tracker.setdefault(source, {})[name] = issue
        pathlib.Path(arguments.tracker).write_text(json.dumps(tracker))
    n_sources = len({source for source, _ in found})
    print(f"{len(found)} fixes of {n_sources} sources in the changelogs")


if __name__ == "__main__":
    main()
