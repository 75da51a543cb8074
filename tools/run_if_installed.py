#!/usr/bin/env python3
"""Runs a command that needs Python packages, or says which are missing: run_if_installed.py REQUIREMENTS COMMAND...

Looked for are the packages that the file REQUIREMENTS names, in the environment of the interpreter that runs this.
Exit status 77, which ctest shows as skipped, where one is not installed.
"""

import importlib.metadata
import os
import re
import sys

SKIPPED = 77


def missing(requirements: str) -> list[str]:
    """Names in the text of a requirements file that are not installed here, in whatever version."""
    absent = []
    for line in requirements.splitlines():
        name = re.match(r"[A-Za-z0-9._-]+", line)
        if not name:
            continue
        try:
            importlib.metadata.version(name[0])
        except importlib.metadata.PackageNotFoundError:
            absent.append(name[0])
    return absent


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        absent = missing(file.read())
    if absent:
        print(f"skipped: {sys.executable} has no {', '.join(absent)}; pip install -r {os.path.basename(sys.argv[1])}")
        return SKIPPED
    sys.stdout.flush()
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
