"""Compares the tokenizers in GGUF files that the program writes with those of llama.cpp's converter. Run by hand:

    NORMTWEAK=PROGRAM PYTHONPATH=LLAMA_CPP:LLAMA_CPP/gguf-py python tests/oracles/gguf_tokenizer_check.py

LLAMA_CPP: the folder with llama.cpp's sources. The converter knows pre-tokenizers by the ids that they give with known
vocabularies; here it is told the name. Its scores of a vocabulary with SentencePiece's file are that file's.
"""
import json
import logging
import pathlib
import tempfile

import gguf
import transformers
from conversion import get_model_class
from conversion.base import TextModel

import cli_models
import cli_program
import text_folders
from family_gguf_check import differences


def byte_level(folder):
    cli_models.save_with_tokenizer(cli_models.llama(), folder)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>",
              "chat_template": "{{ x }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def sentencepiece(folder):
    cli_models.save(cli_models.llama(vocab_size=1504, bos_token_id=1, eos_token_id=2), folder)
    (folder / "tokenizer.model").write_bytes(text_folders.plain_bpe())
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True, "add_prefix_space": True}))


def convert(folder, output):
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    made = get_model_class(config["architectures"][0])
    made(folder, gguf.LlamaFileType.MOSTLY_F16, output, eager=True).write()


def keys(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()
            if name.startswith(("tokenizer.", "general."))}


def main():
    logging.disable()
    transformers.logging.set_verbosity_error()
    for make in (byte_level, sentencepiece):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "model").mkdir()
            make(folder / "model")
            convert(folder / "model", folder / "theirs.gguf")
            ids = cli_program.save_ids(folder / "ids", cli_models.ids(8, 16))
            cli_program.run("quantize", folder / "model", "-o", folder / "ours.gguf", "--format", "gguf", "--gguf-type",
                            "F16", "--calibration", ids, "--tweak", "none", "--method", "rtn", "--group-size", 32)
            ours, theirs = keys(folder / "ours.gguf"), keys(folder / "theirs.gguf")
            print(f"{make.__name__}: {len(theirs)} keys", *differences(ours, theirs, lambda a, b: a == b), sep="\n  ")


if __name__ == "__main__":
    main()
