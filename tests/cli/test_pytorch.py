"""Weights that torch.save wrote: the same model as from safetensors, for every command; and files that are refused."""
import io
import json
import os
import pickle
import shutil
import struct
import zipfile

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import cli_models
import cli_program

IDS = cli_models.ids(2, 12)
OLDER = {"_use_new_zipfile_serialization": False}


def bin_folder(source, folder, save):
    """A copy of a checkpoint without its safetensors; `save` gets its tensors and writes others."""
    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save(tensors, folder)
    return folder


def whole(**options):
    return lambda tensors, folder: torch.save(tensors, folder / "pytorch_model.bin", **options)


def sharded(tensors, folder):
    names = list(tensors)
    weight_map = {}
    for i, part in enumerate([names[::2], names[1::2]]):
        file = f"pytorch_model-{i + 1:05}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, folder / file, **(OLDER if i else {}))
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def as_views(tensors, folder):
    """All in one storage, each other one transposed twice."""
    flat = torch.cat([tensor.reshape(-1) if i % 2 else tensor.t().reshape(-1) for i, tensor in enumerate(tensors.values())])
    views, begin = {}, 0
    for i, (name, tensor) in enumerate(tensors.items()):
        part = flat[begin:begin + tensor.numel()]
        views[name] = part.view(tensor.shape) if i % 2 else part.view(tensor.t().shape).t()
        begin += tensor.numel()
    torch.save(views, folder / "pytorch_model.bin")


def as_parameters(tensors, folder):
    torch.save({name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}, folder / "pytorch_model.bin")


def with_prefix(tensors, folder):
    torch.save({name.removeprefix("model."): tensor for name, tensor in tensors.items()}, folder / "pytorch_model.bin")


WAYS = {"whole": whole(), "older": whole(**OLDER), "protocol 4": whole(pickle_protocol=4), "sharded": sharded,
        "views": as_views, "parameters": as_parameters, "without a prefix": with_prefix}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pytorch")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "llama")
    cli_models.save_with_tokenizer(cli_models.gpt2(), folder / "gpt2")
    bin_folder(folder / "llama", folder / "bin", whole())
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_logits_are_those_of_safetensors(way, home, tmp_path):
    folder = bin_folder(home / "llama", tmp_path / "model", WAYS[way])
    expected = cli_program.logits(home / "llama", IDS, tmp_path)
    assert torch.equal(cli_program.logits(folder, IDS, tmp_path), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, OLDER], ids=["archive", "older"])
def test_a_tied_model_of_any_type(dtype, options, home, tmp_path):
    """GPT-2 ties its head: its state dict holds both names, in one storage."""
    model = cli_models.gpt2().to(dtype)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "model" / "pytorch_model.bin", **options)
    theirs = cli_models.logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), IDS)
    found = cli_program.logits(tmp_path / "model", IDS, tmp_path)
    assert torch.allclose(found, theirs, atol=1e-4)


def test_safetensors_come_first(home, tmp_path):
    shutil.copytree(home / "llama", tmp_path / "both")
    (tmp_path / "both" / "pytorch_model.bin").write_bytes(b"something else")
    found = cli_program.logits(tmp_path / "both", IDS, tmp_path)
    assert torch.equal(found, cli_program.logits(home / "llama", IDS, tmp_path))


def test_results_are_those_of_safetensors(home, tmp_path):
    """quantize, tweak, generate and eval; what is made is safetensors."""
    ids = cli_program.save_ids(tmp_path / "ids.safetensors", cli_models.ids(4, 16))
    (tmp_path / "text.txt").write_text(cli_models.text(200))
    made = {}
    for name in ["llama", "bin"]:
        out = tmp_path / name
        out.mkdir()
        cli_program.run("quantize", home / name, "-o", out / "rtn", "--method", "rtn", "--bits", 4, "--group-size", 32,
                        "--tweak", "none", "--calibration", ids)
        cli_program.run("tweak", out / "rtn", "--reference", home / name, "-o", out / "tweaked", "--method", "layerwise",
                        "--calibration", ids)
        cli_program.run("quantize", home / name, "-o", out / "hf", "--format", "hf", "--method", "rtn", "--tweak", "none",
                        "--calibration", ids)
        cli_program.run("generate", home / name, "-o", out / "text.safetensors", "--samples", 2, "--tokens", 8)
        scores = cli_program.report("eval", home / name, "--text", tmp_path / "text.txt", to=out)["perplexity"]
        assert not list(out.rglob("*.bin"))
        made[name] = ([cli_program.tensors(out / part) for part in ["rtn", "tweaked", "hf"]],
                      load_file(out / "text.safetensors")["input_ids"], scores["value"])
    for ours, theirs in zip(made["bin"][0], made["llama"][0], strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert torch.equal(made["bin"][1], made["llama"][1]) and made["bin"][2] == made["llama"][2]


def test_inspect(home, tmp_path):
    model = cli_program.report("inspect", home / "bin", to=tmp_path)
    other = cli_program.report("inspect", home / "llama", to=tmp_path)
    assert {**model, "path": 0, "seconds": 0, "peak_memory_bytes": 0} == {**other, "path": 0, "seconds": 0, "peak_memory_bytes": 0}
    for name in ["state.bin", "state.pt", "state.PTH"]:
        torch.save({"a": torch.ones(2, 3), "b": torch.ones(5).half(), "epoch": 3, "seed": 1}, tmp_path / name)
        report = cli_program.report("inspect", tmp_path / name, to=tmp_path)
        assert (report["kind"], report["tensors"], report["sound"]) == ("pytorch", 2, True)
        assert report["elements_by_type"] == {"F32": 6, "F16": 5}
        assert report["notes"] == [f"{tmp_path / name}: `epoch` and 1 more are no tensors; ignored"]


def test_floats_of_eight_bits(tmp_path):
    tensors = {"a": torch.arange(4.0).to(torch.float8_e4m3fn), "b": torch.arange(4.0).to(torch.float8_e5m2)}
    torch.save(tensors, tmp_path / "x.bin")
    report = cli_program.report("inspect", tmp_path / "x.bin", to=tmp_path)
    assert report["elements_by_type"] == {"F8_E4M3": 4, "F8_E5M2": 4}
    torch.save(tensors | {"c": torch.tensor([float("nan")]).to(torch.float8_e5m2)}, tmp_path / "x.bin")
    assert "tensor c holds NaN" in refusal(tmp_path / "x.bin")


def test_what_else_a_state_dict_holds_is_noted(home, tmp_path):
    folder = bin_folder(home / "llama", tmp_path / "model", lambda tensors, folder: torch.save(
        {**tensors, "global_step": 10}, folder / "pytorch_model.bin"))
    notes = cli_program.report("inspect", folder, to=tmp_path)["notes"]
    assert f"{folder / 'pytorch_model.bin'}: `global_step` is no tensor; ignored" in notes


def refusal(path):
    finished = cli_program.call("inspect", path, "--quiet")
    assert finished.returncode == 1 and finished.stdout == "", finished
    (line,) = finished.stderr.splitlines()
    assert len(line) < 400 and str(path) in line
    return line


def archive(entries, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as written:
        for name, content in entries:
            written.writestr(name, content)
    return file.getvalue()


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


STATE = {"a": torch.arange(4.0), "b": torch.ones(3)}


def entries(**changes):
    """Those of a sound archive. changes: what an entry of that name holds instead; None takes it out."""
    with zipfile.ZipFile(io.BytesIO(saved(STATE))) as sound:
        found = {name.split("/", 1)[1]: sound.read(name) for name in sound.namelist()}
    found |= {name.replace("_", "/", 1) if name.startswith("data_") else name: content for name, content in changes.items()}
    return [(f"x/{name}", content) for name, content in found.items() if content is not None]


def changed(old, new):
    """A sound archive with some bytes of its directory exchanged."""
    data = archive(entries())
    assert old in data
    at = data.rindex(old)
    return data[:at] + new + data[at + len(old):]


def field_of_row(name, offset, value):
    """The number at `offset` of the directory's row for `name`."""
    data = bytearray(archive(entries()))
    row = data.rindex(f"x/{name}".encode()) - 46
    assert data[row:row + 4] == b"PK\1\2"
    data[row + offset:row + offset + len(value)] = value
    return bytes(data)


class Runs:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def scripted():
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), file)
    return file.getvalue()


NUMBERS = struct.Struct("<I").pack
REFUSED = {
    "empty": (b"", "is empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n", "is a git-lfs pointer"),
    "half": (saved(STATE)[:-700], "without the directory at its end"),
    "half, older": (saved(STATE, **OLDER)[:-8], "cut short"),
    "another archive": (archive([("word/document.xml", b"<xml/>")]), "without data.pkl"),
    "two folders": (archive([*entries(), ("y/data.pkl", b"")]), "data.pkl in several folders"),
    "script": (scripted(), "is a TorchScript program"),
    "compressed": (archive(entries(), compression=zipfile.ZIP_DEFLATED), "is compressed"),
    "encrypted": (field_of_row("data.pkl", 8, b"\1\0"), "data.pkl in this zip archive is encrypted"),
    "far": (field_of_row("data.pkl", 42, NUMBERS(0x7fffffff)), "beyond the zip archive's directory"),
    "elsewhere": (field_of_row("data.pkl", 42, NUMBERS(1)), "not where the zip archive's directory says"),
    "of another": (field_of_row("version", 42, NUMBERS(0)), "another name than the zip archive's directory says"),
    "large": (field_of_row("data/0", 20, NUMBERS(0x7fffffff) * 2), "data/0 needs 2147483647 bytes"),
    "larger": (field_of_row("data/0", 20, NUMBERS(0xffffffff) * 2), "data/0 lacks its size (zip64)"),
    "overlapping": (field_of_row("data/0", 20, NUMBERS(60) * 2), "share the bytes from"),
    "twice": (changed(b"x/data/1", b"x/data/0"), "another name than"),
    "no storage": (archive(entries(data_1=None)), "has no storage 1"),
    "short storage": (archive(entries(data_1=bytes(8))), "storage 1 has 8 bytes, 12 are announced"),
    "long storage": (archive(entries(data_1=bytes(16))), "storage 1 has 16 bytes, 12 are announced"),
    "order": (archive(entries(byteorder=b"middle")), "neither little nor big"),
    "inner": (saved({"state_dict": STATE, "epoch": 3}), "inside `state_dict`"),
    "model": (saved({"model": STATE}), "inside `model`"),
    "module": (saved(torch.nn.Linear(2, 2)), "Python object torch.nn.modules.linear.Linear"),
    "tensor": (saved(torch.ones(3)), "holds no state dict"),
    "command": (saved({"a": Runs("ran")}), "Python object posix.system"),
    "command, older": (saved({"a": Runs("ran")}, **OLDER), "Python object posix.system"),
    "command, protocol 5": (saved({"a": Runs("ran")}, pickle_protocol=5), "Python object posix.system"),
    "pickle": (pickle.dumps({"a": 1}), "torch.save did not write"),
    "infinite": (saved({"a": torch.tensor([1.0, float("inf")])}), "tensor a holds NaN or infinity"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path, monkeypatch):
    content, words = REFUSED[name]
    (tmp_path / "x.bin").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert words in refusal(tmp_path / "x.bin")
    assert os.listdir(tmp_path) == ["x.bin"]  # nothing was run


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_torch_refuses_too_or_is_no_state_dict(name, tmp_path):
    """Or it runs a program, or holds numbers that are not finite, or is read though its parts do not fit."""
    lenient = {"inner", "model", "tensor", "infinite", "encrypted", "overlapping", "compressed", "long storage", "two folders"}
    if name in lenient:
        return
    (tmp_path / "x.bin").write_bytes(REFUSED[name][0])
    with pytest.raises(Exception):
        torch.load(tmp_path / "x.bin", weights_only=True)


def test_folders(home, tmp_path):
    """What a folder lacks, and what may have been meant."""
    folder = bin_folder(home / "llama", tmp_path / "model", whole())
    weights = folder / "pytorch_model.bin"
    weights.rename(folder / "weights.pt")
    assert "but weights.pt; if these are its weights, call it pytorch_model.bin" in refusal(folder)
    (folder / "weights.pt").rename(folder / "pytorch_model-00001-of-00002.bin")
    assert "one of several files whose index is missing" in refusal(folder)
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "pytorch_model-00002-of-00002.bin"}}')
    finished = cli_program.call("inspect", folder, "--quiet")
    assert finished.returncode == 1 and "pytorch_model-00002-of-00002.bin: missing" in finished.stderr


def test_weights_named_as_the_model(home, tmp_path):
    weights = home / "bin" / "pytorch_model.bin"
    ids = cli_program.save_ids(tmp_path / "ids.safetensors", IDS)
    finished = cli_program.call("logits", weights, "--tokens", ids, "-o", tmp_path / "out.safetensors")
    assert finished.returncode == 1
    assert "as PyTorch writes (.bin, .pt); name the folder that holds it and config.json" in finished.stderr


def test_weights_are_not_overwritten(home, tmp_path):
    ids = cli_program.save_ids(tmp_path / "ids.safetensors", IDS)
    finished = cli_program.call("logits", home / "bin", "--tokens", ids, "-o", home / "bin" / "pytorch_model.bin")
    assert finished.returncode == 2 and "would overwrite" in finished.stderr
