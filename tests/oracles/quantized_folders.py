"""Quantized Hugging Face folders as other programs write them, from a float folder.

    write(folder, "gptq-4", source)        the model in `source` with its linears quantized, all else as it is
    dequantized(folder, "gptq-4")          its tensors as a float model has them, by their names
    tuned_tensors(folder, "gptq-4")        names of those that hold floats which a tweak may change

VARIANTS is the table. Floats beside the codes have noise on them, so that a tweak can win something back.
"""
import dataclasses
import json
import pathlib
import re
import shutil

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from quantized_linears import E4M3, Awq, Bytes, Gptq, Packed, Runs

LINEARS = r"_proj$"
HEAD = r"^lm_head$"
ATTENTION, OUTPUT, DOWN, GATES = r"\.[qkvo]_proj$", r"\.o_proj$", r"\.down_proj$", r"\.(gate|up)_proj$"
F32 = torch.float32


@dataclasses.dataclass(frozen=True)
class Variant:
    config: dict                     # `quantization_config`
    schemes: tuple                   # (expression found in a module's name, scheme); the first counts, None: float
    dtype: torch.dtype = torch.float16
    side_file: str | None = None     # where the config stands instead of config.json
    shards: int = 1

    def scheme_of(self, module):
        return next((scheme for expression, scheme in self.schemes if re.search(expression, module)), None)


def of_all(config, scheme, **more):
    """One setting for the linears of all blocks."""
    return Variant(config, ((LINEARS, scheme),), **more)


# ---------------------------------------------------------------- GPTQ, AWQ, AutoRound -------------------------------

def gptq_config(scheme, **more):
    name = "gptq" if scheme.version == 1 else "gptq_v2"
    return {"quant_method": "gptq", "bits": scheme.bits, "group_size": scheme.group or -1, "desc_act": scheme.ordered,
            "sym": scheme.symmetric, "lm_head": False, "checkpoint_format": name, "format": name,
            "pack_dtype": "int32", "true_sequential": True, "damp_percent": 0.05,
            "meta": {"quantizer": ["gptqmodel:7.7.0"], "damp_auto_increment": 0.01}} | more


def gptq(scheme, config=None, **more):
    return of_all(gptq_config(scheme, **(config or {})), scheme, **more)


def gptq_kinds():
    kinds = {}
    for bits in (2, 3, 4, 8):
        kinds[f"gptq-{bits}"] = gptq(Gptq(bits))
        for version in (1, 2):
            kinds[f"gptq-{bits}-asymmetric-v{version}"] = gptq(Gptq(bits, symmetric=False, version=version))
    return kinds


# Of the keys of "dynamic" the first that matches counts, which is not the first in alphabetical order.
DYNAMIC = {r"+:.*down_proj$": {"bits": 8, "group_size": 64}, r"-:.*\.self_attn\.o_proj": {},
           r".*\.mlp\..*": {"bits": 3, "sym": False}}
OPTIMUM = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True, "damp_percent": 0.1,
           "dataset": None, "tokenizer": None, "model_seqlen": 128, "block_name_to_quantize": "model.layers",
           "module_name_preceding_first_block": ["model.embed_tokens"], "batch_size": 1, "pad_token_id": None,
           "use_cuda_fp16": False, "max_input_length": None, "use_exllama": False, "cache_block_outputs": True,
           "modules_in_block_to_quantize": [["self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"],
                                            ["self_attn.o_proj"]]}
BESIDE = {"bits": 4, "group_size": 32, "damp_percent": 0.01, "desc_act": False, "sym": True, "true_sequential": True,
          "model_name_or_path": None, "model_file_base_name": None}
GPTQ = gptq_kinds() | {
    "gptq-4-v2": gptq(Gptq(4, version=2)),
    "gptq-4-wide-groups": gptq(Gptq(4, group=0), {"group_size": 128}),
    "gptq-4-rows": gptq(Gptq(4, group=0)),
    "gptq-4-no-index": gptq(Gptq(4, has_index=False)),
    "gptq-4-act-order": gptq(Gptq(4, ordered=True)),
    "gptq-3-asymmetric-act-order": gptq(Gptq(3, symmetric=False, ordered=True)),
    "gptq-4-bf16": gptq(Gptq(4), dtype=torch.bfloat16),
    "gptq-4-shards": gptq(Gptq(4), shards=2),
    "gptq-dynamic": Variant(gptq_config(Gptq(4), dynamic=DYNAMIC), (
        (DOWN, Gptq(8, group=64)), (OUTPUT, None), (GATES, Gptq(3, symmetric=False)), (LINEARS, Gptq(4)))),
    "gptq-head": Variant(gptq_config(Gptq(4), lm_head=True), ((LINEARS, Gptq(4)), (HEAD, Gptq(4)))),
    "gptq-optimum": Variant(OPTIMUM, ((ATTENTION, Gptq(4)),)),
    "gptq-side-file": of_all(BESIDE, Gptq(4), side_file="quantize_config.json"),
}

AWQ_CONFIG = {"quant_method": "awq", "zero_point": True, "group_size": 32, "bits": 4, "version": "gemm",
              "modules_to_not_convert": None}
AWQ = {
    "awq": of_all(AWQ_CONFIG, Awq()),
    "awq-rows": of_all(AWQ_CONFIG | {"group_size": -1, "version": "GEMM"}, Awq(group=0)),
    "awq-some-float": Variant(AWQ_CONFIG | {"modules_to_not_convert": ["o_proj", "layers.1.mlp"]}, (
        (OUTPUT, None), (r"layers\.1\.mlp", None), (LINEARS, Awq()))),
    "awq-side-file": of_all({"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}, Awq(),
                            side_file="quant_config.json"),
}


def auto_round_config(packing, bits=4, symmetric=True, **more):
    return {"quant_method": "auto-round", "bits": bits, "group_size": 32, "sym": symmetric, "data_type": "int",
            "act_bits": 16, "packing_format": packing, "block_name_to_quantize": "model.layers",
            "autoround_version": "0.16.1", "iters": 0, "low_gpu_mem_usage": False} | more


def rounded(bits, symmetric=True, version=1):
    return Gptq(bits, symmetric=symmetric, version=version, has_index=False)


EXTRA = {"model.layers.0.mlp.down_proj": {"bits": 8, "group_size": 64}, ".*o_proj": {"bits": 16, "data_type": "fp"}}
AUTO_ROUND = {
    "auto-round-gptq-4": of_all(auto_round_config("auto_round:auto_gptq"), rounded(4)),
    "auto-round-gptq-5": of_all(auto_round_config("auto_round:auto_gptq", 5), rounded(5)),
    "auto-round-gptq-7-asymmetric": of_all(auto_round_config("auto_round:auto_gptq", 7, False), rounded(7, False)),
    "auto-round-4-asymmetric": of_all(auto_round_config("auto_round", 4, False), rounded(4, False, 2)),
    "auto-round-awq": of_all(auto_round_config("auto_round:auto_awq", 4, False), Awq()),
    "auto-round-extra": Variant(auto_round_config("auto_round:auto_gptq", extra_config=EXTRA), (
        (r"layers\.0\.mlp\.down_proj$", Gptq(8, group=64, has_index=False)), (OUTPUT, None), (LINEARS, rounded(4)))),
}


# ---------------------------------------------------------------- compressed-tensors ---------------------------------

def weight_arguments(scheme):
    """`weights` of a group."""
    arguments = {"num_bits": scheme.bits, "symmetric": scheme.symmetric, "dynamic": False, "observer": "minmax"}
    if isinstance(scheme, Packed):
        return arguments | {"type": "int", "group_size": scheme.group or None,
                            "strategy": "group" if scheme.group else "channel",
                            "actorder": "group" if scheme.ordered else None}
    rows, columns = scheme.tile
    strategy = "block" if rows > 1 else "group" if columns else "channel" if rows else "tensor"
    return arguments | {"type": "float" if scheme.is_float else "int", "strategy": strategy, "actorder": None,
                        "group_size": columns if strategy == "group" else None,
                        "block_structure": list(scheme.tile) if strategy == "block" else None}


def tensors_format(scheme):
    return "pack-quantized" if isinstance(scheme, Packed) else "float-quantized" if scheme.is_float else "int-quantized"


def input_arguments(scheme):
    """`input_activations` of a group: servers round what goes into weights of 8 bits."""
    if isinstance(scheme, Packed) or scheme.bits < 8:
        return None
    return {"num_bits": 8, "type": "float" if scheme.is_float else "int", "symmetric": True,
            "strategy": "tensor" if scheme.input_scale else "token", "dynamic": not scheme.input_scale}


def group(scheme, targets=("Linear",), **more):
    return {"targets": list(targets), "weights": weight_arguments(scheme), "output_activations": None,
            "input_activations": input_arguments(scheme)} | more


def packed_config(groups, form, version="0.20.0"):
    return {"quant_method": "compressed-tensors", "config_groups": groups, "format": form, "version": version,
            "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
            "global_compression_ratio": None, "sparsity_config": {}, "transform_config": {}}


def compressed(scheme, form=None, version="0.20.0"):
    config = packed_config({"group_0": group(scheme)}, form or tensors_format(scheme), version)
    return of_all(config, scheme, dtype=torch.bfloat16)


def mixed(*parts):
    """parts: (target in the config, the expression that it stands for here, scheme)"""
    groups = {f"group_{i}": group(scheme, [target], format=tensors_format(scheme))
              for i, (target, _, scheme) in enumerate(parts)}
    return Variant(packed_config(groups, "mixed-precision"), tuple(part[1:] for part in parts), dtype=torch.bfloat16)


CHANNEL, TENSOR, COLUMN = (1, 0), (0, 0), (1,)
COMPRESSED = {f"packed-{bits}": compressed(Packed(bits, symmetric=bits % 2 == 0)) for bits in range(2, 9)} | {
    f"packed-{bits}-whole": compressed(Packed(bits, symmetric=bits < 6, whole=True), version="0.14.0")
    for bits in (3, 5, 6, 7)} | {
    "packed-4-asymmetric": compressed(Packed(4, symmetric=False)),
    "packed-4-rows": compressed(Packed(4, group=0)),
    "packed-8-rows-asymmetric": compressed(Packed(8, group=0, symmetric=False)),
    "packed-4-early-zeros": compressed(Packed(4, symmetric=False, packs_zeros=False), version="0.8.1"),
    "packed-4-act-order": compressed(Packed(4, ordered=True), version="0.15.0"),
    "packed-preset": of_all(packed_config({"W4A16": ["Linear"]}, "pack-quantized"), Packed(4, group=0)),
    "packed-mixed": mixed((r"re:.*down_proj$", DOWN, Packed(8)), (r"re:.*(q|k|v|o)_proj$", ATTENTION, Packed(4)),
                          (r"re:.*(gate|up)_proj$", GATES, Bytes(E4M3, CHANNEL))),
    "int8-rows": compressed(Bytes(torch.int8, CHANNEL)),
    "int8-rows-asymmetric": compressed(Bytes(torch.int8, CHANNEL, symmetric=False)),
    "int8-tensor": compressed(Bytes(torch.int8, TENSOR, scale_shape=COLUMN)),
    "naive-4": compressed(Bytes(torch.int8, (1, 32), bits=4), "naive-quantized"),
    "float8-rows": compressed(Bytes(E4M3, CHANNEL)),
    "float8-tensor": compressed(Bytes(E4M3, TENSOR, scale_shape=COLUMN, input_scale=True)),
    "float8-tiles": compressed(Bytes(E4M3, (48, 32))),
}


# ---------------------------------------------------------------- bitsandbytes, FP8 ----------------------------------

def runs(scheme, **more):
    return of_all({"quant_method": "bitsandbytes", "_load_in_4bit": True, "_load_in_8bit": False, "load_in_4bit": True,
                   "load_in_8bit": False, "bnb_4bit_quant_type": scheme.table, "bnb_4bit_compute_dtype": "float16",
                   "bnb_4bit_use_double_quant": scheme.nested, "llm_int8_threshold": 6.0,
                   "bnb_4bit_quant_storage": str(scheme.storage).removeprefix("torch."), "llm_int8_skip_modules": None,
                   "llm_int8_has_fp16_weight": False, "llm_int8_enable_fp32_cpu_offload": False}, scheme, **more)


BITSANDBYTES = {
    "nf4": runs(Runs("nf4")),
    "nf4-nested": runs(Runs("nf4", nested=True)),
    "nf4-runs-over-rows": runs(Runs("nf4", run=128), dtype=torch.bfloat16),
    "nf4-storage": runs(Runs("nf4", storage=torch.bfloat16)),
    "fp4": of_all({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, Runs("fp4")),
    "fp4-nested": runs(Runs("fp4", nested=True)),
}


def fp8_config(tile=None, **more):
    return {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": tile} | more


INVERSE = {"scale": "weight_scale_inv", "scale_dtype": F32}
FP8 = {
    "fp8-tiles": of_all(fp8_config([32, 32], fmt="e4m3"), Bytes(E4M3, (32, 32), **INVERSE), dtype=torch.bfloat16),
    "fp8-ragged-tiles": of_all(fp8_config([48, 48]), Bytes(E4M3, (48, 48), **INVERSE), dtype=torch.bfloat16),
    "fp8-tensor": of_all(fp8_config(), Bytes(E4M3, TENSOR, scale_shape=(), **INVERSE), dtype=torch.bfloat16),
    "fp8-static": of_all(fp8_config(activation_scheme="static"), Bytes(
        E4M3, TENSOR, scale_dtype=F32, scale_shape=COLUMN, input_scale=True), dtype=torch.bfloat16),
    "fp8-some-float": Variant(fp8_config([32, 32], modules_to_not_convert=["lm_head", "o_proj"]), (
        (OUTPUT, None), (LINEARS, Bytes(E4M3, (32, 32), **INVERSE))), dtype=torch.bfloat16),
}

VARIANTS = GPTQ | AWQ | AUTO_ROUND | COMPRESSED | BITSANDBYTES | FP8


# ---------------------------------------------------------------- folders --------------------------------------------

def with_noise(tensors, scheme, generator):
    """Floats of codes that a tweak can win something back from."""
    return {part: (tensor.double() * torch.exp(0.2 * torch.randn(tensor.shape, generator=generator))).to(tensor.dtype)
            if part in scheme.tuned and tensor.is_floating_point() else tensor for part, tensor in tensors.items()}


def norm_with_noise(tensor, generator):
    return (tensor.double() * (1 + 0.2 * torch.randn(tensor.shape, generator=generator))).to(tensor.dtype)


def quantized(tensors, variant):
    """The tensors of the folder, from those of the float model."""
    draws, generator = np.random.default_rng(4), torch.Generator().manual_seed(5)
    stored = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        scheme = variant.scheme_of(module) if part == "weight" else None
        if scheme is None:
            stored[name] = norm_with_noise(tensor, generator) if "norm" in name else tensor
            continue
        parts = scheme.encode(tensor.double().numpy(), draws, variant.dtype)
        stored |= {f"{module}.{part}": value for part, value in with_noise(parts, scheme, generator).items()}
    return stored


def save_shards(folder, tensors, shards):
    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    index = {}
    for i in range(shards):
        part = names[i * len(names) // shards:(i + 1) * len(names) // shards]
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {"total_size": 0}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)


def write(folder, name, source):
    variant, folder, source = VARIANTS[name], pathlib.Path(folder), pathlib.Path(source)
    folder.mkdir(parents=True)
    for file in source.glob("*.json"):
        shutil.copy(file, folder)
    config = json.loads((source / "config.json").read_text())
    if variant.side_file:
        (folder / variant.side_file).write_text(json.dumps(variant.config))
    else:
        (folder / "config.json").write_text(json.dumps(config | {"quantization_config": variant.config}))
    save_shards(folder, quantized(load_file(source / "model.safetensors"), variant), variant.shards)
    return folder


def stored_tensors(folder):
    return {name: tensor for file in sorted(pathlib.Path(folder).glob("*.safetensors"))
            for name, tensor in load_file(file).items()}


def linears(tensors, variant):
    """Module → its scheme and its tensors, by their names behind that of the module."""
    found = {}
    for name in tensors:
        for _, scheme in variant.schemes:
            module = name.removesuffix(f".{scheme.codes}") if scheme else name
            if module == name or variant.scheme_of(module) != scheme:
                continue
            found[module] = scheme, {other.removeprefix(f"{module}."): tensor for other, tensor in tensors.items()
                                     if other.startswith(f"{module}.") and other != f"{module}.bias"}
    return found


def dequantized(folder, name):
    stored = stored_tensors(folder)
    found = linears(stored, VARIANTS[name])
    parts = {f"{module}.{part}" for module, (_, tensors) in found.items() for part in tensors}
    values = {name: tensor.float() for name, tensor in stored.items() if name not in parts}
    return values | {f"{module}.weight": torch.from_numpy(scheme.decode(tensors)).float()
                     for module, (scheme, tensors) in found.items()}


def rounding_of(name, module):
    """`input_activations` of a linear, where the program follows them; None: its input stays float."""
    variant = VARIANTS[name]
    scheme = variant.scheme_of(module)
    follows = scheme is not None and variant.config.get("quant_method") == "compressed-tensors"
    return input_arguments(scheme) if follows else None


def tuned_tensors(folder, name):
    """Norms, biases, and floats of codes, of the blocks, and the last norm."""
    stored = stored_tensors(folder)
    of_codes = {f"{module}.{part}" for module, (scheme, _) in linears(stored, VARIANTS[name]).items()
                for part in scheme.tuned if not re.search(HEAD, module)}
    return of_codes | {other for other in stored if other.endswith(("norm.weight", "_proj.bias"))}
