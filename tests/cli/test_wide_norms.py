"""`normtweak tweak --norms f32`: norms of 16 bits are tuned, judged and written in F32, and nothing else changes."""
import json
import math
import shutil

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import cli_gguf
import cli_models
import cli_program
import quantized_folders
from quantized_folders import VARIANTS

ROWS, TOKENS, CONFIRM = 16, 16, 2
WIDE = ["--norms", "f32", "--dtype", "f32", "--lr", 0.01, "--epochs", 4, "--batch", 4]
# One of each format, in both types of 16 bits, in one file and in several.
FOLDERS = ["gptq-4", "gptq-4-shards", "awq", "auto-round-awq", "packed-4-asymmetric", "int8-rows", "float8-rows",
           "nf4-nested", "fp8-tiles"]
INDEX = "model.safetensors.index.json"


def model():
    return cli_models.llama(intermediate_size=128, attention_bias=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A float model in both types of 16 bits and in F32, and a text."""
    folder = tmp_path_factory.mktemp("wide")
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        cli_models.save_with_tokenizer(model().to(dtype), folder / str(dtype).removeprefix("torch."))
    cli_program.save_ids(folder / "text", cli_models.ids(ROWS, TOKENS, seed=3))
    return folder


def source_of(home, name):
    return home / str(VARIANTS[name].dtype).removeprefix("torch.")


def tweak(home, before, after, to, *options, reference="float32"):
    return cli_program.report("tweak", before, "--reference", home / reference, "--calibration", home / "text", "-o",
                              after, *WIDE, *options, to=to)


def is_norm(name):
    return name.endswith("norm.weight")


def raw(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def check_aligned(path):
    """torch views the bytes of a file as they lie; a view of unaligned ones fails."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        elements = math.prod(entry["shape"])
        assert elements == 0 or (8 + length + begin) % ((end - begin) // elements) == 0, name


def check_folder(before, after, tuned):
    """All but norms and the floats in `tuned` have the bytes that they had. Returns the names of what changed."""
    moved = set()
    assert sorted(file.name for file in after.iterdir()) == sorted(file.name for file in before.iterdir())
    for file in before.iterdir():
        copy = after / file.name
        if file.suffix != ".safetensors":
            assert file.name == INDEX or copy.read_bytes() == file.read_bytes(), file.name
            continue
        check_aligned(copy)
        old, new = load_file(file), load_file(copy)
        assert old.keys() == new.keys()
        with safe_open(file, "pt") as one, safe_open(copy, "pt") as other:
            assert one.metadata() == other.metadata()
        for name, tensor in old.items():
            if is_norm(name):
                assert (tensor.element_size(), new[name].dtype) == (2, torch.float32)
                moved |= set() if torch.equal(tensor.float(), new[name]) else {name}
            else:
                assert (new[name].dtype, new[name].shape) == (tensor.dtype, tensor.shape)
                moved |= set() if torch.equal(raw(tensor), raw(new[name])) else {name}
    assert moved <= tuned, moved - tuned
    return moved


@pytest.mark.parametrize("name", FOLDERS)
def test_only_norms_become_wider(name, home, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    quantized_folders.write(before, name, source_of(home, name))
    figures = tweak(home, before, after, tmp_path, "--tune", "norms,scales")
    assert figures["guard"]["accepted"]
    moved = check_folder(before, after, quantized_folders.tuned_tensors(before, name))
    found = cli_program.tensors(after)
    norms = {other for other in found if is_norm(other)}
    assert norms <= moved and len(norms) == 5
    assert any(other in moved for other in found if not is_norm(other))  # floats of codes, in their new places
    # Values that 16 bits would have rounded.
    assert all((found[other].to(VARIANTS[name].dtype).float() != found[other]).any() for other in norms)
    if (before / INDEX).exists():
        old, new = (json.loads((folder / INDEX).read_text()) for folder in (before, after))
        more = sum(2 * found[other].numel() for other in norms)
        assert new["metadata"].pop("total_size") == old["metadata"].pop("total_size") + more and new == old


def divergence(judge, reference, ids):
    ours, theirs = (cli_models.logits(one, ids).double().log_softmax(-1) for one in (judge, reference))
    return (theirs.exp() * (theirs - ours)).sum(-1).mean().item()


@pytest.fixture(scope="module")
def export(home):
    """Dequantized weights in bf16, with noise on the norms, so that there is much to win."""
    cli_program.run("quantize", home / "bfloat16", "-o", home / "export", "--method", "rtn", "--tweak", "none",
                    "--format", "hf", "--calibration", home / "text")
    generator = torch.Generator().manual_seed(5)
    cli_program.change_tensors(home / "export", lambda name, tensor: (
        tensor + 0.2 * torch.randn(tensor.shape, generator=generator)).to(tensor.dtype) if is_norm(name) else tensor)
    return home / "export"


@pytest.mark.parametrize("method", [["--tune", "norms"], ["--method", "layerwise", "--unguarded"]], ids=["end-to-end",
                                                                                                         "layerwise"])
def test_norms_are_judged_as_transformers_loads_them_in_f32(method, home, export, tmp_path):
    figures = tweak(home, export, tmp_path / "after", tmp_path, *method)
    moved = check_folder(export, tmp_path / "after", {name for name in cli_program.tensors(export) if is_norm(name)})
    assert moved and figures["guard"]["kept"] != "untouched"
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "after", dtype=torch.float32)
    reference = AutoModelForCausalLM.from_pretrained(home / "float32")
    held_out = cli_models.ids(ROWS, TOKENS, seed=3)[-CONFIRM:]
    assert figures["kld"]["tweaked"] == pytest.approx(divergence(saved, reference, held_out), rel=1e-3)
    scored = cli_program.logits(tmp_path / "after", held_out, tmp_path)
    assert torch.allclose(scored, cli_models.logits(saved, held_out), atol=1e-4)


def test_readers_that_load_16_bits_are_named(home, export, tmp_path):
    """As the note says, transformers rounds the norms where nothing else is asked for, and keeps them where it is."""
    command = ["tweak", export, "--reference", home / "float32", "--calibration", home / "text", *WIDE]
    told = cli_program.call(*command, "-o", tmp_path / "after", "--json", tmp_path / "figures")
    assert told.returncode == 0 and "readers that load them in bfloat16" in told.stderr
    figures = json.loads((tmp_path / "figures").read_text())
    assert (figures["bits"], figures["bits_per_weight"]) == (16, 16)  # of the linears, which stay as they are
    stored = cli_program.tensors(tmp_path / "after")["model.norm.weight"]
    rounded = AutoModelForCausalLM.from_pretrained(tmp_path / "after").model.norm.weight
    exact = AutoModelForCausalLM.from_pretrained(tmp_path / "after", dtype=torch.float32).model.norm.weight
    assert torch.equal(exact, stored) and torch.equal(rounded, stored.bfloat16()) and not torch.equal(exact, rounded)


def test_packed_folders_open_in_transformers(home, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    cli_program.run("quantize", home / "bfloat16", "-o", before, "--method", "rtn", "--symmetric", "--group-size", 32,
                    "--tweak", "none", "--calibration", home / "text")
    tweak(home, before, after, tmp_path, "--tune", "norms,scales", "--unguarded")
    check_folder(before, after, {name for name in cli_program.tensors(before)
                                 if is_norm(name) or name.endswith("weight_scale")})
    ids = cli_models.ids(2, TOKENS, seed=9)
    saved = AutoModelForCausalLM.from_pretrained(after, dtype=torch.float32)
    assert torch.allclose(cli_program.logits(after, ids, tmp_path), cli_models.logits(saved, ids), atol=1e-3)


def test_what_the_guard_does_not_keep_is_widened_as_it_was(home, tmp_path):
    """Norms that 16 bits hold already, in their new type."""
    before, after = tmp_path / "before", tmp_path / "after"
    quantized_folders.write(before, "gptq-4", source_of(home, "gptq-4"))
    figures = cli_program.report("tweak", before, "--reference", home / "float32", "--calibration", home / "text", "-o",
                                 after, "--norms", "f32", "--lr", 1e-9, "--steps", 1, to=tmp_path)
    assert figures["guard"]["kept"] == "untouched" and check_folder(before, after, set()) == set()


def test_wide_norms_are_tweaked_again(home, export, tmp_path):
    """They are there already: nothing moves in the file, and nothing is rounded to 16 bits."""
    tweak(home, export, tmp_path / "once", tmp_path, "--tune", "norms")
    figures = tweak(home, tmp_path / "once", tmp_path / "twice", tmp_path, "--tune", "norms", "--unguarded")
    assert figures["guard"]["kept"] != "untouched"
    old, new = cli_program.tensors(tmp_path / "once"), cli_program.tensors(tmp_path / "twice")
    assert {name for name in old if not torch.equal(old[name], new[name])} == {name for name in old if is_norm(name)}
    assert (new["model.norm.weight"].bfloat16().float() != new["model.norm.weight"]).any()


# ---------------------------------------------------------------- what is noted or refused ---------------------------

def save_gguf(home, path, norm_type):
    """Matrices in Q8_0."""
    cli_gguf.write(home / "f32.gguf", model_of_gguf(), "llama", gguf.GGMLQuantizationType.Q8_0)
    reader, writer = gguf.GGUFReader(home / "f32.gguf"), gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1])
    for tensor in reader.tensors:
        is_float = "norm" in tensor.name
        data = np.asarray(tensor.data).astype(norm_type) if is_float else tensor.data
        writer.add_tensor(tensor.name, data, raw_dtype=None if is_float else tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def model_of_gguf():
    return cli_models.llama(intermediate_size=128)


def test_norms_of_gguf_files_are_wide_already(home, tmp_path):
    cli_models.save_with_tokenizer(model_of_gguf(), tmp_path / "float")
    before = save_gguf(tmp_path, tmp_path / "before.gguf", np.float32)
    command = ["tweak", before, "--reference", tmp_path / "float", "--calibration", home / "text", "--lr", 0.01,
               "--steps", 2, "--unguarded"]
    told = cli_program.call(*command, "--norms", "f32", "-o", tmp_path / "f32.gguf")
    assert told.returncode == 0 and "--norms f32: has no effect" in told.stderr
    assert "has no effect" not in cli_program.call(*command, "-o", tmp_path / "keep.gguf").stderr
    assert (tmp_path / "f32.gguf").read_bytes() == (tmp_path / "keep.gguf").read_bytes()


def test_narrow_norms_of_gguf_files_are_refused(home, tmp_path):
    cli_models.save_with_tokenizer(model_of_gguf(), tmp_path / "float")
    before = save_gguf(tmp_path, tmp_path / "before.gguf", np.float16)
    found = cli_program.call("tweak", before, "--reference", tmp_path / "float", "--calibration", home / "text",
                             "--norms", "f32", "-o", tmp_path / "after.gguf")
    assert (found.returncode, len(found.stderr.splitlines())) == (1, 1), found
    assert "--norms f32" in found.stderr and "norm.weight is F16" in found.stderr
    assert not (tmp_path / "after.gguf").exists()


@pytest.mark.parametrize("options, said", [
    (["--patch", "patch"], "--norms f32: not together with --patch"),
    (["--tune", "scales"], "--norms f32: has no use with --tune scales")], ids=["patch", "scales"])
def test_what_cannot_be_is_refused(options, said, home, export, tmp_path):
    options = [tmp_path / word if word == "patch" else word for word in options]
    found = cli_program.call("tweak", export, "--reference", home / "float32", "--norms", "f32", "-o",
                             tmp_path / "after", *options)
    assert found.returncode == 2 and said in found.stderr, found
    assert list(tmp_path.iterdir()) == []


def test_a_config_without_a_dtype_is_refused(home, export, tmp_path):
    """Readers would take the dtype of the tensors, and with other norms another one."""
    shutil.copytree(export, tmp_path / "before")

    def edit(config):
        config.pop("dtype", None)
        config.pop("torch_dtype", None)
    cli_models.edit_config(tmp_path / "before", edit)
    command = ["tweak", tmp_path / "before", "--reference", home / "float32", "--calibration", home / "text", "--lr",
               0.01, "--steps", 1, "-o", tmp_path / "after"]
    found = cli_program.call(*command, "--norms", "f32")
    assert found.returncode == 1 and "config.json names no dtype" in found.stderr, found
    assert not (tmp_path / "after").exists()
    assert cli_program.call(*command).returncode == 0
