"""The models of family_configs.py as GGUF files, with the tensors and the metadata that llama.cpp's converter writes.

tests/oracles/family_gguf_check.py compares the files with the converter's own.
"""
import dataclasses
import math
from collections.abc import Callable

import gguf
import torch

import family_gguf_metadata as metadata
from cli_gguf import interleave


def as_it_is(config, name, tensor):
    yield name, tensor


def transposed(config, name, tensor):
    yield name, tensor.T if tensor.dim() == 2 and ".c_" in name else tensor


def pairs_for_halves(config, name, tensor):
    """Rows of query and key in the order of rotary pairs. Experts lie in one tensor for each part."""
    module = name.rsplit(".", 2)[-2]
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    if module in heads:
        tensor = torch.from_numpy(interleave(tensor.numpy(), heads[module]))
    yield from experts(config, name, tensor)


def experts(config, name, tensor):
    if name.endswith("experts.gate_up_proj"):
        for part, half in zip(("gate_proj", "up_proj"), tensor.chunk(2, 1)):
            yield name.replace("gate_up_proj", f"{part}.weight"), half
    else:
        yield name + ".weight" * name.endswith("experts.down_proj"), tensor


def one_after_the_other(groups, queries):
    """Rows of query, key and value that stand in `groups` of so many queries, a key and a value: queries first."""
    def split(config, name, tensor):
        if ".query_key_value." in name:
            grouped = tensor.unflatten(0, (groups(config), queries(config) + 2, -1))
            parts = grouped[:, :-2], grouped[:, -2:-1], grouped[:, -1:]
            tensor = torch.cat([part.flatten(0, 2) for part in parts])
        yield name, tensor
    return split


def one_more(config, name, tensor):
    """Norms that multiply by 1 + weight."""
    yield name, tensor + 1 if name.endswith("norm.weight") else tensor


class StackedNorms:
    """A norm for each head becomes one tensor."""

    def __init__(self):
        self.rows = {}

    def __call__(self, config, name, tensor):
        whole, _, head = name.partition(".norms.")
        if not head:
            yield name, tensor
            return
        self.rows.setdefault(whole, []).append(tensor)
        if len(self.rows[whole]) == (config.num_attention_heads if "q_lay" in name else config.num_key_value_heads):
            yield f"{whole}.weight", torch.stack(self.rows.pop(whole))


def no_more_tensors(config):
    return {}


def llama3_factors(config):
    """What the llama3 rule divides each frequency by."""
    rule = config.rope_parameters
    if rule["rope_type"] != "llama3":
        return {}
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    periods = 2 * math.pi * rule["rope_theta"] ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    low, high, factor = rule["low_freq_factor"], rule["high_freq_factor"], rule["factor"]
    smooth = ((rule["original_max_position_embeddings"] / periods - low) / (high - low)).clamp(0, 1)
    return {"rope_freqs.weight": 1 / ((1 - smooth) / factor + smooth)}


def longrope_factors(config):
    return {f"rope_factors_{kind}.weight": torch.tensor(config.rope_parameters[f"{kind}_factor"])
            for kind in ("long", "short") if f"{kind}_factor" in config.rope_parameters}


@dataclasses.dataclass(frozen=True)
class Layout:
    """cases: the configs of the family that a file can tell. Of the others it loses a window, an activation, a base."""
    architecture: gguf.MODEL_ARCH
    cases: list
    metadata: Callable
    tensors: Callable = as_it_is
    more_tensors: Callable = no_more_tensors


ARCH = gguf.MODEL_ARCH
LAYOUTS = {
    "gpt2": Layout(ARCH.GPT2, ["tied"], metadata.gpt2, transposed),
    "bloom": Layout(ARCH.BLOOM, ["three heads", "four heads, untied"], metadata.bloom,
                    one_after_the_other(lambda config: config.n_head, lambda config: 1)),
    "llama": Layout(ARCH.LLAMA, ["one key", "own head size, all biases, tied", "two keys, linear", "llama3", "yarn"],
                    metadata.llama, pairs_for_halves, llama3_factors),
    "mistral": Layout(ARCH.LLAMA, ["no window, own head size", "tied, yarn"], metadata.llama, pairs_for_halves),
    "smollm3": Layout(ARCH.SMOLLM3, ["every fourth without positions"], metadata.llama, pairs_for_halves),
    "chatglm": Layout(ARCH.CHATGLM, ["one key"], metadata.chatglm),
    "glm": Layout(ARCH.CHATGLM, ["half rotary"], metadata.glm),
    "glm4": Layout(ARCH.GLM4, ["half rotary", "no biases, tied, own head size", "two keys, yarn"], metadata.glm4),
    "gpt_neox": Layout(ARCH.GPTNEOX, ["parallel"], metadata.gpt_neox,
                       one_after_the_other(lambda config: config.num_attention_heads, lambda config: 1)),
    "qwen2": Layout(ARCH.QWEN2, ["one key", "tied, yarn"], metadata.common),
    "qwen3": Layout(ARCH.QWEN3, ["own head size", "tied, yarn"], metadata.common),
    "gemma": Layout(ARCH.GEMMA, ["one key", "gelu that means tanh"], metadata.gemma, one_more),
    "gemma2": Layout(ARCH.GEMMA2, ["caps"], metadata.gemma2, one_more),
    "gemma3": Layout(ARCH.GEMMA3, ["every sixth sees all", "cap, untied"], metadata.gemma3, one_more),
    "phi": Layout(ARCH.PHI2, ["half rotary"], metadata.phi),
    "phi3": Layout(ARCH.PHI3, ["plain", "beyond the original context", "within the original context"], metadata.phi3,
                   as_it_is, longrope_factors),
    "falcon": Layout(ARCH.FALCON, ["one key", "groups, two norms", "groups, one norm"], metadata.falcon,
                     one_after_the_other(lambda config: config.num_kv_heads,
                                         lambda config: config.num_attention_heads // config.num_kv_heads)),
    "stablelm": Layout(ARCH.STABLELM, ["quarter rotary", "parallel, norms of queries and keys"], metadata.stablelm,
                       StackedNorms()),
    "starcoder2": Layout(ARCH.STARCODER2, ["one key", "two keys, untied, linear"], metadata.starcoder2),
    "olmo2": Layout(ARCH.OLMO2, ["one key", "two keys"], metadata.common),
    "olmo3": Layout(ARCH.OLMO2, ["every fourth sees all", "list of layers, both bases"], metadata.olmo3),
    "ernie4_5": Layout(ARCH.ERNIE4_5, ["one key", "two keys, yarn"], metadata.common),
    "seed_oss": Layout(ARCH.SEED_OSS, ["biases of query, key and value", "no biases, two keys, yarn"], metadata.common),
    "granite": Layout(ARCH.GRANITE, ["multipliers", "multipliers that are one, biases", "tied, two keys, linear"],
                      metadata.granite, pairs_for_halves),
    "cohere": Layout(ARCH.COMMAND_R, ["one key", "norms of queries and keys"], metadata.cohere),
    # The slopes of its positions are those of the family only where the heads are a power of two.
    "mpt": Layout(ARCH.MPT, ["four heads, clipped"], metadata.mpt),
    "mixtral": Layout(ARCH.LLAMA, ["two of four"], metadata.llama, pairs_for_halves),
    "qwen3_moe": Layout(ARCH.QWEN3MOE, ["two of six"], metadata.qwen3_moe, experts),
}


def holds(family, case):
    """Whether a file can hold this model. llama.cpp knows neither OPT nor, but for its name, GPT-J."""
    return family in LAYOUTS and case in LAYOUTS[family].cases


def tensors(family, model):
    """Name in the file → tensor, in F32."""
    layout, found = LAYOUTS[family], {}
    names = gguf.get_tensor_name_map(layout.architecture, model.config.num_hidden_layers)
    tied = model.config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        for changed, values in layout.tensors(model.config, name, tensor.float()):
            mapped = [names.get_name(spelling, try_suffixes=(".weight", ".bias"))
                      for spelling in (changed, changed.removeprefix("transformer."))]
            assert any(mapped), changed
            found[mapped[0] or mapped[1]] = values.contiguous()
    return found | layout.more_tensors(model.config)


def architecture(family):
    """The prefix of the family's keys."""
    return gguf.MODEL_ARCH_NAMES[LAYOUTS[family].architecture]


def change_metadata(writer, keys):
    """keys: name without the prefix → what stands there instead; None: nothing."""
    for key, value in keys.items():
        key = f"{writer.arch}.{key}"
        writer.kv_data[0].pop(key, None)
        if value is not None:
            add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}[type(value)]
            add(key, value)


def write(path, family, model, keys=None):
    """keys: changes of the metadata that the converter writes."""
    layout = LAYOUTS[family]
    writer = gguf.GGUFWriter(path, architecture(family))
    layout.metadata(writer, model.config)
    change_metadata(writer, keys or {})
    for name, values in tensors(family, model).items():
        writer.add_tensor(name, values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
