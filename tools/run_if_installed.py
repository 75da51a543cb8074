#!/usr/bin/env python3
"""Runs Python with what a requirements file names, or says what is missing: run_if_installed.py REQUIREMENTS ARGUMENT...

The arguments are those of the interpreter (`-m pytest FILE`, `SCRIPT ARGUMENT`). Exit status 77, which ctest shows as
skipped, where a package is not installed.
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
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])


if __name__ == "__main__":
    sys.exit(main())
