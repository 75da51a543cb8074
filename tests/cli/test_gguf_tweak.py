"""`normtweak tweak` of GGUF files: only floats change, and they win quality back."""
import copy
import json
import resource
import shutil
import subprocess

import gguf
import numpy as np
import pytest
import safetensors.numpy
import torch

import cli_models
import cli_program
import family_gguf
import family_models
import gguf_blocks
from cli_gguf import deinterleave, gguf_name, interleave
from family_configs import FAMILIES

SMALL = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"]
LARGE = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M",
         "IQ1_S"]
GENTLE = ["--dtype", "f32", "--lr", 0.01, "--epochs", 4, "--batch", 4]
IDS = cli_models.ids(2, 24, seed=8)


def values_of(tensor):
    return gguf.dequantize(tensor.data, tensor.tensor_type).reshape(tuple(reversed(tensor.shape.tolist())))


def tensors(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def distorted(data, kind, generator):
    """Floats of blocks that a tweak can win something back from."""
    blocks = data.reshape(-1, gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]).copy()
    floats = gguf_blocks.read_floats(kind, blocks)
    gguf_blocks.write_floats(kind, blocks, floats * np.exp(0.2 * generator.standard_normal(floats.shape)))
    return blocks.reshape(data.shape)


def write_quantized(path, source, kind_of):
    """A copy in which each matrix of the blocks has the type kind_of(its name), None: as it is; with noise on floats."""
    generator = np.random.default_rng(5)
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1])
    for tensor in reader.tensors:
        kind = kind_of(tensor.name) if tensor.name.startswith("blk.") and len(tensor.shape) > 1 else None
        values = values_of(tensor)
        if kind is None:
            scale = 1 + 0.2 * generator.standard_normal(values.shape) if "norm.weight" in tensor.name else 1
            writer.add_tensor(tensor.name, (values * scale).astype(np.float32))
        else:
            data = distorted(gguf_blocks.quantize(kind, values.reshape(-1, values.shape[-1])), kind, generator)
            writer.add_tensor(tensor.name, data.reshape(*values.shape[:-1], -1),
                              raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def float_bits(path):
    """Which bits of the file are of floats that may be tuned: norms, biases, and those of blocks."""
    allowed = np.zeros(path.stat().st_size, np.uint8)
    for tensor in gguf.GGUFReader(path).tensors:
        begin, end = tensor.data_offset, tensor.data_offset + tensor.n_bytes
        if not tensor.name.startswith(("blk.", "output_norm")):
            continue
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            allowed[begin:end] = 0xFF * (len(tensor.shape) == 1 or "norm" in tensor.name)
        else:
            allowed[begin:end].reshape(-1, gguf.GGML_QUANT_SIZES[tensor.tensor_type][1])[:] = gguf_blocks.float_bits(
                tensor.tensor_type.name)
    return allowed


def check_only_floats_differ(before, after):
    old, new = (np.frombuffer(path.read_bytes(), np.uint8) for path in (before, after))
    assert old.size == new.size
    changed = old ^ new
    assert changed.any() and not (changed & ~float_bits(before)).any()
    return changed != 0


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    model = cli_models.llama(hidden_size=256, intermediate_size=256, num_attention_heads=8)
    cli_models.save_with_tokenizer(model, folder / "float")
    cli_program.run("generate", folder / "float", "-o", folder / "text", "--samples", 24, "--tokens", 24,
                    "--dtype", "f32")
    writer = gguf.GGUFWriter(folder / "f32.gguf", "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_array("an.unknown.list", ["kept", "as it is"])
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        part = name.rsplit(".", 2)[-2]
        writer.add_tensor(gguf_name(name, "llama"), interleave(values, heads[part]) if part in heads else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder, model


def tweak(folder, quantized, to, *options, reference=None):
    return cli_program.report("tweak", quantized, "--reference", reference or folder / "float", "--calibration",
                              folder / "text", *GENTLE, *options, to=to)


def mixed(names):
    """Every type in turn."""
    kinds = {}
    return lambda name: kinds.setdefault(name, names[len(kinds) % len(names)])


@pytest.mark.parametrize("kinds", [[kind] for kind in SMALL + LARGE] + [["Q4_K", "Q6_K", "Q5_0", "Q8_0"]], ids=str)
def test_only_floats_change(kinds, home, tmp_path):
    """The codes stay, the divergence falls, and the logits are those of the values that `gguf` reads."""
    folder, model = home
    before = write_quantized(tmp_path / "before.gguf", folder / "f32.gguf", mixed(kinds))
    after = tmp_path / "after.gguf"
    figures = tweak(folder, before, tmp_path, "-o", after, "--patch", tmp_path / "patch")
    assert figures["guard"]["accepted"] and figures["kld"]["tweaked"] < figures["kld"]["quantized"]
    assert figures["output"] == {"path": str(after), "bytes": before.stat().st_size}
    changed = check_only_floats_differ(before, after)
    assert all(changed[tensor.data_offset:tensor.data_offset + tensor.n_bytes].any()
               for name, tensor in tensors(before).items() if name.startswith("blk."))
    # The patch alone makes the same file.
    cli_program.run("apply", before, tmp_path / "patch", "-o", tmp_path / "applied.gguf")
    assert (tmp_path / "applied.gguf").read_bytes() == after.read_bytes()
    assert (tmp_path / "patch").stat().st_size < before.stat().st_size
    # transformers, with the weights that `gguf` decodes.
    read = tensors(after)
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    state = {}
    for name in model.state_dict():
        values, part = values_of(read[gguf_name(name, "llama")]), name.rsplit(".", 2)[-2]
        state[name] = torch.tensor(deinterleave(values, heads[part]) if part in heads else values)
    judge = cli_models.llama(hidden_size=256, intermediate_size=256, num_attention_heads=8)
    judge.load_state_dict(state)
    expected = cli_models.logits(judge, IDS)
    assert family_models.relative(cli_program.logits(after, IDS, tmp_path), expected) < 1e-4


def test_reference_may_be_a_gguf(home, tmp_path):
    folder, _ = home
    before = write_quantized(tmp_path / "before.gguf", folder / "f32.gguf", mixed(["Q4_0"]))
    for name, reference in {"a": folder / "float", "b": folder / "f32.gguf"}.items():
        tweak(folder, before, tmp_path, "-o", tmp_path / f"{name}.gguf", reference=reference)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_norms_alone(home, tmp_path):
    folder, _ = home
    before = write_quantized(tmp_path / "before.gguf", folder / "f32.gguf", mixed(["Q4_K"]))
    tweak(folder, before, tmp_path, "--tune", "norms", "-o", tmp_path / "after.gguf")
    old, new = tensors(before), tensors(tmp_path / "after.gguf")
    moved = {name for name in old if not np.array_equal(old[name].data, new[name].data)}
    assert moved == {name for name in old if "norm" in name}


def test_layer_wise(home, tmp_path):
    folder, _ = home
    before = write_quantized(tmp_path / "before.gguf", folder / "f32.gguf", mixed(["Q3_K"]))
    figures = cli_program.report("tweak", before, "--reference", folder / "float", "--calibration", folder / "text",
                                 "--method", "layerwise", "--lr", 1e-3, "-o", tmp_path / "after.gguf", to=tmp_path)
    assert figures["blocks"] and all(block["loss_after"] < block["loss_before"] for block in figures["blocks"])
    # The guard need not keep it; what it does not keep leaves the file as it was.
    if figures["guard"]["accepted"]:
        check_only_floats_differ(before, tmp_path / "after.gguf")
    else:
        assert (tmp_path / "after.gguf").read_bytes() == before.read_bytes()


def test_norms_in_another_type_keep_it(home, tmp_path):
    """llama.cpp's programs write F32; others are rounded to the type that they have."""
    folder, _ = home
    reader, writer = gguf.GGUFReader(folder / "f32.gguf"), gguf.GGUFWriter(tmp_path / "half.gguf", "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, values_of(tensor).astype(np.float16 if "norm" in tensor.name else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tweak(folder, tmp_path / "half.gguf", tmp_path, "-o", tmp_path / "after.gguf")
    before, after = tensors(tmp_path / "half.gguf"), tensors(tmp_path / "after.gguf")
    assert (tmp_path / "half.gguf").stat().st_size == (tmp_path / "after.gguf").stat().st_size
    for name, tensor in before.items():
        assert after[name].tensor_type == tensor.tensor_type
        assert "norm" in name or np.array_equal(after[name].data, tensor.data), name


WIDE = {"hidden_size": 96, "n_embd": 96, "intermediate_size": 96, "moe_intermediate_size": 32}  # whole blocks of 32
PLACES = [("gemma3", "every sixth sees all"), ("phi3", "plain"), ("gpt2", "tied"), ("falcon", "groups, two norms"),
            ("qwen3_moe", "two of six"), ("mixtral", "two of four"), ("bloom", "three heads"),
            ("stablelm", "parallel, norms of queries and keys")]


@pytest.mark.parametrize("family, case", PLACES)
def test_families(family, case, tmp_path):
    """Norms of 1 + w, fused rows, transposed weights, stacked experts and norms of heads go back to their places."""
    facts = FAMILIES[family]
    wide = {key: value for key, value in WIDE.items() if key in facts.base or key in facts.cases[case]}
    model = family_models.make(family, case, facts.config(**copy.deepcopy(facts.base | facts.cases[case] | wide)))
    model.save_pretrained(tmp_path / "float")
    family_gguf.write(tmp_path / "f32.gguf", family, model)
    before = write_quantized(tmp_path / "before.gguf", tmp_path / "f32.gguf", lambda name: (
        "Q4_0" if tensors(tmp_path / "f32.gguf")[name].shape[0] % 32 == 0 and "norm" not in name
        and "ffn_gate_inp" not in name else None))
    assert any(tensor.tensor_type == gguf.GGMLQuantizationType.Q4_0 for tensor in tensors(before).values())
    cli_program.save_ids(tmp_path / "text", family_models.ids(16, 16, seed=3))
    figures = tweak(tmp_path, before, tmp_path, "--tune", "norms,router-norms,biases,scales", "-o",
                    tmp_path / "after.gguf")
    assert figures["guard"]["accepted"]
    check_only_floats_differ(before, tmp_path / "after.gguf")
    again = cli_program.report("tweak", tmp_path / "after.gguf", "--reference", tmp_path / "float", "--calibration",
                               tmp_path / "text", "--dtype", "f32", "--lr", 1e-9, "--epochs", 1, "-o",
                               tmp_path / "again.gguf", to=tmp_path)
    # What was judged is what the file holds.
    assert again["kld"]["quantized"] == pytest.approx(figures["kld"]["tweaked"], rel=1e-4)


# ---------------------------------------------------------------- patches --------------------------------------------

@pytest.fixture(scope="module")
def patched(home, tmp_path_factory):
    folder, _ = home
    place = tmp_path_factory.mktemp("patched")
    before = write_quantized(place / "before.gguf", folder / "f32.gguf", mixed(["Q4_K"]))
    tweak(folder, before, place, "--patch", place / "patch")
    assert not (place / "after.gguf").exists()
    return before, place / "patch"


def other_byte(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def same_file_twice(_, patch):
    with safetensors.safe_open(patch, "numpy") as file:
        held, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    again = {f"{key[:-2]}.1": value for key, value in {**held, **metadata}.items() if key.endswith(".0")}
    safetensors.numpy.save_file(
        held | {key: value for key, value in again.items() if not isinstance(value, str)}, patch,
        metadata | {"files": "2"} | {key: value for key, value in again.items() if isinstance(value, str)})


@pytest.mark.parametrize("edit, said", [
    (lambda base, patch: other_byte(base, 5000), "its size is the same, but not its content"),
    (lambda base, patch: base.write_bytes(base.read_bytes()[:-1]), "not the file that"),
    (lambda base, patch: shutil.copy(base, patch), "is a GGUF file"),
    (lambda base, patch: patch.write_bytes(patch.read_bytes()[:-3]), "the file has"),
    (lambda base, patch: patch.unlink(), "No such file"),
    (lambda base, patch: other_byte(patch, -5), "does not give the file that it was made for"),
    (same_file_twice, "changes before.gguf twice"),
], ids=["another base", "shorter base", "no patch", "cut patch", "no such patch", "damaged patch", "a file twice"])
def test_wrong_files_are_refused(edit, said, patched, tmp_path):
    base, patch = (shutil.copy(path, tmp_path / path.name) for path in patched)
    edit(base, patch)
    found = cli_program.call("apply", base, patch, "-o", tmp_path / "out.gguf")
    assert found.returncode == 1 and said in found.stderr and len(found.stderr.splitlines()) == 1
    assert not (tmp_path / "out.gguf").exists()


def no_file_may_grow():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def apply_without_writing(base, patch, output):
    return subprocess.run([cli_program.PROGRAM, "apply", base, patch, "-o", output], capture_output=True, text=True,
                          check=False, env=cli_program.ENVIRONMENT, preexec_fn=no_file_may_grow)


def change_where_it_is_patched(base, patch):
    pieces = safetensors.numpy.load_file(patch)["pieces.0"]
    other_byte(base, int(pieces[len(pieces) // 2, 0]))


def test_another_base_is_refused_before_it_is_copied(patched, tmp_path):
    """As far as the bytes to be replaced tell; with the right one, the copy fails."""
    base, patch = (shutil.copy(path, tmp_path / path.name) for path in patched)
    output = tmp_path / "new" / "folders" / "out.gguf"
    assert "writing failed" in apply_without_writing(base, patch, output).stderr
    assert not (tmp_path / "new").exists()
    change_where_it_is_patched(base, patch)
    assert "its size is the same, but not its content" in apply_without_writing(base, patch, output).stderr
    assert not (tmp_path / "new").exists()


def without_hash_of_replaced(patch):
    """As earlier versions wrote it."""
    with safetensors.safe_open(patch, "numpy") as file:
        held, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    assert metadata.pop("replaced_xxh3.0")
    safetensors.numpy.save_file(held, patch, metadata)


@pytest.mark.parametrize("edit", [lambda base, patch: other_byte(base, 5000), lambda base, patch: (
    without_hash_of_replaced(patch), change_where_it_is_patched(base, patch))], ids=["other codes", "no hash"])
def test_another_base_is_refused_after_it_was_copied(edit, patched, tmp_path):
    """No folder that was made for the copy stays."""
    base, patch = (shutil.copy(path, tmp_path / path.name) for path in patched)
    edit(base, patch)
    output = tmp_path / "new" / "folders" / "out.gguf"
    found = cli_program.call("apply", base, patch, "-o", output)
    assert found.returncode == 1 and "its size is the same, but not its content" in found.stderr
    assert not (tmp_path / "new").exists()


def test_patches_of_earlier_versions_are_applied(patched, tmp_path):
    patch = shutil.copy(patched[1], tmp_path / "patch")
    without_hash_of_replaced(patch)
    for name, given in (("new", patched[1]), ("earlier", patch)):
        cli_program.run("apply", patched[0], given, "-o", tmp_path / name / "out.gguf")
    assert (tmp_path / "new" / "out.gguf").read_bytes() == (tmp_path / "earlier" / "out.gguf").read_bytes()


@pytest.mark.parametrize("arguments, said", [
    (["-o", "{before}"], "is read by this run"),
    (["-o", "{folder}"], "folder"),
    (["--patch", "{before}"], "would overwrite QUANTIZED"),
    ([], "-o is missing"),
], ids=["onto the input", "a folder is there", "patch onto the input", "no output"])
def test_refusals(arguments, said, home, patched, tmp_path):
    folder, _ = home
    words = [word.format(before=patched[0], folder=folder) for word in arguments]
    found = cli_program.call("tweak", patched[0], "--reference", folder / "float", "--calibration", folder / "text",
                             *words)
    assert found.returncode in (1, 2) and said in found.stderr, found.stderr


def test_report_names_the_types(home, tmp_path):
    folder, _ = home
    before = write_quantized(tmp_path / "before.gguf", folder / "f32.gguf", mixed(["Q4_K"]))
    figures = tweak(folder, before, tmp_path, "-o", tmp_path / "after.gguf")
    assert (figures["method"], figures["bits"], figures["group_size"]) == ("Q4_K", 4, 32)
    assert figures["bits_per_weight"] == pytest.approx(4.5)
    assert {"program": "llama.cpp", "opens": True} .items() <= figures["readers"][0].items()
    assert json.dumps(figures)
