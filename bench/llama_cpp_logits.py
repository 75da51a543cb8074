#!/usr/bin/env python3
"""Whether llama.cpp computes from a GGUF file what normtweak and transformers compute, for each family.

    bench/llama_cpp_logits.py [FAMILY ...] [--program build/normtweak] [--write]

Every case of tests/oracles/family_llama_cpp.py is a tiny random model in an F32 file, as llama.cpp's converter lays it
out. llama.cpp, `normtweak logits` and transformers compute logits at every position of the same rows. The table has the
largest differences from llama.cpp's, relative to its largest logit, and for models with GELU the median over positions
of how far transformers is away with llama.cpp's F16 table in place of GELU. Exit status 1 if a difference exceeds the
bounds of that module, which states their reasons.
--write keeps llama.cpp's logits in tests/oracles/llama_cpp_logits.safetensors for the test suite.
Needs llama-cpp-python (0.3.36; see bench/llama_library.py) and what the tests need: torch, transformers, gguf.
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

import packages
import program

packages.need("gguf", "llama_cpp", "numpy", "safetensors", "torch", "transformers")

import torch
import transformers
from safetensors.torch import save_file

import llama_library

sys.path.insert(0, str(program.ROOT / "tests" / "oracles"))
import family_gguf  # noqa: E402: it is found by the line above
import family_llama_cpp as oracle  # noqa: E402
import family_models  # noqa: E402
from family_configs import VOCABULARY  # noqa: E402


def llama_logits(path, family, case):
    # The files have no tokenizer, without which llama.cpp asks for the size of the vocabulary.
    vocabulary = {"tokenizer.ggml.model": "no_vocab", f"{family_gguf.architecture(family)}.vocab_size": VOCABULARY}
    metadata = vocabulary | oracle.METADATA.get((family, case), {})
    return torch.from_numpy(llama_library.logits(path, family_models.IDS.tolist(), metadata))


def compare(family, case, folder):
    """Prints a row of the table; returns llama.cpp's logits, the weights' fingerprint and whether all is as stated."""
    import cli_program  # asks for the program's path when it is loaded
    model, path = oracle.make(family, case), folder / "model.gguf"
    oracle.write(path, family, case, model)
    expected = llama_logits(path, family, case)
    bounds = oracle.Bounds(family, case, model)
    theirs = family_models.logits(model, family_models.IDS)
    try:
        ours = cli_program.logits(path, family_models.IDS, folder)
    except AssertionError as refusal:
        print(refusal, file=sys.stderr)
        ours = torch.full_like(expected, torch.inf)
    differences = [family_models.relative(found, expected) for found in (ours, theirs)]
    passed = max(differences) <= bounds.largest
    with_table = ""
    if bounds.with_table:
        median = oracle.typical_difference(family_models.logits(oracle.with_table(model), family_models.IDS), expected)
        passed &= median <= bounds.with_table
        with_table = f"{median:.1e}"
    print(f"| {family} | {case} | {differences[0]:.1e} | {differences[1]:.1e} | {with_table} | {bounds.largest:g} | "
          f"{'' if passed else 'TOO FAR'} |", flush=True)
    return expected, oracle.fingerprint(model), passed


def check_refused(family, case, folder):
    """Whether llama.cpp still refuses the file; prints a row."""
    path = folder / "model.gguf"
    oracle.write(path, family, case, oracle.make(family, case))
    try:
        llama_logits(path, family, case)
    except llama_library.Refused:
        print(f"| {family} | {case} | | | | | refused: llama.cpp {oracle.REFUSED[family, case]} |", flush=True)
        return True
    print(f"| {family} | {case} | | | | | NOT REFUSED |", flush=True)
    return False


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", metavar="FAMILY", nargs="*", help="default: all")
    parser.add_argument("--program", default=os.environ.get("NORMTWEAK", str(program.ROOT / "build" / "normtweak")))
    parser.add_argument("--write", action="store_true", help="keep llama.cpp's logits, of all families, for the tests")
    options = parser.parse_args()
    if options.write and options.families:
        parser.error("--write keeps the logits of all families")
    return options


def main():
    options = parse()
    os.environ["NORMTWEAK"] = options.program
    transformers.utils.logging.set_verbosity_error()
    version = llama_library.version()
    print(f"{version}; torch {torch.__version__}, transformers {transformers.__version__}; F32 on the CPU.\n\n"
          "| family | case | normtweak | transformers | with the table, median | bound | |\n|-|-|-|-|-|-|-|", flush=True)
    kept, failed = {}, []
    with tempfile.TemporaryDirectory() as folder:
        wanted = [pair for pair in oracle.CASES + list(oracle.REFUSED)
                  if not options.families or pair[0] in options.families]
        for family, case in wanted:
            if (family, case) in oracle.REFUSED:
                passed = check_refused(family, case, Path(folder))
            else:
                logits, weights, passed = compare(family, case, Path(folder))
                kept[oracle.name_of(family, case, "logits")] = logits[-1, oracle.POSITIONS].contiguous()
                kept[oracle.name_of(family, case, "weights")] = weights
            if not passed:
                failed.append(f"{family}: {case}")
    if options.write:
        save_file(kept, oracle.KEPT, metadata={"computed_by": version, "torch": torch.__version__,
                                               "transformers": transformers.__version__})
    if failed:
        sys.exit(f"not as stated: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
