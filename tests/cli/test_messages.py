"""Whatever the files hold: one line under 300 characters that names the user's file, in the program's own words."""
import concurrent.futures
import json
import os
import resource
import shutil
import struct
import subprocess

import gguf
import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

import cli_gguf
import cli_models
import cli_program

RAW = ["json.exception", "filesystem error", "c10::", "std::", "at::", ".partial", ".cpp:", "terminate called",
       "regex_error", "basic_string", "vector::", "what():"]
# A megabyte of each kind: a word, words, a path, what is no ASCII, lines.
HUGE = ["x" * 1_000_000, "many words " * 100_000, "a/b/" * 250_000, "日本" * 200_000, "\n\x1b[2J" * 200_000]


def complaint(*arguments, status=1, cwd=None, limit=None):
    """The line that the program says, checked for its form."""
    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    finished = subprocess.run([cli_program.PROGRAM, *arguments], capture_output=True, env=cli_program.ENVIRONMENT,
                              cwd=cwd, timeout=300, preexec_fn=small_disk if limit else None, check=False)
    said = finished.stderr.decode("utf-8")  # which it has to be
    assert finished.returncode == status, (arguments, said[:1000])
    assert said.startswith("normtweak: ") and said.endswith("\n") and len(said.splitlines()) == 1, said[:1000]
    line = said.removeprefix("normtweak: ").removesuffix("\n")
    assert len(line) < 300, line[:1000]
    assert line.isprintable(), ascii(line)
    for raw in RAW:
        assert raw not in line, line
    return line


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("said")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "good")
    cli_models.save_with_tokenizer(cli_models.gpt2(), folder / "gpt2")
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(8, 32))
    (folder / "text.txt").write_text(cli_models.text(400), encoding="utf-8")
    return folder


@pytest.fixture
def copy(home, tmp_path):
    """A model to harm; small files are copied, the weights are the same."""
    def of(name, kind="good"):
        shutil.copytree(home / kind, tmp_path / name, copy_function=os.link)
        for file in (tmp_path / name).glob("*.json"):
            text = file.read_bytes()
            file.unlink()
            file.write_bytes(text)
        return tmp_path / name
    return of


def in_parallel(work, rows):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, rows))


WRONG = ["text", [], {"a": 1}, -1, 0.5, True, 10**30, "x" * 1_000_000]


@pytest.mark.parametrize("kind", ["good", "gpt2"])
def test_every_key_of_the_config_with_values_of_wrong_types(home, tmp_path, kind):
    config = json.loads((home / kind / "config.json").read_text())
    keys = [key for key in config if not key.startswith("_") and "token_id" not in key]

    def with_wrong(row):
        number, key = row
        folder = tmp_path / f"{number}"
        folder.mkdir()
        os.link(home / kind / "model.safetensors", folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config | {key: WRONG[number % len(WRONG)]}))
        if cli_program.call("inspect", "--quick", folder).returncode == 0:  # the program does not read the key
            return 0
        assert f"{folder}" in complaint("inspect", "--quick", folder)
        return 1
    assert sum(in_parallel(with_wrong, enumerate(keys))) >= 5


def edit(folder, **changes):
    cli_models.edit_config(folder, lambda config: config.update(changes))


PACKED = {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
          "config_groups": {"g": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": True,
                                                                     "strategy": "group", "group_size": 32}}}}
WEIGHTS = PACKED["config_groups"]["g"]["weights"]


def with_weights(**changes):
    return PACKED | {"config_groups": {"g": {"targets": ["Linear"], "weights": WEIGHTS | changes}}}


CONFIGS = [
    lambda huge: {"hidden_size": huge},
    lambda huge: {"hidden_act": huge},
    lambda huge: {"architectures": [huge]},
    lambda huge: {"architectures": None, "model_type": huge},
    lambda huge: {"rope_parameters": {"rope_type": huge, "rope_theta": 1e4}},
    lambda huge: {"rope_parameters": huge},
    lambda huge: {"dtype": huge},
    lambda huge: {"num_hidden_layers": [huge]},
    lambda huge: {"quantization_config": {"quant_method": huge}},
    lambda huge: {"quantization_config": huge},
    lambda huge: {"quantization_config": PACKED | {"format": huge}},
    lambda huge: {"quantization_config": PACKED | {"quantization_status": huge}},
    lambda huge: {"quantization_config": PACKED | {"config_groups": {huge: huge}}},
    lambda huge: {"quantization_config": PACKED | {"ignore": ["re:(" + huge]}},
    lambda huge: {"quantization_config": PACKED | {"ignore": ["re:(.*.*)*(.*.*)*(.*.*)*!"]}},
    lambda huge: {"quantization_config": with_weights(strategy=huge)},
    lambda huge: {"quantization_config": with_weights(num_bits=huge)},
    lambda huge: {"quantization_config": with_weights(type=huge)},
    lambda huge: {"quantization_config": with_weights(actorder=huge)},
]


def test_a_megabyte_in_the_config(home, tmp_path):
    def with_huge(row):
        number, make = row
        folder = tmp_path / f"{number}"
        folder.mkdir()
        os.link(home / "good" / "model.safetensors", folder / "model.safetensors")
        config = json.loads((home / "good" / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | make(HUGE[number % len(HUGE)])))
        assert f"{folder}" in complaint("inspect", folder)
    in_parallel(with_huge, enumerate(CONFIGS))


TOKENIZERS = [
    lambda document, huge: document["model"].update(type=huge),
    lambda document, huge: document.update(pre_tokenizer={"type": huge}),
    lambda document, huge: document.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(" + huge},
                                                          "behavior": "Isolated", "invert": False}),
    lambda document, huge: document.update(normalizer={"type": huge}),
    lambda document, huge: document.update(post_processor={"type": huge}),
    lambda document, huge: document.update(decoder={"type": huge}),
    lambda document, huge: document["model"].update(merges=[huge]),
    lambda document, huge: document["model"]["vocab"].update({huge: "text"}),
    lambda document, huge: document["model"].update(vocab=huge),
    lambda document, huge: document.update(added_tokens=[{"id": huge, "content": huge}]),
]


def test_a_megabyte_in_the_tokenizer(home, tmp_path):
    def with_huge(row):
        number, harm = row
        folder = tmp_path / f"{number}"
        shutil.copytree(home / "good", folder)
        document = json.loads((folder / "tokenizer.json").read_text())
        harm(document, HUGE[number % len(HUGE)])
        (folder / "tokenizer.json").write_text(json.dumps(document))
        assert f"{folder}/tokenizer.json" in complaint("eval", folder, "--text", home / "text.txt")
    in_parallel(with_huge, enumerate(TOKENIZERS))


def header(**entries):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


def entry(**changes):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


SAFETENSORS = [
    header(**{"x" * 1_000_000: entry(dtype="F4096")}), header(**{"many words " * 90_000: entry(shape=[3])}),
    header(a=entry(shape="x" * 1_000_000)), header(a=entry(shape=["x y " * 250_000])),
    header(a=entry(data_offsets=["x" * 1_000_000, 8])), header(a=entry(data_offsets=[*range(200_000)])),
    header(a=entry(dtype="x/y" * 300_000)), header(a="x" * 1_000_000), header(__metadata__={"k" * 1_000_000: 1}),
    struct.pack("<Q", 9) + b'{"\xff": 1}', struct.pack("<Q", 1_000_003) + b'{"' + b"\xff" * 1_000_000 + b"}", b"", b"\0",
]


def test_safetensors_with_anything_in_their_header(home, copy, tmp_path):
    def with_header(row):
        number, content = row
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        assert f"{path}" in complaint("inspect", path)
        assert f"{path}" in complaint("logits", home / "good", "--tokens", path, "-o", tmp_path / "x")
    in_parallel(with_header, enumerate(SAFETENSORS))
    folder = copy("sharded")
    (folder / "model.safetensors").unlink()
    for weight_map in ({"a": "x" * 1_000_000}, {"x y " * 200_000: "../a"}, {"a" * 1_000_000: "b"}, {"a": 1}, "x" * 1_000_000):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        assert f"{folder}" in complaint("inspect", folder)


def test_folders_in_place_of_files(home, copy, tmp_path):
    (tmp_path / "a.gguf").mkdir()
    (tmp_path / "a.safetensors").mkdir()
    ids, text, good = home / "ids.safetensors", home / "text.txt", home / "good"
    rows = [(["inspect", tmp_path / "a.safetensors"], "a.safetensors"),
            (["inspect", tmp_path / "a.gguf"], "a.gguf"),
            (["logits", good, "--tokens", tmp_path, "-o", tmp_path / "x"], f"{tmp_path}"),
            (["eval", good, "--text", tmp_path], f"{tmp_path}"),
            (["eval", good, "--rows", tmp_path], f"{tmp_path}"),
            (["eval", good, "--lambada", tmp_path], f"{tmp_path}"),
            (["generate", good, "--text", tmp_path, "-o", tmp_path / "x"], f"{tmp_path}"),
            (["quantize", good, "-o", tmp_path / "x", "--calibration", tmp_path], f"{tmp_path}"),
            (["logits", good, "--tokens", ids, "-o", tmp_path], f"{tmp_path}"),
            (["eval", good, "--text", text, "--json", tmp_path], f"{tmp_path}")]
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        folder = copy(f"without-{name}")
        (folder / name).unlink()
        (folder / name).mkdir()
        rows.append((["eval", folder, "--text", text], f"{folder}/{name}"))
    for arguments, name in rows:
        assert name in complaint(*arguments)


def write_gguf(path, harm=lambda writer: None, names=lambda name: name, edit_tensor=lambda name, values: values,
               skip=(), **metadata):
    """A tiny llama; metadata: what replaces that of the same name."""
    model, numbers = cli_models.llama(), metadata

    class Writer(gguf.GGUFWriter):
        def add_key_value(self, key, value, kind, *rest, **more):
            value = numbers.get(key, value)
            if value is not None:
                kind = gguf.GGUFValueType.get_type(value) if key in numbers else kind
                super().add_key_value(key, value, kind, *rest, **more)

    writer = Writer(path, "llama")
    cli_gguf.add_metadata(writer, model.config, "llama")
    harm(writer)
    for name, tensor in model.state_dict().items():
        values = edit_tensor(name, tensor.float().numpy())
        if name not in skip:
            writer.add_tensor(names(cli_gguf.gguf_name(name, "llama")), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


Q = "model.layers.1.self_attn.q_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"
L = "llama."
# what to change → words of the message
GGUFS = [
    ({L + "embedding_length": 0}, ["llama.embedding_length is 0"]),
    ({L + "embedding_length": "x" * 1_000_000}, ["llama.embedding_length", "x…x"]),
    ({L + "embedding_length": None}, ["llama.embedding_length is missing"]),
    ({L + "block_count": -1}, ["llama.block_count is -1"]),
    ({L + "block_count": 0.5}, ["llama.block_count is 0.5"]),
    ({L + "attention.head_count": 7}, ["llama.attention.head_count is 7", "llama.embedding_length"]),
    ({L + "attention.head_count": "four"}, ["llama.attention.head_count is \"four\""]),
    ({L + "attention.head_count_kv": -2}, ["llama.attention.head_count_kv is -2"]),
    ({L + "feed_forward_length": [96, 97]}, ["llama.feed_forward_length"]),
    ({L + "context_length": "long"}, ["llama.context_length is \"long\""]),
    ({L + "attention.layer_norm_rms_epsilon": "small"}, ["llama.attention.layer_norm_rms_epsilon"]),
    ({L + "rope.freq_base": "high"}, ["llama.rope.freq_base is \"high\", a number"]),
    ({L + "rope.dimension_count": "all"}, ["llama.rope.dimension_count is \"all\", a number is needed"]),
    ({"general.architecture": 5}, ["general.architecture is 5"]),
    ({"general.architecture": "x" * 1_000_000}, ["general.architecture", "x…x"]),
    ({"skip": [Q]}, ["has no tensor blk.1.attn_q.weight"]),
    ({"skip": ["model.norm.weight"]}, ["has no tensor output_norm.weight"]),
    ({"edit_tensor": lambda name, values: values[:32] if name == Q else values}, ["tensor blk.1.attn_q.weight: shape"]),
    ({"edit_tensor": lambda name, values: values[:-1] if name == NORM else values}, ["tensor blk.0.attn_norm.weight: shape"]),
    ({"edit_tensor": lambda name, values: values * numpy.float32("nan") if name == Q else values},
     ["tensor blk.1.attn_q.weight holds NaN"]),
    ({"names": lambda name: name.replace("blk.1.attn_q", "y" * 50_000)}, ["tensor y", "…"]),
]
# of checkpoints that are no GGUF files
ELSEWHERE = ["config.json", "model.layers", "hidden_size", "num_", "`"]


def test_of_a_gguf_file_its_own_names_are_said(tmp_path):
    for number, (changes, words) in enumerate(GGUFS):
        path = write_gguf(tmp_path / f"model-{number}.gguf", **changes)
        said = complaint("inspect", path)
        assert said.startswith(f"{path}: "), said
        for word in words:
            assert word in said, (word, said)
        for word in ELSEWHERE:
            assert word not in said, said
        path.unlink()


def test_a_broken_model_in_every_place(home, copy, tmp_path):
    broken = copy("broken")
    edit(broken, hidden_size="x" * 1_000_000)
    good, ids, text = home / "good", home / "ids.safetensors", home / "text.txt"
    for arguments in (["quantize", broken, "-o", tmp_path / "x"], ["tweak", broken, "--reference", good, "-o", tmp_path / "x"],
                      ["tweak", good, "--reference", broken, "-o", tmp_path / "x"],
                      ["generate", broken, "-o", tmp_path / "x"], ["eval", broken, "--text", text],
                      ["eval", good, "--reference", broken, "--text", text],
                      ["logits", broken, "--tokens", ids, "-o", tmp_path / "x"], ["inspect", broken]):
        assert f"{broken}/config.json: `hidden_size` is \"x" in complaint(*arguments)


def test_numbers_that_overflow_are_of_a_file(home, copy, tmp_path):
    folder = copy("overflowing")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"].fill_(1e38)
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    ids = home / "ids.safetensors"
    for arguments in (["eval", folder, "--text", home / "text.txt", "--context", "64"],
                      ["logits", folder, "--tokens", ids, "-o", tmp_path / "x"],
                      ["generate", folder, "-o", tmp_path / "x", "--strategy", "llm-qat", "--samples", "2", "--tokens", "16"]):
        for dtype, advice in (("f32", "overflow even in float32"), ("bf16", "overflow in bfloat16; try --dtype f32")):
            said = complaint(*arguments, "--dtype", dtype, "--quiet")
            assert f"{folder}: " in said and "block 1" in said and advice in said, said
    for more in ([], ["--token-weights", "none"], ["--method", "rtn"], ["--format", "hf"]):
        said = complaint("quantize", folder, "-o", tmp_path / "x", "--calibration", ids, "--group-size", "32", "--tweak",
                         "none", "--dtype", "f32", "--quiet", *more)
        assert said.startswith(f"{folder}: ") and "--dtype f32" not in said, said


def test_a_full_disk(home, tmp_path):
    good, ids, out = home / "good", home / "ids.safetensors", tmp_path / "out"
    limit = 20_000
    for arguments, name in ((["logits", good, "--tokens", ids, "-o", out], out),
                            (["generate", good, "-o", out, "--strategy", "llm-qat", "--samples", "64", "--tokens", "64"], out),
                            (["quantize", good, "-o", out, "--method", "rtn", "--group-size", "32", "--tweak", "none",
                              "--calibration", ids], out / "model.safetensors")):
        said = complaint(*arguments, "--quiet", limit=limit)
        assert said.startswith(f"{name}: ") and "disk full" in said, said
        assert not list(tmp_path.iterdir())


def test_names_that_are_no_text(home, tmp_path):
    folder = os.fsencode(tmp_path) + b"/mod\xffel"
    shutil.copytree(os.fsencode(home / "good"), folder)
    finished = subprocess.run([cli_program.PROGRAM, "inspect", folder, "--json", tmp_path / "report.json"],
                              capture_output=True, env=cli_program.ENVIRONMENT, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "/mod\\xffel: llama model" in finished.stdout.decode("utf-8")
    json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert complaint("inspect", b"a\xff\n\x1b[2J").startswith("a\\xff\\n\\x1b[2J: no such file")
    os.remove(folder + b"/config.json")
    assert "mod\\xffel: no config.json" in complaint("inspect", folder)


def test_what_is_typed_may_be_long(home, tmp_path):
    long = "x" * 100_000
    for arguments in (["quantize", home / "good", "-o", tmp_path / "x", "--bits", long],
                      ["quantize", home / "good", "-o", tmp_path / "x", "--method", long],
                      ["quantize", home / "good", "-o", tmp_path / "x", "--rule", long],
                      ["quantize", home / "good", "-o", tmp_path / "x", "--rule", "re:" + "(" * 100_000 + "=skip"],
                      ["eval", home / "good", "--text", "a", f"--{long}"], [long], ["inspect", "a", long],
                      ["inspect", home / "good", "--device", long]):
        assert complaint(*arguments, status=2).endswith("--help`")
    for name in (long, "a/" * 10_000, "many words " * 9_000):
        complaint("inspect", name)
        complaint("logits", home / "good", "--tokens", name, "-o", tmp_path / "x")
        complaint("logits", home / "good", "--tokens", home / "ids.safetensors", "-o", name)
        complaint("quantize", home / "good", "-o", name, "--calibration", home / "ids.safetensors")
        complaint("eval", home / "good", "--text", name)
        complaint("inspect", home / "good", "--json", name)


def test_the_name_of_the_file_survives_a_long_path(home, tmp_path):
    folder = tmp_path / ("a" * 200) / ("b" * 200)
    shutil.copytree(home / "good", folder)
    edit(folder, hidden_size="x" * 1_000_000)
    said = complaint("inspect", folder)
    assert said.startswith(f"{tmp_path}"[:30]) and "/config.json: `hidden_size` is" in said, said


def test_a_thread_that_cannot_be_started(home):
    """Its stack is larger than the memory that the process may have."""
    def small_memory():
        resource.setrlimit(resource.RLIMIT_STACK, (2**36, 2**36))
        resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))
    finished = subprocess.run([cli_program.PROGRAM, "inspect", home / "good"], capture_output=True, text=True,
                              env=cli_program.ENVIRONMENT, preexec_fn=small_memory, check=False)
    assert finished.returncode == 1 and finished.stderr.startswith("normtweak: cannot start a thread: ")
    assert finished.stderr.count("\n") == 1 and "`ulimit -v`" in finished.stderr
