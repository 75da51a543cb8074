"""What no quantized folder may hold, and what a message about it has to name.

DAMAGE is a table: a variant of quantized_folders.py, an edit of its folder, and what is said: an expression for the
file, the tensor or key, and what was found there.
"""
import dataclasses
import json
import math
import pathlib
import re
import typing

import torch
from safetensors.torch import load_file, save_file

MODULE = "model.layers.1.mlp.up_proj"  # [128, 64]
STATE = "weight.quant_state.bitsandbytes__nf4"
GONE = object()  # in place of a value: the key is taken out


@dataclasses.dataclass(frozen=True)
class Damage:
    variant: str
    edit: typing.Callable
    said: str


# ---------------------------------------------------------------- edits ----------------------------------------------

def edit_json(path, edit):
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def set_keys(found, changes):
    for key, value in changes.items():
        if value is GONE:
            del found[key]
        else:
            found[key] = value


def config(**changes):
    """Other keys of `quantization_config`."""
    def edit(found):
        set_keys(found["quantization_config"], changes)
    return lambda folder: edit_json(folder / "config.json", edit)


def whole_config(value):
    return lambda folder: edit_json(folder / "config.json", lambda found: found.update(quantization_config=value))


def side_file(**changes):
    return lambda folder: edit_json(folder / "quantize_config.json", lambda found: set_keys(found, changes))


def weights(**changes):
    """Other keys of `weights` in the group of a compressed-tensors config."""
    def edit(found):
        set_keys(found["quantization_config"]["config_groups"]["group_0"]["weights"], changes)
    return lambda folder: edit_json(folder / "config.json", edit)


def text_of(file, text):
    return lambda folder: (folder / file).write_text(text)


def edit_tensors(folder, edit):
    """edit: of the tensors of the file that holds MODULE's."""
    for path in pathlib.Path(folder).glob("*.safetensors"):
        tensors = load_file(path)
        if any(name.startswith(f"{MODULE}.") for name in tensors):
            edit(tensors)
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def changed(part, change):
    """change: of the tensor MODULE.part"""
    def edit(tensors):
        tensors[f"{MODULE}.{part}"] = change(tensors[f"{MODULE}.{part}"])
    return lambda folder: edit_tensors(folder, edit)


def without(*parts):
    def edit(tensors):
        for part in parts:
            del tensors[f"{MODULE}.{part}"]
    return lambda folder: edit_tensors(folder, edit)


def with_tensor(part, value):
    return lambda folder: edit_tensors(folder, lambda tensors: tensors.update({f"{MODULE}.{part}": value}))


def as_float(folder):
    """A float weight in place of the codes."""
    def edit(tensors):
        for name in [name for name in tensors if name.startswith(f"{MODULE}.")]:
            del tensors[name]
        tensors[f"{MODULE}.weight"] = torch.full((128, 64), 0.01, dtype=torch.float16)
    edit_tensors(folder, edit)


def element(value, at=0):
    """Another value at one place."""
    def change(tensor):
        changed = tensor.clone()
        changed.view(-1)[at] = value
        return changed
    return change


def first_byte(value):
    return lambda tensor: element(value)(tensor.view(torch.uint8)).view(tensor.dtype)


def fewer(dimension):
    """Without the last row or column."""
    return lambda tensor: tensor.narrow(dimension, 0, tensor.shape[dimension] - 1)


def state(**changes):
    def change(tensor):
        facts = json.loads(bytes(tensor.tolist()))
        set_keys(facts, changes)
        return torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)
    return changed(STATE, change)


# ---------------------------------------------------------------- what is said ---------------------------------------

def in_tensor(part, *found, file="model.safetensors"):
    return ".*".join([re.escape(file), re.escape(f"{MODULE}.{part}"), *found])


def in_config(*found, file="config.json"):
    return ".*".join([re.escape(file), *found])


NUMBERS = r"(NaN|nan|infinit|finite)"

# ---------------------------------------------------------------- configs --------------------------------------------

LAYOUTS = {
    "awq gemv": Damage("awq", config(version="gemv"), in_config("gemv")),
    "awq gemv_fast": Damage("awq", config(version="gemv_fast"), in_config("gemv_fast")),
    "awq marlin": Damage("awq", config(version="marlin"), in_config("marlin")),
    "awq of llm-awq": Damage("awq", config(backend="llm-awq"), in_config("llm-awq")),
    "awq with 3 bits": Damage("awq", config(bits=3), in_config("bits", r"\b3\b")),
    "gptq marlin": Damage("gptq-4", config(checkpoint_format="marlin"), in_config("marlin")),
    "gptq marlin, as it was": Damage("gptq-4", config(is_marlin_format=True), in_config("marlin")),
    "gptq bitblas": Damage("gptq-4", config(checkpoint_format="bitblas"), in_config("bitblas")),
    "gptq in planes": Damage("gptq-4", config(checkpoint_format="gptq_p"), in_config("gptq_p")),
    "gptq with 5 bits": Damage("gptq-4", config(bits=5), in_config(r"\b5 bits|bits.*\b5\b")),
    "gptq in short words": Damage("gptq-4", config(pack_dtype="int16"), in_config("pack_dtype", "int16")),
    "hqq": Damage("gptq-4", whole_config({"quant_method": "hqq", "quant_config": {"weight_quant_params": {}}}),
                  in_config("hqq")),
    "nvfp4": Damage("packed-4", config(format="nvfp4-pack-quantized"), in_config("nvfp4-pack-quantized")),
    "mxfp4 in compressed-tensors": Damage("packed-4", config(format="mxfp4-pack-quantized"),
                                          in_config("mxfp4-pack-quantized")),
    "mxfp4": Damage("gptq-4", whole_config({"quant_method": "mxfp4"}), in_config("mxfp4")),
    "quark": Damage("gptq-4", whole_config({"quant_method": "quark", "bits": 4}), in_config("quark")),
    "2:4": Damage("packed-4", config(format="marlin-24"), in_config("marlin-24")),
    "8 bits of bitsandbytes": Damage("nf4", config(load_in_8bit=True, load_in_4bit=False), in_config("load_in_8bit")),
    "fp8 e5m2": Damage("fp8-tiles", config(fmt="e5m2"), in_config("fmt", "e5m2")),
    "auto-round of 4-bit floats": Damage("auto-round-gptq-4", config(data_type="mx_fp"),
                                         in_config("data_type", "mx_fp")),
    "auto-round with integer inputs": Damage("auto-round-gptq-4", config(act_bits=8), in_config("act_bits", r"\b8\b")),
    "auto-round in another packing": Damage("auto-round-gptq-4", config(packing_format="auto_round:gptq_marlin"),
                                            in_config("packing_format", "gptq_marlin")),
}

CONFIGS = {
    "no bits": Damage("gptq-4", config(bits=GONE), in_config("bits")),
    "no bits beside": Damage("gptq-side-file", side_file(bits=GONE), in_config("bits", file="quantize_config.json")),
    "no bits in awq": Damage("awq", config(bits=GONE), in_config("bits")),
    "bits as a text": Damage("gptq-4", config(bits="4"), in_config("bits", '"4"')),
    "half bits": Damage("gptq-4", config(bits=4.5), in_config("bits", r"4\.5")),
    "16 bits": Damage("gptq-4", config(bits=16), in_config("bits", "16")),
    "group size as a text": Damage("gptq-4", config(group_size="32"), in_config("group_size", '"32"')),
    "sym as a number": Damage("gptq-4", config(sym=1), in_config("sym", r"\b1\b")),
    "broken pattern": Damage("gptq-4", config(dynamic={"+:(": {"bits": 8}}), in_config("dynamic", re.escape("("))),
    "dynamic as a list": Damage("gptq-4", config(dynamic=["-:.*"]), in_config("dynamic", re.escape("-:.*"))),
    "bits of one module": Damage("gptq-dynamic", config(dynamic={"+:.*down_proj": {"bits": 99}}),
                                 in_config("dynamic", "down_proj", "99")),
    "a list": Damage("gptq-4", whole_config([4]), in_config("4")),
    "not JSON beside": Damage("gptq-side-file", text_of("quantize_config.json", '{"bits": 4'), "quantize_config.json"),
    "a list beside": Damage("gptq-side-file", text_of("quantize_config.json", "[4]"), "quantize_config.json"),
    "extra_config as a list": Damage("auto-round-gptq-4", config(extra_config=[1]), in_config("extra_config")),
    "broken pattern in extra_config": Damage("auto-round-gptq-4", config(extra_config={"(": {"bits": 8}}),
                                             in_config("extra_config", re.escape("("))),
    "not compressed": Damage("packed-4", config(quantization_status="initialized"), in_config("initialized")),
    "sparse": Damage("packed-4", config(sparsity_config={"format": "sparse-24-bitmask"}),
                     in_config("sparsity_config", "sparse-24")),
    "rotated": Damage("packed-4", config(transform_config={"config_groups": {"u": {}}}), in_config("transform_config")),
    "no groups": Damage("packed-4", config(config_groups=GONE), in_config("config_groups")),
    "unknown preset": Damage("packed-4", config(config_groups={"NVFP4": ["Linear"]}), in_config("NVFP4")),
    "9 bits": Damage("packed-4", weights(num_bits=9), in_config("num_bits", r"\b9\b")),
    "unknown strategy": Damage("packed-4", weights(strategy="tensor_group"), in_config("strategy", "tensor_group")),
    "unknown order": Damage("packed-4", weights(actorder="sometimes"), in_config("actorder", "sometimes")),
    "tiles without a size": Damage("float8-tiles", weights(block_structure=None), in_config("block_structure")),
    "tile of one size": Damage("fp8-tiles", config(weight_block_size=[32]), in_config("weight_block_size", "32")),
    "tile of no rows": Damage("fp8-tiles", config(weight_block_size=[0, 32]), in_config("weight_block_size", r"\b0\b")),
}

# ---------------------------------------------------------------- tensors --------------------------------------------

GPTQ = {
    "group out of range": Damage("gptq-4", changed("g_idx", element(7)), in_tensor("g_idx", r"\b7\b")),
    "negative group": Damage("gptq-4", changed("g_idx", element(-3)), in_tensor("g_idx", r"-3\b")),
    "groups of different sizes": Damage("gptq-4", changed("g_idx", element(1)), in_tensor("g_idx", "group")),
    "too few groups of columns": Damage("gptq-4", changed("g_idx", fewer(0)),
                                        MODULE + r"\.(g_idx|qweight|scales).*\b63\b"),
    "g_idx in floats": Damage("gptq-4", changed("g_idx", torch.Tensor.float), in_tensor("g_idx", "F32")),
    "NaN scale": Damage("gptq-4", changed("scales", element(math.nan)), in_tensor("scales", NUMBERS)),
    "infinite scale": Damage("gptq-4", changed("scales", element(math.inf)), in_tensor("scales", NUMBERS)),
    "NaN scale in a shard": Damage("gptq-4-shards", changed("scales", element(math.nan, 100)), in_tensor(
        "scales", NUMBERS, file="model-00002-of-00002.safetensors")),
    "scales in integers": Damage("gptq-4", changed("scales", torch.Tensor.int), in_tensor("scales", "I32")),
    "scales in F64": Damage("gptq-4", changed("scales", torch.Tensor.double), in_tensor("scales", "F64")),
    "scales of other rows": Damage("gptq-4", changed("scales", fewer(1)), in_tensor("scales", "127")),
    "no scales": Damage("gptq-4", without("scales"), in_tensor("scales")),
    "no zero-points": Damage("gptq-4", without("qzeros"), in_tensor("qzeros")),
    "zero-points of other rows": Damage("gptq-4", changed("qzeros", fewer(1)), in_tensor("qzeros", r"\b15\b")),
    "zero-points of other groups": Damage("gptq-4", changed("qzeros", fewer(0)), in_tensor("qzeros", r"\[1, 16\]")),
    "zero-points in floats": Damage("gptq-4", changed("qzeros", torch.Tensor.half), in_tensor("qzeros", "F16")),
    "qweight of other columns": Damage("gptq-4", changed("qweight", fewer(0)), in_tensor("qweight", r"\b7\b")),
    "qweight of other columns, without g_idx": Damage(
        "gptq-4-no-index", changed("qweight", fewer(0)), MODULE + r"\.(qweight|scales).*\b(56|7)\b"),
    "qweight of other rows": Damage("gptq-4", changed("qweight", fewer(1)), MODULE + r"\.(qweight|scales).*\b12[78]\b"),
    "flat qweight": Damage("gptq-4", changed("qweight", torch.flatten), in_tensor("qweight", "1024")),
    "qweight in I64": Damage("gptq-4", changed("qweight", torch.Tensor.long), in_tensor("qweight", "I64")),
    "qweight in I16": Damage("gptq-4", changed("qweight", lambda t: t.view(torch.int16)), in_tensor("qweight", "I16")),
    "more bits than the words hold": Damage("gptq-4", config(bits=8), r"model\.safetensors.*\.qweight.*\b8 bits"),
    "wider groups than the scales": Damage("gptq-4", config(group_size=64), r"model\.safetensors.*\.scales.*\b64\b"),
    "narrower groups than the scales": Damage("gptq-4-rows", config(group_size=32),
                                              r"model\.safetensors.*\.scales.*\b32\b"),
    "groups that do not divide the columns": Damage("gptq-4", config(group_size=48),
                                                    r"model\.safetensors.*\.(scales|qweight).*\b48\b"),
    "codes that the config denies": Damage("gptq-4", config(dynamic={"-:.*up_proj": {}}),
                                           r"model\.safetensors.*up_proj\.qweight.*config"),
    "codes that AutoRound's config denies": Damage(
        "auto-round-gptq-4", config(extra_config={MODULE: {"bits": 16}}), in_tensor("qweight", "config")),
    "codes and a float weight": Damage("gptq-4", with_tensor("weight", torch.ones(128, 64)),
                                       in_tensor("weight", "qweight")),
    "no codes": Damage("gptq-4", without("qweight"), re.escape(MODULE)),
    "a linear of another shape": Damage("gptq-4-no-index", changed("qweight", lambda t: torch.cat([t, t])),
                                        re.escape(MODULE)),
}

AWQ = {
    "awq: NaN scale": Damage("awq", changed("scales", element(math.nan)), in_tensor("scales", NUMBERS)),
    "awq: no zero-points": Damage("awq", without("qzeros"), in_tensor("qzeros")),
    "awq: no scales": Damage("awq", without("scales"), in_tensor("scales")),
    "awq: qweight in I16": Damage("awq", changed("qweight", lambda t: t.view(torch.int16)),
                                  in_tensor("qweight", "I16")),
    "awq: qweight of other rows": Damage("awq", changed("qweight", fewer(1)),
                                         MODULE + r"\.(qweight|scales).*\b1(20|28)\b"),
    "awq: packed as GPTQ": Damage("gptq-4", whole_config({"quant_method": "awq", "bits": 4, "group_size": 32}),
                                  r"model\.safetensors.*\.(qweight|scales|qzeros)"),
    "awq: codes that the config denies": Damage("awq", config(modules_to_not_convert=["up_proj"]),
                                                r"model\.safetensors.*up_proj\.qweight.*config"),
}

COMPRESSED = {
    "packed: NaN scale": Damage("packed-4", changed("weight_scale", element(math.nan)),
                                in_tensor("weight_scale", NUMBERS)),
    "packed: no scale": Damage("packed-4", without("weight_scale"), in_tensor("weight_scale")),
    "packed: no shape": Damage("packed-4", without("weight_shape"), in_tensor("weight_shape")),
    "packed: no zero-points": Damage("packed-4-asymmetric", without("weight_zero_point"),
                                     in_tensor("weight_zero_point")),
    "packed: shape of nothing": Damage("packed-4", changed("weight_shape", element(0)),
                                       in_tensor("weight_shape", r"\b0\b")),
    "packed: shape with other columns": Damage("packed-4", changed("weight_shape", element(96, 1)),
                                               in_tensor("weight_packed", r"\b96\b")),
    "packed: words of neither layout": Damage("packed-3", changed("weight_packed", fewer(1)),
                                              in_tensor("weight_packed", r"\b5\b")),
    "packed: words in I64": Damage("packed-4", changed("weight_packed", torch.Tensor.long),
                                   in_tensor("weight_packed", "I64")),
    "packed: other groups": Damage("packed-4", weights(group_size=64), r"model\.safetensors.*\.weight_scale.*\b64\b"),
    "packed: zero-points of other rows": Damage("packed-4-asymmetric", changed("weight_zero_point", fewer(0)),
                                                in_tensor("weight_zero_point", r"\b15\b")),
    "packed: group out of range": Damage("packed-4-act-order", changed("weight_g_idx", element(9)),
                                         in_tensor("weight_g_idx", r"\b9\b")),
    "packed: codes that the config denies": Damage("packed-4", config(ignore=["lm_head", MODULE]),
                                                   in_tensor("weight_packed", "config")),
    "packed: a float weight that the config denies": Damage("packed-4", as_float, in_tensor("weight", "config")),
    "int8: codes in U8": Damage("int8-rows", changed("weight", lambda t: t.view(torch.uint8)),
                                in_tensor("weight", "U8")),
    "int8: scales of other rows": Damage("int8-rows", changed("weight_scale", fewer(0)),
                                         in_tensor("weight_scale", "127")),
    "float8: NaN code": Damage("float8-rows", changed("weight", first_byte(127)), in_tensor("weight", NUMBERS)),
    "float8: integers": Damage("float8-rows", changed("weight", lambda t: t.view(torch.int8)),
                               in_tensor("weight", "I8")),
    "float8: other tiles": Damage("float8-tiles", weights(block_structure=[16, 16]),
                                  r"model\.safetensors.*\.weight_scale.*\["),
}

BITSANDBYTES = {
    "nf4: NaN scale": Damage("nf4", changed("weight.absmax", element(math.nan)), in_tensor("weight.absmax", NUMBERS)),
    "nf4: other runs": Damage("nf4", changed("weight.absmax", fewer(0)), in_tensor("weight.absmax", "127")),
    "nf4: fewer codes": Damage("nf4", changed("weight", fewer(0)), in_tensor("weight", "4095")),
    "nf4: no scales": Damage("nf4", without("weight.absmax"), re.escape(MODULE)),
    "nf4: no codes": Damage("nf4", without("weight"), in_tensor("weight")),
    "nf4: no state": Damage("nf4", without(STATE), re.escape(MODULE)),
    "nf4: state is no JSON": Damage("nf4", changed(STATE, fewer(0)), in_tensor(STATE)),
    "nf4: runs of nothing": Damage("nf4", state(blocksize=0), in_tensor(STATE, "blocksize", r"\b0\b")),
    "nf4: runs of another length": Damage("nf4", state(blocksize=128), in_tensor("weight.absmax", r"\b128\b")),
    "nf4: no length of runs": Damage("nf4", state(blocksize=GONE), in_tensor(STATE, "blocksize")),
    "nf4: no shape": Damage("nf4", state(shape=GONE), in_tensor(STATE, "shape")),
    "nf4: shape of nothing": Damage("nf4", state(shape=[0, 64]), in_tensor(STATE, "shape", r"\b0\b")),
    "nf4: shape of a huge weight": Damage("nf4", state(shape=[2 ** 40, 64]), in_tensor(STATE, "shape", str(2 ** 40))),
    "nf4: shape of another weight": Damage("nf4", state(shape=[64, 64]), in_tensor("weight", "4096")),
    "nested: no map": Damage("nf4-nested", without("weight.nested_quant_map"), in_tensor("weight.nested_quant_map")),
    "nested: short map": Damage("nf4-nested", changed("weight.nested_quant_map", fewer(0)),
                                in_tensor("weight.nested_quant_map", "255")),
    "nested: no scales": Damage("nf4-nested", without("weight.nested_absmax"), in_tensor("weight.nested_absmax")),
    "nested: NaN scale": Damage("nf4-nested", changed("weight.nested_absmax", element(math.nan)),
                                in_tensor("weight.nested_absmax", NUMBERS)),
    "nested: NaN offset": Damage("nf4-nested", state(nested_offset=math.nan),
                                 in_tensor(STATE, "nested_offset", NUMBERS)),
    "nested: offset as a text": Damage("nf4-nested", state(nested_offset="0.1"),
                                       in_tensor(STATE, "nested_offset", "0.1")),
    "nested: no offset": Damage("nf4-nested", state(nested_offset=GONE), re.escape(MODULE)),
}

FP8 = {
    "fp8: NaN scale": Damage("fp8-tiles", changed("weight_scale_inv", element(math.nan)),
                             in_tensor("weight_scale_inv", NUMBERS)),
    "fp8: no scale": Damage("fp8-tiles", without("weight_scale_inv"), re.escape(MODULE)),
    "fp8: no codes": Damage("fp8-tiles", without("weight"), in_tensor("weight")),
    "fp8: codes in U8": Damage("fp8-tiles", changed("weight", lambda t: t.view(torch.uint8)),
                               in_tensor("weight", "U8")),
    "fp8: scales of other tiles": Damage("fp8-tiles", changed("weight_scale_inv", fewer(0)),
                                         in_tensor("weight_scale_inv", r"\[3, 2\]")),
    "fp8: scales the other way round": Damage("fp8-tiles", changed("weight_scale_inv", torch.t),
                                              in_tensor("weight_scale_inv", r"\[2, 4\]")),
    "fp8: other tiles in the config": Damage("fp8-tiles", config(weight_block_size=[128, 128]),
                                             r"model\.safetensors.*\.weight_scale_inv.*\["),
    "fp8: NaN code": Damage("fp8-tensor", changed("weight", first_byte(255)), in_tensor("weight", NUMBERS)),
}

DAMAGE = LAYOUTS | CONFIGS | GPTQ | AWQ | COMPRESSED | BITSANDBYTES | FP8
