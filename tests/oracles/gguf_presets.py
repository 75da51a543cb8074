"""Which types llama.cpp's quantizer gives to the tensors of models of several shapes, for every preset.

    python tests/oracles/gguf_presets.py     writes gguf_presets.json beside this file; needs llama-cpp-python

tests/formats/test_gguf_presets.cpp reads the file, tests/formats/check_presets.py compares it with what an installed
llama.cpp answers. Those that are kept came from the functions of src/llama-quant.cpp (of llama-cpp-python 0.3.36) that choose the
types, compiled by themselves and given the same tensors. Only names, columns and numbers of the metadata count, so
matrices have two rows.
"""
import contextlib
import ctypes
import dataclasses
import itertools
import json
import pathlib
import tempfile

import gguf
import numpy

KEPT = pathlib.Path(__file__).with_suffix(".json")
PRESETS = {"F32": 0, "F16": 1, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7, "Q2_K": 10,
           "Q2_K_S": 21, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16,
           "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30}
NEEDS_IMPORTANCE = ("Q2_K_S",)  # the weights of columns change no type of this preset


@dataclasses.dataclass(frozen=True)
class Shape:
    """columns: of all matrices but the down projection, which has `wide`."""
    architecture: str = "llama"
    layers: int = 2
    heads: int = 4
    key_value_heads: int = 4
    experts: int = 0
    columns: int = 256
    wide: int = 256
    tied: bool = False


CASES = {
    "one layer": Shape(layers=1),
    "nine layers, tied": Shape(layers=9, tied=True),
    "sixteen layers, shared by four": Shape(layers=16, key_value_heads=1),
    "33 layers, shared by two": Shape(layers=33, key_value_heads=2),
    "blocks of 32": Shape(layers=9, columns=96, wide=160),
    "blocks of 32, tied": Shape(layers=3, columns=96, wide=256, tied=True),
    "no blocks": Shape(columns=40, wide=72),
    "no blocks, tied": Shape(columns=40, wide=256, tied=True),
    "80 layers, shared": Shape(layers=80, heads=8, key_value_heads=1),
    "80 layers, not shared": Shape(layers=80),
    "80 layers of Qwen2": Shape("qwen2", layers=80),
    "80 layers of Qwen3, shared": Shape("qwen3", layers=80, heads=8, key_value_heads=1),
    "falcon": Shape("falcon", layers=32, key_value_heads=1),
    "falcon, tied": Shape("falcon", layers=17, tied=True),
    "gpt2": Shape("gpt2", layers=12, tied=True),
    "phi3": Shape("phi3", layers=9, key_value_heads=1),
    "four experts": Shape(layers=9, experts=4),
    "eight experts": Shape(layers=9, experts=8, key_value_heads=1),
    "eight experts of 80 layers": Shape(layers=80, experts=8, heads=8, key_value_heads=1),
    "six experts of Qwen3": Shape("qwen3moe", layers=9, experts=6),
}


def tensors(shape):
    """Name → shape, of everything that a file of the family has in kind."""
    square, wide = (2, shape.columns), (2, shape.wide)
    yield "token_embd.weight", square
    yield "output_norm.weight", (shape.columns,)
    if not shape.tied:
        yield "output.weight", square
    if shape.architecture == "gpt2":
        yield "position_embd.weight", square
    for layer in range(shape.layers):
        fused = shape.architecture in ("falcon", "gpt2", "phi3")
        names = ["attn_qkv"] if fused else ["attn_q", "attn_k", "attn_v"]
        parts = dict.fromkeys([*names, "attn_output", "ffn_up"], square) | {"ffn_down": wide}
        if not fused:
            parts["ffn_gate"] = square
        if shape.experts:
            parts = {name + "_exps" * name.startswith("ffn"): (shape.experts,) * name.startswith("ffn") + size
                     for name, size in parts.items()} | {"ffn_gate_inp": square}
        for name, size in {"attn_norm": (shape.columns,), "attn_q_norm": square, **parts}.items():
            yield f"blk.{layer}.{name}.weight", size
        yield f"blk.{layer}.attn_output.bias", (2,)


def write(path, shape):
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_block_count(shape.layers)
    writer.add_context_length(64)
    writer.add_embedding_length(shape.columns)
    writer.add_feed_forward_length(shape.wide)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(2)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(shape.wide)
    rng = numpy.random.default_rng(3)
    for name, size in tensors(shape):
        writer.add_tensor(name, rng.normal(0, 1, size).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def importance(llama_cpp, shape):
    """Equal weights of all columns, and what they point to."""
    rows, kept = [], []
    for name, size in tensors(shape):
        if len(size) > 1:
            count = size[-1] * (size[0] if len(size) == 3 else 1)
            kept.append((ctypes.c_float * count)(*[1.0] * count))
            rows.append(llama_cpp.llama_model_imatrix_data(name.encode(), kept[-1], count))
    rows.append(llama_cpp.llama_model_imatrix_data(None, None, 0))
    return (llama_cpp.llama_model_imatrix_data * len(rows))(*rows), kept


def quantized_types(llama_cpp, source, target, shape, preset):
    """Name → type in the file that llama.cpp writes."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread = PRESETS[preset], 1
    if preset in NEEDS_IMPORTANCE:
        parameters.imatrix, kept = importance(llama_cpp, shape)
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)) == 0
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(target).tensors}


def in_short(types):
    """By the name of the part, the types of the layers, in runs: "Q6_K*2 Q4_K*7"."""
    parts = {}
    for name, kind in sorted(types.items(), key=lambda item: [int(p) if p.isdigit() else p for p in item[0].split(".")]):
        part = ".".join(piece for piece in name.split(".") if not piece.isdigit() and piece != "blk")
        parts.setdefault(part, []).append(kind)
    return {part: " ".join(f"{kind}*{len(list(run))}" for kind, run in itertools.groupby(kinds))
            for part, kinds in parts.items()}


def answers(llama_cpp, case):
    """Preset → part → types."""
    shape = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write(folder / "model.gguf", shape)
        return {preset: in_short(quantized_types(llama_cpp, folder / "model.gguf", folder / f"{preset}.gguf", shape,
                                                 preset))
                for preset in PRESETS}


def keep(version, cases):
    """A line for each case."""
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    KEPT.write_text(f'{{"llama_cpp": "{version}", "cases": [\n{lines}\n]}}\n')


@contextlib.contextmanager
def quiet(llama_cpp):
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    yield


def main():
    import llama_cpp
    with quiet(llama_cpp):
        cases = [{"name": name, "model": dataclasses.asdict(shape), "types": answers(llama_cpp, name),
                  "tensors": [[tensor, list(size)] for tensor, size in tensors(dataclasses.replace(shape, layers=1))]}
                 for name, shape in CASES.items()]
    keep(llama_cpp.__version__, cases)


if __name__ == "__main__":
    main()
