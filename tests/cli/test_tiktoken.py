"""Models with tiktoken's vocabularies and Mistral's, from their first file to what is made of them, against transformers
and the `tiktoken` package."""
import json
import shutil

import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer

import cli_models
import text_ranked
import text_tokenizers
from cli_program import call, run

TEXT = " The river <|im_end|> carries  2024 stones, it's foo\tgreen<s>\n\n日本 naïve 😀 \x07 Åé<|extra_3|> " + cli_models.text(20)
TOKENS = text_ranked.ranks()
CONFIG = {**text_ranked.FAST, **text_ranked.BOS, **text_ranked.ROLES, **text_ranked.declared(len(TOKENS))}
# name → file, its content, tokenizer_config.json
FOLDERS = {"llama3": ("tokenizer.model", text_ranked.tiktoken_file(TOKENS), CONFIG),
           "named": ("tiktoken.model", text_ranked.tiktoken_file(TOKENS), CONFIG),
           "qwen": ("qwen.tiktoken", text_ranked.tiktoken_file(TOKENS), {"tokenizer_class": "QWenTokenizer"}),
           "tekken": ("tekken.json", text_ranked.tekken_file(TOKENS), {"add_bos_token": True, "bos_token": "<s>"})}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiktoken")
    for name, (file, content, config) in FOLDERS.items():
        cli_models.save(cli_models.llama(vocab_size=2048, max_position_embeddings=256), root / name)
        (root / name / file).write_bytes(content)
        (root / name / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return root


def expected_ids(name, folder):
    if name != "qwen":
        return AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    _, tokenizer_class, _, is_nfc, special, front = text_ranked.OWN["tiktoken_class_qwen"]
    encoding = text_ranked.encoding_of(tokenizer_class, text_tokenizers.QWEN2, TOKENS, special)
    return text_ranked.expected_of_class(encoding, is_nfc, front, [TEXT])["ids"][0]


def ids_of(model, count, to):
    (to / "text.txt").write_text(TEXT, encoding="utf-8", newline="")
    run("generate", model, "--text", to / "text.txt", "--samples", 1, "--tokens", count, "-o", to / "ids.safetensors")
    return load_file(to / "ids.safetensors")["input_ids"][0].tolist()


@pytest.mark.parametrize("name", FOLDERS)
def test_ids_of_a_folder_and_of_what_is_made_of_it(name, home, tmp_path):
    expected = expected_ids(name, home / name)
    assert ids_of(home / name, len(expected), tmp_path) == expected
    run("quantize", home / name, "-o", tmp_path / "out", "--method", "rtn", "--bits", 8, "--group-size", 32, "--tweak",
        "none", "--samples", 4, "--tokens", 16)
    file, content, _ = FOLDERS[name]
    assert (tmp_path / "out" / file).read_bytes() == content
    assert ids_of(tmp_path / "out", len(expected), tmp_path) == expected


@pytest.mark.parametrize("name, note", [
    ("llama3", "tokenizer.model: no pattern is in the file; that of transformers (Llama 3's) is assumed"),
    ("qwen", "qwen.tiktoken: read with the pattern and the special tokens of QWenTokenizer"),
    ("tekken", "tokenizer: yes")])
def test_what_is_assumed_is_noted(name, note, home):
    shown = call("inspect", home / name, "--quick")
    assert shown.returncode == 0 and note in " ".join(shown.stdout.split()), shown.stdout


@pytest.mark.parametrize("edit, message", [
    (lambda content: content.replace(b" 7\n", b" 8\n"), "tokenizer.model: line 8 has the rank 8 where 7 is due"),
    (lambda content: content[:200], "tokenizer.model: line "),
    (lambda content: b"AAAA" * 1_000_000, "tokenizer.model: line 1 is not a token in base64 and its rank")])
def test_a_damaged_file_is_named(edit, message, home, tmp_path):
    shutil.copytree(home / "llama3", tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.model"
    path.write_bytes(edit(path.read_bytes()))
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    refused = call("eval", tmp_path / "model", "--text", tmp_path / "text.txt")
    assert refused.returncode == 1 and message in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr


def test_two_vocabularies_are_named(home, tmp_path):
    shutil.copytree(home / "llama3", tmp_path / "model")
    shutil.copy(home / "qwen" / "qwen.tiktoken", tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    refused = call("eval", tmp_path / "model", "--text", tmp_path / "text.txt")
    assert refused.returncode == 1 and "qwen.tiktoken and tokenizer.model are there" in refused.stderr, refused.stderr
