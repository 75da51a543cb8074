"""What llama.cpp itself computes from the files of family_gguf.py, and how near to it the program has to be.

bench/llama_cpp_logits.py runs llama.cpp and writes llama_cpp_logits.safetensors, which the tests read: CI does not
build llama.cpp. A case of family_configs.py whose weights have changed since is recognised and skipped.
"""
import copy
import dataclasses
import pathlib

import torch
from safetensors import safe_open

import family_gguf
import family_models
from family_configs import CONTEXT, FAMILIES, LINEAR, YARN, base_and_scaled, longrope

KEPT = pathlib.Path(__file__).with_name("llama_cpp_logits.safetensors")
WRITER = "bench/llama_cpp_logits.py"
POSITIONS = slice(-6, None)  # of the last of family_models.IDS: those whose logits are kept

# Largest difference, of the largest logit.
IN_F32 = 5e-5  # sums in another order; family_models.py finds no change that is as small
# llama.cpp's CPU code computes GELU by a table of the tanh approximation whose arguments and results are F16, with
# steps of up to 1e-3 of a value. A model with the exact GELU gets it too, which adds 2e-4. With F32 code in place of
# the table (ggml/src/ggml-cpu/vec.h without GGML_GELU_FP16) these models come within 1e-6, and within 3e-4 if their
# GELU is the exact one. Wrongly ordered rows or a forgotten norm offset make a difference of 0.1 and more.
BY_TABLE = 1e-3
BY_TABLE_OFTEN = 5e-3  # the same in 46 and 62 blocks; 4e-6 without the table
# transformers with that table in place of GELU has the difference of an F32 model at most positions. At some, an
# argument falls on the other side of a step, and at nearly all behind so many blocks.
TYPICAL_WITH_TABLE = IN_F32



@dataclasses.dataclass(frozen=True)
class Case:
    """One that family_gguf.py has not. case: of family_configs.py; config, keys: what is changed there and in the
    metadata, where None takes a key out. The file and transformers' config then mean the same to llama.cpp."""
    case: str
    config: dict = dataclasses.field(default_factory=dict)
    keys: dict = dataclasses.field(default_factory=dict)


YARN_ELSEWHERE = YARN | {"original_max_position_embeddings": CONTEXT}
YARN_BETAS = YARN | {"beta_fast": 16.0, "beta_slow": 2.0}
FULL, SLIDING = "full_attention", "sliding_attention"

# What llama.cpp decides by the number of blocks, and no key says: norms of Cohere's queries and keys are read from 64
# blocks on, the 27B models of Gemma 2 and 3 have 46 and 62 and scale scores by the width.
DEEP = {
    ("cohere", "norms of queries and keys, 64 blocks"): Case("norms of queries and keys", {
        "num_hidden_layers": 64, "initializer_range": 0.1}),
    ("gemma2", "46 blocks"): Case("caps", {"num_hidden_layers": 46, "query_pre_attn_scalar": 16}),
    ("gemma3", "62 blocks"): Case("every sixth sees all", {"num_hidden_layers": 62, "query_pre_attn_scalar": 16}),
}
# Keys that few files have, and keys that older files lack.
OTHER_KEYS = {
    ("llama", "yarn, betas"): Case("yarn", {"rope_parameters": YARN_BETAS}, {
        "rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_beta_slow": 2.0}),
    ("llama", "yarn, no original context"): Case("yarn", {"rope_parameters": YARN_ELSEWHERE}, {
        "rope.scaling.original_context_length": None}),
    ("llama", "old key of linear scaling"): Case("two keys, linear", {}, {
        "rope.scaling.type": None, "rope.scaling.factor": None, "rope.scale_linear": 2.5}),
    ("llama", "no scaling, whatever the factor"): Case("one key", {}, {
        "rope.scaling.type": "none", "rope.scaling.factor": 2.0}),
    ("smollm3", "yarn"): Case("every fourth without positions", {"rope_parameters": YARN}),
    ("olmo2", "yarn"): Case("one key", {"rope_parameters": YARN}),
    ("gpt_neox", "one after the other"): Case("parallel", {"use_parallel_residual": False}),
    ("falcon", "linear"): Case("one key", {"rope_parameters": LINEAR}, {
        "rope.scaling.type": "linear", "rope.scaling.factor": 2.5, "rope.freq_base": 5000.0}),
    ("mpt", "not clipped"): Case("four heads, clipped", {"attn_config": {}}, {"attention.clamp_kqv": None}),
    ("gemma3", "two bases, linear"): Case("every sixth sees all", {"rope_parameters": {
        FULL: LINEAR, SLIDING: {"rope_type": "default", "rope_theta": 300.0}}}),
    ("gemma3", "every third sees all"): Case("every sixth sees all", {
        "layer_types": [FULL if i % 3 == 2 else SLIDING for i in range(7)]}, {"attention.sliding_window_pattern": 3}),
    ("olmo3", "list of layers, one base"): Case("list of layers, both bases", {"rope_parameters": {
        FULL: LINEAR, SLIDING: {"rope_type": "default", "rope_theta": LINEAR["rope_theta"]}}}),
    ("mixtral", "three of four"): Case("two of four", {"num_experts_per_tok": 3}),
    ("gemma2", "caps left out"): Case("caps", {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}, {
        "attn_logit_softcapping": None, "final_logit_softcapping": None}),
    ("gemma2", "head size left out"): Case("caps", {"head_dim": 16, "query_pre_attn_scalar": 16}, {
        "attention.key_length": None, "attention.value_length": None}),
    ("gemma3", "no window"): Case("every sixth sees all", {"layer_types": 7 * [FULL]}, {
        "attention.sliding_window": None}),
    ("granite", "scale left out"): Case("multipliers", {"attention_multiplier": 0.25}, {"attention.scale": None}),
    ("cohere", "scale left out"): Case("one key", {"logit_scale": 1.0}, {"logit_scale": None}),
    ("glm", "number of rotated channels left out"): Case("half rotary", base_and_scaled(1.0, rope_theta=10000.0), {
        "rope.dimension_count": None}),
    ("phi", "number of rotated channels left out"): Case("half rotary", base_and_scaled(1.0, rope_theta=10000.0), {
        "rope.dimension_count": None}),
    ("falcon", "number of key heads left out"): Case("groups, two norms", {"num_kv_heads": 6}, {
        "attention.head_count_kv": None}),
    ("phi3", "no attention factor"): Case("beyond the original context", {
        "rope_parameters": longrope(8, attention_factor=1.0)}, {"rope.scaling.attn_factor": None}),
}
MORE = DEEP | OTHER_KEYS
# (family, case) → why llama.cpp cannot open the file.
REFUSED = {("cohere", "norms of queries and keys"): "has such norms in models of 64 blocks and more only"}
# (family, case) → what llama.cpp computes that neither the file says nor transformers does. OTHER_KEYS has the rest.
OTHERWISE = {("olmo3", "list of layers, both bases"): "turns windows by the base of full attention"}
CASES = [(family, case) for family, layout in family_gguf.LAYOUTS.items() for case in layout.cases
         if (family, case) not in REFUSED | OTHERWISE] + list(MORE)
# llama.cpp chooses longrope's factors by the context that it has room for, a multiple of 256, and not by the row: the
# original context must be as long for it to take the short ones. Nothing else is computed from this key here.
METADATA = {("phi3", "within the original context"): {"phi3.rope.scaling.original_context_length": 256}}


def make(family, case):
    if (family, case) not in MORE:
        return family_models.make(family, case)
    facts, more = FAMILIES[family], MORE[family, case]
    config = facts.config(**copy.deepcopy(facts.base | facts.cases[more.case] | more.config))
    return family_models.make(family, more.case, config)


def write(path, family, case, model):
    family_gguf.write(path, family, model, MORE[family, case].keys if (family, case) in MORE else {})


def gelus(model):
    return [name for name, module in model.named_modules() if "gelu" in type(module).__name__.lower()]


class Bounds:
    """largest: of a difference from llama.cpp's logits; with_table: of the typical one that transformers has with
    llama.cpp's GELU, None where that says nothing."""

    def __init__(self, family, case, model):
        uses_table, deep = bool(gelus(model)), (family, case) in DEEP
        self.largest = (BY_TABLE_OFTEN if deep else BY_TABLE) if uses_table else IN_F32
        self.with_table = TYPICAL_WITH_TABLE if uses_table and not deep else None


def typical_difference(found, expected):
    """Median over positions of the largest one, of the largest logit."""
    return ((found - expected).abs().amax(-1).median() / expected.abs().max()).item()


class TableOfGelu(torch.nn.Module):
    """The GELU of llama.cpp's CPU code."""

    def forward(self, values):
        rounded = torch.nn.functional.gelu(values.half().float(), approximate="tanh").half().float()
        return torch.where(values <= -10, 0.0, torch.where(values >= 10, values, rounded))


def with_table(model):
    """A copy of the model that computes GELU as llama.cpp does."""
    model = copy.deepcopy(model)
    for name in gelus(model):
        model.set_submodule(name, TableOfGelu())
    return model


def fingerprint(model):
    """One number for each tensor, which weights from another generator of random numbers do not have."""
    def mean(tensor):
        values = tensor.double().flatten()
        return ((1 + torch.arange(len(values)) % 7) * values).mean()
    return torch.stack([mean(tensor) for _, tensor in sorted(model.state_dict().items())]).float()


def name_of(family, case, what):
    return f"{family}: {case}: {what}"


def kept(family, case, model):
    """llama.cpp's logits at POSITIONS, and None; or None, and why there are none of this model."""
    with safe_open(KEPT, "pt") as file:
        if name_of(family, case, "logits") not in file.keys():
            return None, f"{KEPT.name} has no such case: run {WRITER}"
        weights = file.get_tensor(name_of(family, case, "weights"))
        found = fingerprint(model)
        if weights.shape != found.shape or not torch.allclose(weights, found, rtol=1e-4, atol=1e-6):
            return None, f"{KEPT.name} is of other weights than torch {torch.__version__} makes: run {WRITER}"
        return file.get_tensor(name_of(family, case, "logits")), None
