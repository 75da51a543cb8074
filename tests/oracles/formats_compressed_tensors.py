"""What the `compressed_tensors` package packs and unpacks, which settings its config gives to a module, and a small
Llama for the way back: the C++ test packs it and check_written.py loads the result."""
import json
import pathlib
import sys
import warnings

import torch
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor, pack_to_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.lifecycle.apply import apply_quantization_config
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

CASES = [  # bits, out, in, group size, symmetric, type of the scales
    (2, 5, 32, 16, True, torch.float16),
    (2, 7, 24, 8, False, torch.bfloat16),
    (3, 5, 32, 16, False, torch.float16),
    (3, 33, 44, 11, True, torch.float16),
    (3, 37, 35, 0, False, torch.float32),
    (4, 5, 96, 32, True, torch.float16),
    (4, 9, 128, 128, False, torch.bfloat16),
    (4, 3, 7, 0, True, torch.float32),
    (5, 6, 20, 10, False, torch.float16),
    (6, 13, 21, 7, False, torch.float16),
    (6, 4, 64, 64, True, torch.bfloat16),
    (7, 6, 20, 5, False, torch.float16),
    (8, 5, 40, 8, False, torch.float32),
    (8, 3, 5, 0, True, torch.bfloat16),
]


def settings(bits, group_size, symmetric):
    return QuantizationArgs(num_bits=bits, type="int", symmetric=symmetric, group_size=group_size or None,
                            strategy="group" if group_size else "channel")


def pack(case, name):
    bits, rows, columns, group_size, symmetric, dtype = case
    scheme = QuantizationScheme(targets=["Linear"], weights=settings(bits, group_size, symmetric))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    groups = columns // group_size if group_size else 1
    codes = torch.randint(low, high, (rows, columns), dtype=torch.int8)
    state = {"weight_scale": (torch.rand(rows, groups) + 0.1).to(dtype), "weight_packed": pack_to_int32(codes, bits),
             "weight_shape": torch.tensor([rows, columns])}
    zeros = torch.zeros(rows, groups, dtype=torch.int8)
    if not symmetric:
        zeros = torch.randint(low, high, (rows, groups), dtype=torch.int8)
        state["weight_zero_point"] = pack_to_int32(zeros, bits, packed_dim=0).contiguous()
    weight = PackedQuantizationCompressor.decompress(state, scheme)["weight"]
    expected = {"codes": (codes.int() - low).to(torch.uint8), "zeros": (zeros.int() - low).float(),
                "weight": weight.float()}
    return ({f"{name}.{key}": value for key, value in state.items()},
            {f"{name}.{key}": value.contiguous() for key, value in expected.items()})


def write_packed(out):
    tensors, expected, table = {}, {}, []
    for case in CASES:
        bits, _, _, group_size, symmetric, dtype = case
        name = f"bits{bits}.group{group_size}." + ("symmetric" if symmetric else "asymmetric")
        packed, values = pack(case, name)
        tensors.update(packed)
        expected.update(values)
        table.append({"name": name, "bits": bits, "group_size": group_size, "symmetric": symmetric,
                      "scale": str(dtype).removeprefix("torch.")})
    save_file(tensors, out / "packed.safetensors")
    save_file(expected, out / "expected.safetensors")
    (out / "cases.json").write_text(json.dumps(table))


def small_llama():
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, vocab_size=80, tie_word_embeddings=False, dtype="float32")
    return LlamaForCausalLM(config)


CONFIGS = {
    "class": ({"group_0": (["Linear"], (4, 32, True))}, ["lm_head"]),
    "expressions": ({"group_0": (["re:.*self_attn.*"], (8, 0, True)),
                     "group_1": (["re:.*mlp.*_proj$", "re:model.layers.1"], (3, 16, False))}, ["re:.*down_proj", "lm_head"]),
    "names_before_classes": ({"group_0": (["Linear"], (4, 32, True)),
                              "group_1": (["model.layers.0.mlp.up_proj", "re:.*q_proj"], (6, 64, False))}, []),
    "unanchored_end": ({"group_0": (["re:model.layers.1"], (2, 8, False))}, ["re:mlp"]),
    "ignored_class": ({"group_0": (["re:.*"], (4, 32, True))}, ["Linear"]),
    "last_group_wins": ({"group_0": (["Linear"], (4, 32, True)), "group_1": (["Linear"], (8, 32, True))}, None),
}


def config_of(groups, ignore):
    """groups: name → (targets, arguments of settings)"""
    return QuantizationConfig(
        config_groups={key: QuantizationScheme(targets=targets, weights=settings(*weights))
                       for key, (targets, weights) in groups.items()},
        ignore=ignore, format="pack-quantized", quantization_status="compressed")


def as_json(config):
    return json.loads(json.dumps(config.to_dict(), default=str))


def write_configs(out):
    """Each config as the package writes it, and which settings the package then gives to each linear."""
    table = []
    for name, (groups, ignore) in CONFIGS.items():
        config = config_of(groups, ignore)
        model = small_llama()
        apply_quantization_config(model, config, show_progress=False)
        expected = {}
        for module_name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                scheme = getattr(module, "quantization_scheme", None)
                weights = scheme.weights if scheme else None
                expected[module_name] = [weights.num_bits, weights.group_size or 0, weights.symmetric] if weights else None
        table.append({"name": name, "config": as_json(config), "expected": expected})
    (out / "configs.json").write_text(json.dumps(table))


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    torch.manual_seed(3)
    write_packed(out)
    write_configs(out)
    small_llama().save_pretrained(out / "llama")


if __name__ == "__main__":
    main()
