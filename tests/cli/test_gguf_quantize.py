"""`quantize --format gguf`: every tensor in the type of llama.cpp's preset, quantized here, and open to its readers."""
import gguf
import numpy as np
import pytest
import torch

import cli_models
import cli_program
from code_positions import Positions, trained
from gguf_blocks import CURVE, float_bits, read_floats

IDS = cli_models.ids(2, 24, seed=8)
PRESETS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_S", "Q6_K", "IQ4_XS"]


def model():
    """Blocks of 256 in half of the matrices; down_proj falls back to blocks of 32."""
    return cli_models.llama(hidden_size=256, intermediate_size=96, num_attention_heads=8, num_hidden_layers=2)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf_quantize")
    cli_models.save_with_tokenizer(model(), folder / "float")
    cli_program.save_ids(folder / "text", cli_models.ids(24, 24, seed=3))
    return folder


def quantize(home, to, preset, *options):
    return cli_program.report("quantize", home / "float", "-o", to / "out.gguf", "--format", "gguf", "--gguf-type", preset,
                              "--calibration", home / "text", "--dtype", "f32", *options, to=to)


def tensors(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def opened(path):
    """The file in transformers."""
    judge = model()
    judge.load_state_dict(state_of(path), strict=False)
    judge.tie_weights()
    return judge


def state_of(path):
    """The tensors by the names of transformers, as the gguf package decodes them."""
    from cli_gguf import deinterleave, gguf_name
    heads = {"q_proj": 8, "k_proj": model().config.num_key_value_heads}
    stored, state = tensors(path), {}
    for name in model().state_dict():
        if name == "lm_head.weight" and gguf_name(name, "llama") not in stored:
            continue
        tensor = stored[gguf_name(name, "llama")]
        values = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(tuple(reversed(tensor.shape.tolist())))
        part = name.rsplit(".", 2)[-2]
        state[name] = torch.from_numpy(np.ascontiguousarray(
            deinterleave(values, heads[part]) if part in heads else values)).float()
    return state


@pytest.mark.parametrize("preset", PRESETS)
def test_the_file_is_what_was_judged(preset, home, tmp_path):
    figures = quantize(home, tmp_path, preset, "--lr", 0.003, "--epochs", 2, "--batch", 4)
    assert figures["kld"]["tweaked"] <= figures["kld"]["quantized"] < 4
    assert {"program": "llama.cpp", "opens": True}.items() <= figures["readers"][0].items()
    assert figures["output"]["bytes"] == (tmp_path / "out.gguf").stat().st_size
    assert [path.name for path in tmp_path.iterdir() if "untouched" in path.name] == []
    expected = cli_models.logits(opened(tmp_path / "out.gguf"), IDS)
    found = cli_program.logits(tmp_path / "out.gguf", IDS, tmp_path, "--dtype", "f32")
    assert expected.std() > 0.1 and (found - expected).abs().max() <= 1e-4 * expected.abs().max()


FALLBACKS = {"Q2_K": "Q4_0", "Q3_K_M": "Q4_0", "Q4_K_M": "Q5_0", "Q5_K_S": "Q5_1", "Q6_K": "Q8_0", "IQ4_XS": "IQ4_NL"}


@pytest.mark.parametrize("preset, fallback", FALLBACKS.items())
def test_types_fall_back_where_columns_are_no_multiple(preset, fallback, home, tmp_path):
    figures = quantize(home, tmp_path, preset, "--tweak", "none", "--method", "rtn")
    found = tensors(tmp_path / "out.gguf")
    kinds = {name: tensor.tensor_type.name for name, tensor in found.items()}
    assert kinds["blk.1.ffn_down.weight"] in (fallback, {"Q4_0": "Q5_0", "Q5_0": "Q8_0"}.get(fallback))
    assert kinds["blk.0.attn_q.weight"] == preset.removesuffix("_M").removesuffix("_S")
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    assert figures["bits_per_weight"] == pytest.approx(sum(
        8 * tensor.n_bytes for name, tensor in found.items() if name.startswith("blk.") and len(tensor.shape) > 1) / sum(
        tensor.n_elements for name, tensor in found.items() if name.startswith("blk.") and len(tensor.shape) > 1))


def test_gptq_on_blocks_beats_rounding(home, tmp_path):
    """At equal types: rounding to the nearest, GPTQ with sweeps, and the tweak on top of it."""
    (tmp_path / "nearest").mkdir()
    (tmp_path / "gptq").mkdir()
    nearest = quantize(home, tmp_path / "nearest", "Q4_0", "--tweak", "none", "--method", "rtn")
    ours = quantize(home, tmp_path / "gptq", "Q4_0", "--tweak", "none")
    kinds = [{name: tensor.tensor_type for name, tensor in tensors(tmp_path / folder / "out.gguf").items()}
             for folder in ("nearest", "gptq")]
    assert kinds[0] == kinds[1] and ours["kld"]["quantized"] < nearest["kld"]["quantized"]


@pytest.mark.parametrize("options, why", [
    (["--method", "kmeans"], "block types"),
    (["--for", "vllm"], "it does with")])
def test_contradictions_are_refused(options, why, home, tmp_path):
    found = cli_program.call("quantize", home / "float", "-o", tmp_path / "out.gguf", "--format", "gguf", "--gguf-type",
                             "Q4_K_M", "--calibration", home / "text", *options)
    assert found.returncode == 1 and why in found.stderr and not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize("preset, rule, kind, others", [
    ("Q4_K_M", "*.q_proj=type:Q8_0", "Q8_0", "Q4_K"), ("Q4_0", "*.q_proj=skip", "F32", "Q4_0"),
    ("F32", "*.q_proj=type:Q2_K", "Q2_K", "F32")])
def test_rules_choose_other_types(preset, rule, kind, others, home, tmp_path):
    skipped = ("k", "v", "o", "gate", "up", "down") if preset == "F32" else ()
    rules = ["--rule", rule, *(part for name in skipped for part in ("--rule", f"*.{name}_proj=skip"))]
    quantize(home, tmp_path, preset, "--tweak", "none", *rules)
    kinds = {name: tensor.tensor_type.name for name, tensor in tensors(tmp_path / "out.gguf").items()}
    assert kinds["blk.0.attn_q.weight"] == kinds["blk.1.attn_q.weight"] == kind
    assert kinds["blk.0.attn_k.weight"] == others


SUB_BLOCK_BYTES = {"Q2_K": (0, 16), "Q3_K": (96, 108), "Q4_K": (4, 16), "Q5_K": (4, 16), "Q6_K": (192, 208), "IQ4_XS": (2, 8)}


@pytest.mark.parametrize("preset", ["Q4_0", "Q5_1", "IQ4_NL", "Q2_K", "Q6_K", "IQ4_XS"])
def test_learned_codes_reach_the_file(preset, home, tmp_path):
    """Only codes differ where no float can move, and the file has the divergence that was judged."""
    (tmp_path / "untouched").mkdir()
    quantize(home, tmp_path / "untouched", preset, "--tweak", "none", "--method", "rtn")
    figures = quantize(home, tmp_path, preset, "--method", "rtn", "--learn-codes", "--lr-codes", 0.5, "--lr", 1e-12,
                       "--steps", 3, "--batch", 8, "--unguarded")
    before, after = tensors(tmp_path / "untouched" / "out.gguf"), tensors(tmp_path / "out.gguf")
    changed = weights = 0
    for name, tensor in before.items():
        learned = after[name]
        kind = tensor.tensor_type.name
        assert learned.tensor_type == tensor.tensor_type
        if kind == "F32" or not name.startswith("blk."):
            assert np.array_equal(tensor.data, learned.data)
            continue
        bits = float_bits(kind)
        if kind in SUB_BLOCK_BYTES:
            bits[slice(*SUB_BLOCK_BYTES[kind])] = 0xFF
        blocks = [each.data.reshape(-1, bits.size) & bits for each in (tensor, learned)]
        assert np.array_equal(*blocks)
        values = [gguf.dequantize(each.data, each.tensor_type) for each in (tensor, learned)]
        assert not np.array_equal(*values)
        changed, weights = changed + (values[0] != values[1]).sum(), weights + values[0].size
    assert figures["training"]["changed_codes"] == pytest.approx(changed / weights, rel=1e-6) and changed > 200
    held_out = cli_models.ids(24, 24, seed=3)[-3:]
    wanted = cli_models.logits(model(), held_out).log_softmax(-1)
    found = cli_models.logits(opened(tmp_path / "out.gguf"), held_out).log_softmax(-1)
    assert figures["kld"]["tweaked"] == pytest.approx((wanted.exp() * (wanted - found)).sum(-1).mean().item(), rel=2e-3)


TABLES = {"Q4_0": range(-8, 8), "IQ4_NL": CURVE, "Q2_K": range(4)}  # the codes of each type
STEPS, RATE, WARMUP = 3, 0.5, 5
LEARNED = ["up_proj", "gate_proj"]


def linears_of(path, kind):
    """Points, scales and minima of each learned linear, by name: [out, groups, columns], [out, groups, 1] twice."""
    found, table = {}, torch.tensor(np.array(TABLES[kind]))
    stored = tensors(path)
    for layer in range(2):
        for place in LEARNED:
            tensor = stored[f"blk.{layer}.ffn_{place.removesuffix('_proj')}.weight"]
            columns, out = tensor.shape.tolist()
            values = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type)).double()
            blocks = tensor.data.reshape(-1, float_bits(kind).size)
            floats = torch.from_numpy(read_floats(kind, blocks)).double()
            scales, minima = floats[:, :1], torch.zeros(len(floats), 1)
            if kind == "Q2_K":
                subs = torch.from_numpy(blocks[:, :16].astype(np.float64))
                scales, minima = scales * (subs % 16), -floats[:, 1:] * (subs // 16)
            scales, minima = scales.reshape(out, -1, 1), minima.reshape(out, -1, 1)
            codes = ((values.reshape(out, scales.shape[1], -1) - minima) / scales).round()
            points = torch.searchsorted(table.double(), codes)
            assert codes.equal(table[points]) and points.shape[1] * points.shape[2] == columns
            found[f"model.layers.{layer}.mlp.{place}"] = points, scales, minima
    return found


@pytest.mark.parametrize("kind", TABLES)
def test_codes_are_learned_as_in_plain_pytorch(kind, home, tmp_path):
    rules = [part for name in ("q", "k", "v", "o", "down", "up", "gate") for part in (
        "--rule", f"*.{name}_proj=" + (f"type:{kind}" if f"{name}_proj" in LEARNED else "skip"))]
    (tmp_path / "untouched").mkdir()
    quantize(home, tmp_path / "untouched", "F32", "--tweak", "none", "--method", "rtn", *rules)
    # The floats cannot move at such a rate. 24 rows: 20 train, 1 chooses, 3 confirm.
    figures = quantize(home, tmp_path, "F32", "--method", "rtn", *rules, "--learn-codes", "--lr-codes", RATE, "--lr",
                       1e-12, "--steps", STEPS, "--batch", 20, "--unguarded")
    assert "without codes" not in figures["guard"]["kept"]
    untouched, learned = linears_of(tmp_path / "untouched" / "out.gguf", kind), linears_of(tmp_path / "out.gguf", kind)
    moved = sum((untouched[name][0] != learned[name][0]).sum().item() for name in untouched)
    assert kind == "Q2_K" or all((scales < 0).any() for _, scales, _ in untouched.values())
    weights = model().state_dict()
    positions = {name: Positions(weights[f"{name}.weight"], points, TABLES[kind], scales, minima)
                 for name, (points, scales, minima) in untouched.items()}
    # The best state of the way is kept, up to positions in the middle between two codes and the momentum's 8 bits.
    trajectory = trained(model, positions, [cli_models.ids(24, 24, seed=3)[:20]] * STEPS, RATE, WARMUP)
    off = [sum((state[name] != learned[name][0]).sum().item() for name in learned) for state in trajectory]
    assert min(off) <= 0.02 * moved and moved > 1000, (off, moved)
