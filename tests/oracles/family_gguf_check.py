"""Compares the files of family_gguf.py with those of llama.cpp's converter. Run by hand:

    PYTHONPATH=LLAMA_CPP:LLAMA_CPP/gguf-py python tests/oracles/family_gguf_check.py [FAMILY...]

LLAMA_CPP: the folder with llama.cpp's sources (the source package llama-cpp-python has them in vendor/). The vocabulary
is left out on both sides.
"""
import json
import logging
import pathlib
import sys
import tempfile

import gguf
import numpy
import transformers
from conversion import get_model_class
from conversion.base import ModelBase

import family_gguf
import family_models


def converter_config(config):
    """Keys and spellings that the converter asks for, and that transformers no longer writes."""
    rotary = config.get("rope_parameters") or {}
    if config["model_type"] == "gpt_neox":
        config["rotary_pct"] = rotary["partial_rotary_factor"]
    if config["model_type"] == "gpt2":
        config["n_ctx"] = config["n_positions"]
    if config["model_type"] == "mpt":
        config["architectures"] = ["MPTForCausalLM"]


def convert(folder, output):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    converter_config(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    vocabulary = {f"t{i}": i for i in range(config["vocab_size"])}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []}))
    made = get_model_class(config["architectures"][0])
    made.set_vocab = lambda self: None
    lost = {key: config[key] for key in ("rotary_pct", "n_ctx") if key in config}
    loaded = ModelBase.load_hparams(folder, False) | lost
    made(folder, gguf.LlamaFileType.ALL_F32, output, eager=True, hparams=loaded).write()


def read(path):
    """Metadata of the architecture, and tensors."""
    reader = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items()
            if not name.startswith(("GGUF.", "general.", "tokenizer."))}
    return keys, {tensor.name: tensor.data for tensor in reader.tensors}


def differences(ours, theirs, equal):
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            yield f"{name}: only {'ours' if name in ours else 'the converter'}"
        elif not equal(ours[name], theirs[name]):
            yield f"{name}: {ours[name]}, of the converter {theirs[name]}"


def same_tensor(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and numpy.array_equal(a, b)


def main():
    logging.disable()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for family in sys.argv[1:] or family_gguf.LAYOUTS:
        for case in family_gguf.LAYOUTS[family].cases:
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                model = family_models.make(family, case)
                model.save_pretrained(folder / "model")
                family_gguf.write(folder / "ours.gguf", family, model)
                try:
                    convert(folder / "model", folder / "theirs.gguf")
                except ValueError as error:  # as of StableLM's norms of queries and keys, which it means to stack
                    print(f"{family}: {case}: the converter fails: {str(error)[:60]}")
                    continue
                keys, values = read(folder / "ours.gguf")
                their_keys, their_values = read(folder / "theirs.gguf")
                found = [*differences(keys, their_keys, lambda a, b: a == b),
                         *differences(values, their_values, same_tensor)]
            print(f"{family}: {case}: {len(values)} tensors, {len(keys)} keys", *found, sep="\n  ")


if __name__ == "__main__":
    main()
