"""The tokenizer files that are made from GGUF metadata open elsewhere, and give the same ids there."""
import json
import os
import pathlib

import pytest
import transformers
from tokenizers import Tokenizer

ORACLE = pathlib.Path(os.environ["NORMTWEAK_TEXT_ORACLE"])
MADE = pathlib.Path(os.environ["NORMTWEAK_TEXT_FROM_GGUF"])


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


LINES = read(ORACLE / "lines.json")[:1500]


@pytest.mark.parametrize("name", read(ORACLE / "names.json")["gguf"])
def test_ids(name):
    expected = read(ORACLE / f"{name}.expected.json")["marked"]
    opened = Tokenizer.from_file(str(MADE / name / "tokenizer.json"))
    in_transformers = transformers.AutoTokenizer.from_pretrained(MADE / name)
    for line, ids in zip(LINES, expected):
        assert opened.encode(line).ids == ids
        assert in_transformers(line)["input_ids"] == ids


def test_config():
    tokenizer = transformers.AutoTokenizer.from_pretrained(MADE / "llama3")
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.model_max_length) == ("<|im_start|>", "<|im_end|>", 512)
    messages = [{"role": "user", "content": "Hello"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == "Hello"
