#!/usr/bin/env python3
"""Checks that no folder of src/normtweak includes what it must not know: tools/check_layers.py SRC/NORMTWEAK

A folder may include itself and the folders before it in LAYERS, except for the pairs in NEVER. The folders in base/ are
layers of the same kind, listed in BASE; what lies in base/ itself, like the one error type, is shared by all of them.
"""

import pathlib
import re
import sys

LAYERS = ["base", "weights", "formats", "text", "model", "calibrate", "quantize", "transform", "evaluate", "tweak",
          "pipeline", "report", "cli"]
BASE = ["device", "files", "strings", "json", "processes"]

# (folder, beginning of an include, why): lower layers that this folder must do without all the same.
NEVER = [
    ("weights", "normtweak/base/files/", "weights/ reads no file"),
    ("quantize", "normtweak/formats/", "quantize/ does not save"),
    ("transform", "normtweak/formats/", "transform/ does not save"),
    ("tweak", "normtweak/formats/", "tweak/ knows no format"),
]

# Only the command line talks; the rest throws errors and reports progress.
TALKS = "cli"

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def inner_folder(parts: tuple[str, ...]) -> str | None:
    """The folder in base/ of a path below src/normtweak; None if it lies elsewhere."""
    return parts[1] if parts[0] == "base" and len(parts) > 2 else None


def complaint(file: pathlib.PurePath, quote: str, header: str) -> str | None:
    """What is wrong with this include in `file`, a path below src/normtweak, or None."""
    folder = file.parts[0]
    if header == "iostream" and folder != TALKS:
        return f"only {TALKS}/ talks; throw an Error, or report to a ProgressSink"
    if not header.startswith("normtweak/"):
        return 'write it from the root, "normtweak/..."' if quote == '"' else None
    path = pathlib.PurePath(header).relative_to("normtweak")
    other = path.parts[0]
    if other not in LAYERS:
        return f"there is no layer {other}"
    if LAYERS.index(other) > LAYERS.index(folder):
        return f"{other}/ is above {folder}/"
    mine, theirs = inner_folder(file.parts), inner_folder(path.parts)
    if theirs and theirs not in BASE:
        return f"there is no layer base/{theirs}"
    if mine and theirs and BASE.index(theirs) > BASE.index(mine):
        return f"base/{theirs}/ is above base/{mine}/"
    return next((why for who, prefix, why in NEVER if who == folder and header.startswith(prefix)), None)


def check(source: pathlib.Path) -> list[str]:
    """One line for each include that breaks a rule: file:line: include: why."""
    wrong = []
    for file in sorted(source.rglob("*")):
        if file.suffix not in (".h", ".cpp"):
            continue
        inside = file.relative_to(source)
        folder, inner = inside.parts[0], inner_folder(inside.parts)
        if folder not in LAYERS or (inner and inner not in BASE):
            wrong.append(f"{file}: there is no layer {f'base/{inner}' if inner else folder}")
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            why = match and complaint(inside, match[1], match[2])
            if why:
                wrong.append(f"{file}:{number}: {match[2]}: {why}")
    return wrong


def main() -> int:
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
        print("usage: check_layers.py SRC/NORMTWEAK", file=sys.stderr)
        return 2
    wrong = check(pathlib.Path(sys.argv[1]))
    print("\n".join(wrong) if wrong else "every include goes down")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
