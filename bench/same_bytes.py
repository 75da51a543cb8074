#!/usr/bin/env python3
"""Whether two builds of the program write the same bytes: a dozen runs of each on the same models, compared by file.

    bench/same_bytes.py OLD_PROGRAM NEW_PROGRAM [--work FOLDER]

The models are tiny and random, made by transformers; every run is on one CPU thread. Prints what differs and how long
each program took. Exit status 1 if anything differs.
"""
import argparse
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ORACLES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "oracles"
TEXT = ["--calibration", "{ids}"]
GROUPS = ["--group-size", "16"]
# What is asked of the program; {model}, {gguf} and {gpt2} are models, {ids} token ids, {packed} an earlier result.
RUNS = {
    "gptq": ["quantize", "{model}", *TEXT, *GROUPS, "--bits", "3", "--tweak", "none"],
    "gptq of gpt2": ["quantize", "{gpt2}", *TEXT, *GROUPS, "--bits", "3", "--tweak", "none"],
    "rtn": ["quantize", "{model}", *TEXT, *GROUPS, "--method", "rtn", "--tweak", "none"],
    "k-means": ["quantize", "{gpt2}", *TEXT, "--method", "kmeans", "--bits", "3", "--tweak", "none"],
    "end to end": ["quantize", "{model}", *TEXT, *GROUPS, "--bits", "2"],
    "end to end of gpt2": ["quantize", "{gpt2}", *TEXT, *GROUPS, "--bits", "2", "--float-zeros"],
    "layer-wise": ["quantize", "{model}", *TEXT, *GROUPS, "--bits", "3", "--tweak", "layerwise"],
    "export": ["quantize", "{gpt2}", *TEXT, *GROUPS, "--bits", "4", "--tweak", "none", "--format", "hf"],
    "gguf": ["quantize", "{gguf}", *TEXT, *GROUPS, "--bits", "4", "--tweak", "none"],
    "tweak": ["tweak", "{packed}", "--reference", "{model}", *TEXT],
    "generate": ["generate", "{model}", "--samples", "4", "--tokens", "24"],
    "logits": ["logits", "{gpt2}", "--tokens", "{ids}"],
}


def digest(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
            if file.is_file()}


def make_models(folder):
    sys.path.insert(0, str(ORACLES))
    import gguf  # pylint: disable=import-outside-toplevel

    import cli_gguf  # pylint: disable=import-outside-toplevel
    import cli_models  # pylint: disable=import-outside-toplevel
    from safetensors.torch import save_file  # pylint: disable=import-outside-toplevel
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_models.save_with_tokenizer(cli_models.gpt2(), folder / "gpt2")
    cli_gguf.write(folder / "model.gguf", cli_models.llama(), "llama", gguf.GGMLQuantizationType.F16)
    save_file({"input_ids": cli_models.ids(16, 32)}, folder / "ids.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs=2, type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, help="kept; otherwise a temporary folder")
    options = parser.parse_args()
    work = options.work or pathlib.Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    make_models(work)
    places = {"model": work / "model", "gpt2": work / "gpt2", "gguf": work / "model.gguf",
              "ids": work / "ids.safetensors"}
    seconds, found = [0.0, 0.0], [{}, {}]
    for which, program in enumerate(options.programs):
        out = work / f"out{which}"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for name, arguments in RUNS.items():
            target = out / name.replace(" ", "-")
            if arguments[0] in ("generate", "logits"):
                target = target.with_suffix(".safetensors")
            values = {**places, "packed": out / "gptq"}
            command = [str(program.resolve()), *(argument.format(**values) for argument in arguments), "-o",
                       str(target), "--device", "cpu", "--threads", "1", "--quiet"]
            begin = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds[which] += time.monotonic() - begin
            found[which][name] = digest(target) if done.returncode == 0 else done.stderr
    different = [name for name in RUNS if found[0][name] != found[1][name]]
    for name in RUNS:
        failed = [result[name] for result in found if isinstance(result[name], str)]
        print(f"{'differs' if name in different else 'same'}: {name}{': ' + failed[0].strip() if failed else ''}")
    print(f"{len(RUNS) - len(different)} of {len(RUNS)} the same; {seconds[0]:.1f} s and {seconds[1]:.1f} s")
    if options.work is None:
        shutil.rmtree(work)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
