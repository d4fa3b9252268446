"""Looks the pinned requirements up in the vulnerability database.

Ends with 1 where one of them is known to be vulnerable, or where the look-up itself is wrong; says
so and ends with 0 where the database cannot be reached, as a check without network must go on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

UNREACHABLE = re.compile(r"Could not connect|requests\.exceptions\.|ServiceError|redirecting")


def audit(requirements: str) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit found on each requirement, or nothing and what it complained of."""
    with TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        options = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
        command = [sys.executable, "-m", "pip_audit", "-r", requirements, *options]
        result = subprocess.run([*command, "-o", report], stderr=subprocess.PIPE, text=True)
        if report.exists() and (text := report.read_text()):
            return json.loads(text)["dependencies"], result.stderr
        return [], result.stderr


def main() -> int:
    found, complaint = audit("requirements.txt")
    if not found and not UNREACHABLE.search(complaint):
        print(complaint, file=sys.stderr)
        return 1
    # Where something else answers in the database's place, pip-audit skips each package unknown to
    # it, and calls the rest, which is nothing, free of vulnerabilities.
    known = [package for package in found if "vulns" in package]
    if not known:
        print("NOT CHECKED: the vulnerability database is not reachable from here.")
        return 0
    for package in known:
        for flaw in package["vulns"]:
            fixed = ", ".join(flaw["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}")
    print(f"{len(known)} of {len(found)} packages looked up in the vulnerability database.")
    return int(any(package["vulns"] for package in known))


if __name__ == "__main__":
    sys.exit(main())
