"""Models with SentencePiece's vocabularies, from their first file to what is made of them, against transformers."""
import json
import shutil

import gguf
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import cli_gguf
import cli_models
import text_folders
from cli_program import call, report, run

ROWS, CONTEXT = 1504, 256
TEXT = " The river <usr> carries  2024 stones, it's foo\tgreen<ctl>\n\n日本 naïve 😀 \x07 " + cli_models.text(40)
CONFIG = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with tokenizer.model, and a GGUF file."""
    root = tmp_path_factory.mktemp("sentencepiece")
    model = cli_models.llama(vocab_size=ROWS, max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(1)
    model.lm_head.weight.data = 0.5 * torch.randn_like(model.lm_head.weight)
    cli_models.save(model, root / "folder")
    (root / "folder" / "tokenizer.model").write_bytes(text_folders.plain_bpe())
    (root / "folder" / "tokenizer_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (root / "file").mkdir()
    cli_gguf.write(root / "file" / "model.gguf", cli_models.llama(max_position_embeddings=CONTEXT, vocab_size=320), "llama",
                   gguf.GGMLQuantizationType.F16, cli_gguf.add_sentencepiece)
    return root


def ids_of(model, text, count, to):
    (to / "text.txt").write_text(text, encoding="utf-8", newline="")
    run("generate", model, "--text", to / "text.txt", "--samples", 1, "--tokens", count, "-o", to / "ids.safetensors")
    return load_file(to / "ids.safetensors")["input_ids"][0].tolist()


def test_ids_of_a_folder(home, tmp_path):
    expected = AutoTokenizer.from_pretrained(home / "folder")(TEXT)["input_ids"]
    assert ids_of(home / "folder", TEXT, len(expected), tmp_path) == expected


def test_ids_of_a_gguf_file(home, tmp_path):
    text = cli_models.text(20)
    expected = AutoTokenizer.from_pretrained(home / "file", gguf_file="model.gguf")(text)["input_ids"][:CONTEXT]
    assert ids_of(home / "file" / "model.gguf", text, len(expected), tmp_path) == expected


@pytest.mark.parametrize("source", ["folder", "file/model.gguf"])
def test_what_is_made_has_the_same_ids(source, home, tmp_path):
    """A copy of tokenizer.model, or a tokenizer.json that others open."""
    run("quantize", home / source, "-o", tmp_path / "out", "--method", "rtn", "--bits", 8, "--group-size", 32, "--tweak",
        "none", "--samples", 4, "--tokens", 16)
    text = cli_models.text(20)
    expected = AutoTokenizer.from_pretrained(tmp_path / "out")(text)["input_ids"][:CONTEXT]
    assert ids_of(tmp_path / "out", text, len(expected), tmp_path) == expected
    assert ids_of(home / source, text, len(expected), tmp_path) == expected


def test_a_continuation_keeps_its_first_space(home, tmp_path):
    prompt = "The river carries"
    tokenizer = AutoTokenizer.from_pretrained(home / "folder")
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    model = AutoModelForCausalLM.from_pretrained(home / "folder", dtype=torch.float32)
    with torch.no_grad():
        written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    whole = tokenizer.decode(written[0], skip_special_tokens=True)
    (sample,) = report("sample", home / "folder", "--prompt", prompt, "--tokens", 24, to=tmp_path)["samples"]
    assert prompt + sample["text"] == whole


def test_what_is_assumed_is_noted(home, tmp_path):
    shutil.copytree(home / "folder", tmp_path / "model")
    (tmp_path / "model" / "tokenizer_config.json").unlink()
    shown = call("inspect", tmp_path / "model", "--quick").stdout
    assert "add_bos_token is missing; as in transformers 5, texts start without the BOS token" in shown
    assert "tokenizer: yes, 1500 tokens" in shown


@pytest.mark.parametrize("content, message", [
    (b"IQ== 0\nIg== 1\n", "the byte 0x00 is no token, so that not every text can be spelled"),
    (b"\x0a\xff\xff", "not a SentencePiece model, or a damaged one")])
def test_other_files_are_named(content, message, home, tmp_path):
    shutil.copytree(home / "folder", tmp_path / "model")
    (tmp_path / "model" / "tokenizer.model").write_bytes(content)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    refused = call("eval", tmp_path / "model", "--text", tmp_path / "text.txt")
    assert refused.returncode == 1 and message in refused.stderr and refused.stderr.count("\n") == 1
