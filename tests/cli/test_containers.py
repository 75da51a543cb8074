"""Files that are not what their name says, that have no end, or that would fill the memory: refused by name, at once."""
import bz2
import gzip
import json
import lzma
import os
import pathlib
import pickle
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

import gguf
import numpy
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save, save_file

import cli_gguf
import cli_models
import cli_program

MIB = 2**20
SECONDS = 60  # of a slow machine that has other work; what is refused takes a fraction of one, what hangs takes all


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("containers")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_gguf.write(folder / "model.gguf", cli_models.llama(), "llama", gguf.GGMLQuantizationType.F32)
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(8, 8))
    (folder / "text.txt").write_text(cli_models.text(400), encoding="utf-8")
    (folder / "rows.jsonl").write_text('{"text": "The bridge is old"}\n')
    return folder


# Started by a small process: the system counts what a process had before it became the program, and this one is large.
LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
open(sys.argv[1], "w").write(f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss * 1024}")
"""


def measure(*arguments, seconds=SECONDS):
    """Runs the program; returns its status, its only line on stderr, and the most bytes of memory that it had."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", LAUNCHER, f"{folder}/result", cli_program.PROGRAM, *map(str, arguments), "--quiet"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=cli_program.ENVIRONMENT,
                              start_new_session=True) as process:
            watch = threading.Timer(seconds, os.killpg, [process.pid, signal.SIGKILL])
            watch.start()
            said = process.stderr.read()
            process.wait()
            watch.cancel()
        status, memory = map(int, pathlib.Path(folder, "result").read_text().split())
        return status, said, memory


def refusal(*arguments):
    status, said, _ = measure(*arguments)
    assert status == 1 and said.startswith("normtweak: ") and said.count("\n") == 1, (status, said)
    return said


# The reader of each name: arguments of the program, where {} is a folder in which that file is another.
READERS = {
    "model/config.json": "inspect {}/model",
    "model/tokenizer.json": "eval {}/model --text {}/text.txt --context 16",
    "model/generation_config.json": "inspect {}/model --quick",
    "model/model.safetensors": "inspect {}/model",
    "ids.safetensors": "logits {}/model --tokens {}/ids.safetensors -o {}/out",
    "text.txt": "eval {}/model --text {}/text.txt --context 16",
    "rows.jsonl": "eval {}/model --lambada {}/rows.jsonl",
    "model.gguf": "inspect {}/model.gguf",
}


def refusal_with(home, folder, name, put):
    """What the reader says after `put` has made the file another."""
    shutil.copytree(home, folder, dirs_exist_ok=True)
    path = folder / name
    path.unlink()
    put(path)
    said = refusal(*READERS[name].replace("{}", str(folder)).split())
    assert str(path) in said
    return said


def put_socket(path):
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket is short
        sock.bind(path.name)
        os.chdir(here)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("put, word", [(os.mkfifo, "pipe"), (lambda path: path.symlink_to("/dev/zero"), "device"),
                                       (put_socket, "socket")], ids=["pipe", "device", "socket"])
def test_only_regular_files_are_read(put, word, name, home, tmp_path):
    assert f"is a {word}, a file is needed" in refusal_with(home, tmp_path, name, put)


@pytest.mark.parametrize("name", [name for name in READERS if "safetensors" not in name and "gguf" not in name])
def test_sparse_files_are_not_read(name, home, tmp_path):
    def put(path):
        path.touch()
        os.truncate(path, 2**42)
    assert "bytes, at most" in refusal_with(home, tmp_path, name, put)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
WORDS = "The bridge is old, and the river is wide.\n".encode()


def saved_by_torch(legacy):
    with tempfile.NamedTemporaryFile() as file:
        torch.save({"a": torch.ones(3)}, file.name, _use_new_zipfile_serialization=not legacy)
        return open(file.name, "rb").read()


def saved_by_numpy():
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        numpy.save(file.name, numpy.ones(3))
        return open(file.name, "rb").read()


def saved_by_gguf():
    with tempfile.NamedTemporaryFile() as file:
        writer = gguf.GGUFWriter(file.name, "llama")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return open(file.name, "rb").read()


# name: bytes, words of the message, and whose names it is no content for
IMPOSTORS = {
    "pointer": (POINTER, "is a git-lfs pointer", READERS),
    "zip": (saved_by_torch(legacy=False), "is a zip archive", READERS),
    "pickle": (saved_by_torch(legacy=True), "is a Python pickle", READERS),
    "another pickle": (pickle.dumps([1], protocol=4), "is a Python pickle", READERS),
    "numpy": (saved_by_numpy(), "is a NumPy array", READERS),
    "gzip": (gzip.compress(WORDS), "is compressed with gzip", READERS),
    "bzip2": (bz2.compress(WORDS), "is compressed with bzip2", READERS),
    "xz": (lzma.compress(WORDS), "is compressed with xz", READERS),
    "utf16": (WORDS.decode().encode("utf-16"), "is text in UTF-16", READERS),
    "gguf": (saved_by_gguf(), "is a GGUF file", [name for name in READERS if name != "model.gguf"]),
    "safetensors": (save({"a": torch.ones(3)}), "is a safetensors file",
                    [name for name in READERS if not name.endswith(".safetensors")]),
    "html": (b"<!DOCTYPE html>\n<html></html>", "is an HTML page", [name for name in READERS if name != "text.txt"]),
    "more html": (b"  <HTML></HTML>", "is an HTML page", ["model.gguf", "model/config.json"]),
    "xml": (b"<?xml version='1.0'?><Error></Error>", "is XML", ["model.gguf", "model/model.safetensors"]),
    "json": (b'{"error": "Repository not found"}', "is JSON, not weights", ["model.gguf", "model/model.safetensors"]),
    "text": (WORDS, "is a text file", ["model.gguf", "model/model.safetensors"]),
    "calibration": (WORDS, "`normtweak generate` makes them of a text (--text)", ["ids.safetensors"]),
    "empty": (b"", "is empty", ["model.gguf", "model/model.safetensors", "ids.safetensors", "model/config.json",
                                "model/tokenizer.json", "text.txt"]),
}


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, row in IMPOSTORS.items() for name in row[2]
                                        if name != "model/generation_config.json"])
def test_the_kind_of_file_is_named(kind, name, home, tmp_path):
    content, words, _ = IMPOSTORS[kind]
    assert words in refusal_with(home, tmp_path, name, lambda path: path.write_bytes(content))


def header(text, data=8):
    content = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(content)) + content + bytes(data)


ONE, TWO = ('{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}' % (at, at + 4) for at in (0, 4))
BOTH = f'"a":{ONE},"b":{TWO}'
HEADERS = {
    "plain": f"{{{BOTH}}}",
    "space around": f"  {{{BOTH}}}  ",
    "unknown field": f'{{"a":{ONE[:-1]},"x":[1,{{"y":[null]}}]}},"b":{TWO}}}',
    "metadata null": f'{{"__metadata__":null,{BOTH}}}',
    "metadata key twice": f'{{"__metadata__":{{"x":"1","x":"2"}},{BOTH}}}',
    "empty name": f'{{"":{ONE},"b":{TWO}}}',
    "name twice": f'{{"a":{ONE},"a":{TWO}}}',
    "field twice": f'{{"a":{ONE[:-1]},"dtype":"F32"}},"b":{TWO}}}',
    "metadata twice": f'{{"__metadata__":{{}},"__metadata__":{{}},{BOTH}}}',
    "zero bytes behind": f"{{{BOTH}}}\0\0\0",
    "more behind": f"{{{BOTH}}}\0more",
    "byte order mark": f"\ufeff{{{BOTH}}}",
    "half a surrogate pair": f'{{"\\ud800":{ONE},"b":{TWO}}}',
    "NaN": f'{{"a":{ONE[:-1]},"x":NaN}},"b":{TWO}}}',
    "fraction": '{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}',
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_read_as_by_safetensors(name, tmp_path):
    content = header(HEADERS[name])
    try:
        names = len(load(content))
    except SafetensorError:
        names = None
    (tmp_path / "x.safetensors").write_bytes(content)
    finished = cli_program.call("inspect", tmp_path / "x.safetensors")
    assert (finished.returncode == 0) == (names is not None), finished.stderr
    if names is not None:
        assert f"tensors: {names}," in finished.stdout


# What the reference reads, though one of the two is lost, or the name for programs written in C.
@pytest.mark.parametrize("text, words", [(f'{{"a":{ONE},"b":{TWO},"a":{ONE}}}', "tensor a occurs twice"),
                                         (f'{{"a\\u0000":{ONE},"b":{TWO}}}', "zero byte")])
def test_headers_that_safetensors_reads(text, words, tmp_path):
    assert load(header(text))
    (tmp_path / "x.safetensors").write_bytes(header(text))
    assert words in refusal("inspect", tmp_path / "x.safetensors")


def test_a_header_of_many_tensors(tmp_path):
    """As many as fit: below the limit of the reference, which reads it, too."""
    count = 300_000
    entries = ('"model.layers.%d.mlp.experts.weight":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}' % (i, i, i + 1)
               for i in range(count))
    path = tmp_path / "x.safetensors"
    path.write_bytes(header("{" + ",".join(entries) + "}", count))
    status, said, memory = measure("inspect", path, "--quick")
    assert (status, said) == (0, "")
    assert memory < 2 * path.stat().st_size + 600 * MIB  # of which LibTorch takes half


@pytest.mark.parametrize("text", ['{"a":{"dtype":"U8","shape":[' + "1," * 10**7 + "1]}}",
                                  '{"a":{"x":[' + "1," * 10**7 + "1]}}", '{"__metadata__":{"x":[' + "1," * 10**7,
                                  '{"a":[' + "[]," * 10**7 + "1]}"], ids=["shape", "unknown", "metadata", "tensor"])
def test_a_header_of_many_values(text, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(header(text))
    status, _, memory = measure("inspect", tmp_path / "x.safetensors")
    assert status == 1 and memory < 2 * len(text) + 600 * MIB


LONG = 95 * 10**6
# What is long: the text around it, and what it is called.
HEADER_TEXTS = {"name": ('{"', f'":{ONE},"b":{TWO}}}', "name"), "field": ('{"a":{"', '":1}}', "name"),
                "type": ('{"a":{"dtype":"', '","shape":[1],"data_offsets":[0,8]}}', "text"),
                "metadata": ('{"__metadata__":{"a":"', '"}}', "text"), "without an end": ('{"a', "", "text")}


@pytest.mark.parametrize("kind", HEADER_TEXTS)
def test_a_header_with_a_long_name(kind, tmp_path):
    before, after, what = HEADER_TEXTS[kind]
    path = tmp_path / "x.safetensors"
    path.write_bytes(header(before + "n" * LONG + after))
    status, said, memory = measure("inspect", path)
    assert status == 1 and f"header: a {what} of {LONG // 10**6}" in said and said.count("\n") == 1
    assert memory < 2 * path.stat().st_size + 300 * 10**6


def test_a_header_with_a_name_of_no_model(tmp_path):
    content = header('{"' + "n" * 60_000 + f'":{ONE},"b":{TWO}}}')
    assert load(content)
    (tmp_path / "x.safetensors").write_bytes(content)
    assert measure("inspect", tmp_path / "x.safetensors")[:2] == (0, "")


def many_tokens(entry, count):
    flags = '"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true'
    return ",".join(entry % {"i": i, "id": 400 + i, "flags": flags, "long": f"{i:x}" * 20} for i in range(count))


# file: how it holds many added tokens, and how many
MANY_TOKENS = {
    "tokenizer": ('{"id":%(id)d,"content":"<extra_%(i)d>",%(flags)s}', 300_000),
    "tokenizer of long tokens": ('{"id":%(id)d,"content":"<%(long)s>",%(flags)s}', 300_000),
    "tokenizer_config": ('"%(id)d":{"content":"<extra_%(i)d>",%(flags)s}', 300_000),
    "special_tokens_map": ('"<extra_%(i)d>"', 300_000),
    "added_tokens": ('"<extra_%(i)d>":%(id)d', 900_000),
}


@pytest.mark.parametrize("kind", MANY_TOKENS)
def test_a_tokenizer_of_many_added_tokens(kind, home, tmp_path):
    folder = shutil.copytree(home / "model", tmp_path / "model")
    path = folder / f"{kind.split()[0]}.json"
    entry, count = MANY_TOKENS[kind]
    tokens = many_tokens(entry, count)
    if path.name == "tokenizer.json":
        document = path.read_text(encoding="utf-8")
        assert '"added_tokens":[' in (plain := json.dumps(json.loads(document), separators=(",", ":")))
        text = plain.replace('"added_tokens":[', f'"added_tokens":[{tokens},', 1)
    else:
        text = {"tokenizer_config": '{"added_tokens_decoder":{%s}}', "added_tokens": "{%s}",
                "special_tokens_map": '{"extra_special_tokens":[%s]}'}[kind] % tokens
    path.write_text(text, encoding="utf-8")
    status, said, memory = measure("inspect", folder, "--quick")
    assert status == 1 and f"the tokenizer has {count + 316} tokens, but the embedding has 320 rows" in said
    assert memory < 2 * path.stat().st_size + 300 * 10**6


# MODEL as what it is not: the name, and the words that say what it is or what to name instead.
MODELS = {
    "a.bin": (saved_by_torch(legacy=False), "is a zip archive, as PyTorch writes"),
    "model.pt": (saved_by_torch(legacy=True), "is a Python pickle"),
    "model": (saved_by_gguf(), "is a GGUF file; give it a name that ends in .gguf"),
    "model.safetensors": (save({"a": torch.ones(3)}), "is a safetensors file; name the folder that holds it"),
    "config.json": (b'{"model_type": "llama"}', "is JSON, not weights; name the folder that holds the model"),
    "notes.txt": (WORDS, "is a text file, not weights; name a folder or a .gguf file"),
    "model.GGUF": (WORDS, "is a text file, not weights; fetch the file again"),
    "empty": (b"", "is empty"),
    "zeros.gguf": (bytes(5000), "is filled with zero bytes"),
    "unknown": (b"\x01\x02\x03\x04" * 100, "neither a folder in Hugging Face layout nor a .gguf file"),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_named_as_a_model(name, home, tmp_path):
    content, words = MODELS[name]
    (tmp_path / name).write_bytes(content)
    said = refusal("eval", tmp_path / name, "--text", home / "text.txt")
    assert f"{tmp_path / name}: {words}" in said


def test_gguf_in_capitals(home, tmp_path):
    shutil.copy(home / "model.gguf", tmp_path / "A.GGUF")
    status, said, _ = measure("inspect", tmp_path / "A.GGUF")
    assert (status, said) == (0, "")


def test_folders_without_config_say_what_is_in_them(home, tmp_path):
    shutil.copy(home / "model.gguf", tmp_path / "b.Q4.gguf")
    assert f"{tmp_path}: no config.json, but b.Q4.gguf; name that" in refusal("inspect", tmp_path)
    shutil.copytree(home / "model", tmp_path / "snapshots" / "0123")
    assert "but b.Q4.gguf; name that, or one of 1 more in it" in refusal("inspect", tmp_path)
    (tmp_path / "b.Q4.gguf").unlink()
    assert "but snapshots/0123; name that" in refusal("inspect", tmp_path)


@pytest.mark.parametrize("name", ["model/config.json", "model/model.safetensors", "model/tokenizer.json", "model.gguf",
                                  "ids.safetensors", "text.txt"])
def test_files_of_zero_bytes(name, home, tmp_path):
    said = refusal_with(home, tmp_path, name, lambda path: path.write_bytes(bytes(3000)))
    assert "is filled with zero bytes; the download is probably incomplete" in said


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_memory_that_does_not_suffice_for_a_file(name, home, tmp_path):
    """From too little to start to enough: on the way, the message names the file."""
    folder = shutil.copytree(home / "model", tmp_path / "model")
    text = (folder / name).read_text()
    (folder / name).write_text(text.rstrip()[:-1] + ', "x": [' + "0," * 2_500_000 + "0]}")
    said = []
    for room in range(400, 700, 20):
        limit = room * MIB
        finished = subprocess.run([cli_program.PROGRAM, "inspect", folder, "--quick"], capture_output=True, text=True,
                                  env=cli_program.ENVIRONMENT,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        said.append(finished.stdout + finished.stderr)
    assert any(f"{folder / name}: takes more memory to read than is left" in lines for lines in said), said


def test_a_document_of_many_values(home, tmp_path):
    shutil.copytree(home / "model", tmp_path / "model")
    text = '{"x": [' + "0," * 7_000_000 + "0]}"
    (tmp_path / "model" / "config.json").write_text(text)
    status, said, memory = measure("inspect", tmp_path / "model")
    assert status == 1 and "config.json: holds more than" in said and memory < 2 * len(text) + 600 * MIB


def write_gguf(path, more, kind="llama"):
    cli_gguf.write(path, cli_models.llama(), kind, gguf.GGMLQuantizationType.F32, more)


def add_bytes(writer):
    writer.add_key_value("general.bytes", numpy.zeros(3 * 10**6, numpy.uint8).tobytes(), gguf.GGUFValueType.ARRAY,
                         sub_type=gguf.GGUFValueType.UINT8)


def test_long_arrays_of_gguf_stay_in_the_file(tmp_path):
    write_gguf(tmp_path / "plain.gguf", lambda writer: None)
    write_gguf(tmp_path / "long.gguf", add_bytes)
    size = (tmp_path / "long.gguf").stat().st_size
    assert size > 3 * 10**6
    memory = {}
    for name in ("plain", "long"):
        status, said, memory[name] = measure("inspect", tmp_path / f"{name}.gguf")
        assert (status, said) == (0, "")
    assert memory["long"] < memory["plain"] + 2 * size + 8 * MIB


@pytest.mark.parametrize("add, words", [
    (lambda writer: writer.add_vocab_size(cli_models.VOCABULARY + 1), f"vocab_size is {cli_models.VOCABULARY + 1}, but"),
    (lambda writer: writer.add_uint16("split.count", 3), "split.no is missing, beside split.count"),
    (lambda writer: writer.add_array("llama.attention.key_length", [16] * 2000), "a list of more than 1024 values"),
    (lambda writer: writer.add_uint32("a\0b", 3), "zero byte"),
], ids=["vocabulary", "split", "long list", "zero byte"])
def test_gguf_that_contradicts_itself(add, words, tmp_path):
    write_gguf(tmp_path / "x.gguf", add)
    assert words in refusal("inspect", tmp_path / "x.gguf")


def test_gguf_that_repeats_itself(tmp_path):
    write_gguf(tmp_path / "x.gguf", lambda writer: (writer.add_vocab_size(cli_models.VOCABULARY),
                                                    writer.add_uint16("split.count", 1)))
    assert measure("inspect", tmp_path / "x.gguf")[:2] == (0, "")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32,
                                   torch.uint64])
def test_token_ids_of_any_integer_type(dtype, home, tmp_path):
    ids = cli_models.ids(2, 8) % 100
    save_file({"input_ids": ids.to(dtype)}, tmp_path / "ids.safetensors")
    cli_program.run("logits", home / "model", "--tokens", tmp_path / "ids.safetensors", "-o", tmp_path / "found")
    found = load((tmp_path / "found").read_bytes())["logits"]
    assert torch.equal(found, cli_program.logits(home / "model", ids, tmp_path))


@pytest.mark.parametrize("ids, words", [(torch.full((2, 3), 2**64 - 1, dtype=torch.uint64), "numbers above 2^63"),
                                        (torch.ones(2, 3), "an integer matrix"),
                                        (torch.ones(2, 3, dtype=torch.complex64), "token ids as I64"),
                                        (torch.ones(2, 3, dtype=torch.bool), "an integer matrix")])
def test_what_are_no_token_ids(ids, words, home, tmp_path):
    save_file({"input_ids": ids}, tmp_path / "ids.safetensors")
    assert words in refusal("logits", home / "model", "--tokens", tmp_path / "ids.safetensors", "-o", tmp_path / "out")


@pytest.mark.parametrize("text", ['{"a": Infinity, "b": [NaN, -Infinity, null], "c": 1e400}', '{"a": 1, "b": 2, "a": 3}',
                                  '{"a": {"b": 1, "b": {"c": NaN}}, "a": {"d": 2}}'])
def test_a_saved_config_keeps_what_python_reads(text, home, tmp_path):
    """Values that no pass reads are copied as Python's json writes them."""
    shutil.copytree(home / "model", tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().rstrip().removesuffix("}") + f', "notes": {text}}}')
    cli_program.run("quantize", tmp_path / "model", "-o", tmp_path / "out", "--method", "rtn", "--tweak", "none",
                    "--group-size", 32, "--calibration", home / "ids.safetensors", "--format", "hf")
    saved = json.loads((tmp_path / "out" / "config.json").read_text())["notes"]
    assert repr(saved) == repr(json.loads(text))  # repr, since NaN is unequal to itself
