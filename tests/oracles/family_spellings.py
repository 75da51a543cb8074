"""Checkpoints of the families as they are found, not as this release of transformers saves them."""
import copy
import json

import torch
from safetensors.torch import load_file, save_file

from family_configs import FAMILIES


def short_config(family, case):
    """Only the keys that the table sets, so that the family's defaults hold for all others."""
    facts = FAMILIES[family]
    return {"architectures": [facts.model.__name__], "model_type": facts.config.model_type} | copy.deepcopy(
        facts.base | facts.cases[case])


def has_old_config(family, case):
    """Whether the case has rotary parameters that could be written so: OLMo 3 had no key for the base of windows."""
    rule = FAMILIES[family].cases[case].get("rope_parameters")
    return rule is not None and (family != "olmo3" or rule["sliding_attention"]["rope_theta"] == 500000)


def old_config(family, case):
    """The rotary parameters as before transformers 5: beside each other, with `type` for the kind of scaling."""
    config = short_config(family, case)
    rule = config.pop("rope_parameters")
    nested = "sliding_attention" in rule
    if nested and family == "olmo3":
        rule = rule["full_attention"]
    elif nested:
        config["rope_local_base_freq"] = rule["sliding_attention"]["rope_theta"]
        rule = rule["full_attention"]
    base, part = ("rotary_emb_base", "rotary_pct") if family == "gpt_neox" else ("rope_theta", "partial_rotary_factor")
    config[base] = rule.pop("rope_theta")
    if "partial_rotary_factor" in rule:
        config[part] = rule.pop("partial_rotary_factor")
    kind = rule.pop("rope_type")
    # Gemma 3's class overlooks the older word `type`.
    config["rope_scaling"] = None if kind == "default" else {"rope_type" if nested else "type": kind, **rule}
    if family == "phi3":  # the number inside is overwritten, and has to be there
        config["rope_scaling"]["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    return config


def write_config(folder, config):
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def without(prefix):
    return lambda tensors: {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def with_more(block, names):
    """Tensors that follow from the config, in every block."""
    def add(tensors):
        blocks = {name.split(".")[2] for name in tensors if name.startswith(block)}
        return tensors | {f"{block}{number}.{name}": tensor.clone() for number in blocks
                          for name, tensor in names.items()}
    return add


MASK = {"attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool).tril(), "attn.masked_bias": torch.tensor(-1e9)}
# Family → its tensors as the first checkpoints have them.
OLD_NAMES = {
    "gpt2": without("transformer."),
    "bloom": without("transformer."),
    "opt": without("model."),
    "chatglm": lambda tensors: tensors | {
        "transformer.rotary_pos_emb.inv_freq": 10000.0 ** -(torch.arange(0, 8, 2) / 8)},
    "gptj": with_more("transformer.h.", MASK),
    "gpt_neox": with_more("gpt_neox.layers.", {
        f"attention.{name.removeprefix('attn.')}": tensor for name, tensor in MASK.items()} | {
            "attention.rotary_emb.inv_freq": 10000.0 ** -(torch.arange(0, 4, 2) / 4)}),
}


def rename(family, folder):
    path = folder / "model.safetensors"
    save_file(OLD_NAMES[family](load_file(path)), path, metadata={"format": "pt"})
