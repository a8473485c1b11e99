#!/usr/bin/env python3
"""Compares findings of Palisade and Trivy about one target.

usage: compare.py TITLE PALISADE_JSON TRIVY_JSON [--list FILE] -> a row of the table

A finding of one is a finding of the other when package and version are the same and they share
an identifier. What only one has is written to FILE, one a line.
"""

import argparse
import json
import re


def python_name(name):
    return re.sub("[-_.]+", "-", name).lower()


def key(package, version, is_python):
    version = version[1:] if re.match(r"v\d", version) else version
    # An epoch of zero is the same as none.
    version = version[2:] if version.startswith("0:") else version
    return (python_name(package) if is_python else package, version)


def ours(path):
    with open(path) as file:
        report = json.load(file)
    found = {}
    for finding in report["findings"]:
        if finding["kind"] == "vulnerability":
            place = key(finding["package"], finding["installed"], finding["purl"].startswith("pkg:pypi"))
            names = {finding["id"], *finding.get("aliases", [])}
            found.setdefault(place, []).append((names, finding.get("fixed") or ""))
    return found


def theirs(path):
    with open(path) as file:
        report = json.load(file)
    found = {}
    for result in report.get("Results") or []:
        for finding in result.get("Vulnerabilities") or []:
            place = key(finding["PkgName"], finding["InstalledVersion"], result["Type"] == "python-pkg")
            names = {finding["VulnerabilityID"].rstrip("#"), *finding.get("VendorIDs", [])}
            found.setdefault(place, []).append((names, finding.get("FixedVersion", "")))
    return found


def lacking(those, others):
    """Findings of `those` without one of `others`, and how many have one."""
    alone, n_both = [], 0
    for place, findings in those.items():
        known = set().union(*(names for names, _ in others.get(place, [])))
        for names, fixed in findings:
            if names & known:
                n_both += 1
            else:
                alone.append((*place, ",".join(sorted(names)), fixed))
    return sorted(alone), n_both


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("title")
    parser.add_argument("palisade")
    parser.add_argument("trivy")
    parser.add_argument("--list")
    arguments = parser.parse_args()
    palisade, trivy = ours(arguments.palisade), theirs(arguments.trivy)
    only_ours, n_ours = lacking(palisade, trivy)
    only_theirs, n_theirs = lacking(trivy, palisade)
    if arguments.list:
        with open(arguments.list, "a") as file:
            for side, alone in (("palisade", only_ours), ("trivy", only_theirs)):
                for row in alone:
                    print(arguments.title, side, *row, sep="\t", file=file)
    print(f"| {arguments.title} | {n_ours} | {n_theirs} | {len(only_ours)} | {len(only_theirs)} |")


if __name__ == "__main__":
    main()
