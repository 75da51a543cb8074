#!/usr/bin/env python3
"""Turns a data set into JSON lines for `normtweak eval --task`.

    bench/json_lines.py FILE... -o OUT.jsonl [--rename InputSentence1=input_sentence_1 ...]

FILE is CSV, TSV or Parquet (which needs pyarrow), a JSON array, or JSON lines already. The fields keep their names
unless --rename gives others; the names that a task needs are those of the data set on the Hugging Face hub
(`normtweak eval --help`). StoryCloze's own CSV is renamed without being told.
"""
import argparse
import csv
import json
import pathlib
import sys

STORYCLOZE = {**{f"InputSentence{i}": f"input_sentence_{i}" for i in range(1, 5)},
              "RandomFifthSentenceQuiz1": "sentence_quiz1", "RandomFifthSentenceQuiz2": "sentence_quiz2",
              "AnswerRightEnding": "answer_right_ending"}


def rows(path):
    if path.suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    if path.suffix == ".parquet":
        import pyarrow.parquet
        return pyarrow.parquet.read_table(path).to_pylist()
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--rename", nargs="*", default=[], metavar="OLD=NEW")
    options = parser.parse_args()
    wrong = [pair for pair in options.rename if "=" not in pair]
    if wrong:
        sys.exit(f"--rename {wrong[0]}: OLD=NEW is needed")
    names = STORYCLOZE | dict(pair.split("=", 1) for pair in options.rename)
    found = [row for path in options.files for row in rows(path)]
    with options.output.open("w", encoding="utf-8") as file:
        for row in found:
            file.write(json.dumps({names.get(key, key): value for key, value in row.items()}, ensure_ascii=False) + "\n")
    print(f"{options.output}: {len(found)} rows")


if __name__ == "__main__":
    main()
