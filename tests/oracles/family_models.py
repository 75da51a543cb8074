"""Tiny random models of every family, made by transformers from the configs of family_configs.py.

Run as a script, family_models.py [FAMILY...], it tells what no test could see: tensors and keys of the configs that the
logits do not depend on.
"""
import copy
import sys

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForCausalLM

from family_configs import FAMILIES, VOCABULARY

torch.set_num_threads(1)  # for models this small, a second thread costs more than it gives

LIVELY = 0.5  # the least standard deviation of logits
TRACE = 1.5e-4  # of the largest logit: three times the tests' tolerance. Exact and tanh GELU differ by 2e-4
# The rows are no longer than the context, and than the window that is the default.
UNSEEN_KEYS = {("llama", "dynamic", "rope_parameters"), ("mistral", "no window, own head size", "sliding_window"),
               ("mistral", "tied, yarn", "sliding_window"), ("opt", "norm after, projected embedding", "init_std"),
               ("gemma", "gelu that means tanh", "hidden_act"),
               ("chatglm", "a key for each query, all biases", "add_qkv_bias")}


def ids(samples, tokens, seed=0):
    return torch.randint(2, VOCABULARY, (samples, tokens), generator=torch.Generator().manual_seed(seed))


IDS = ids(2, 40)  # longer than any window, than the original contexts and than a period of layers


def lively(model):
    """Norms and biases other than 1 and 0, which would hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if (parameter == parameter.flatten()[0]).all():
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def config(family, case):
    """A fresh one: transformers completes the dictionaries that it is given."""
    facts = FAMILIES[family]
    return facts.config(**copy.deepcopy(facts.base | facts.cases[case]))


def scalings(family, case):
    """The kinds of rotary scaling in a config; more than one where layers differ. Empty: no rotary positions."""
    parameters = getattr(config(family, case), "rope_parameters", None) or {}
    each = [parameters] if "rope_type" in parameters else [part for part in parameters.values() if part]
    return {part["rope_type"] for part in each}


def make(family, case, changed=None):
    """changed: another config of the family."""
    torch.manual_seed(0)
    facts = FAMILIES[family]
    return lively(facts.model._from_config(changed or config(family, case), attn_implementation=facts.attention))


def opened(folder, family):
    """In F32 from the file on, by the code that is right for the family."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                attn_implementation=FAMILIES[family].attention)


def logits(model, token_ids):
    with torch.no_grad():
        return model(token_ids).logits


def norms(model):
    """Names of all tensors of the norms."""
    return {f"{name}.{part}" for name, module in model.named_modules() if "norm" in type(module).__name__.lower()
            for part, _ in module.named_parameters(recurse=False)}


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def unseen_tensors(model, expected, token_ids):
    """Tensors that may change by a tenth without a trace. A key's bias adds the same to all scores of a query, which
    shows only where it is rotated."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        kept = parameter.data.clone()
        parameter.data = kept + 0.1 * kept.std().clamp(min=0.1) * torch.randn(kept.shape, generator=generator)
        if relative(logits(model, token_ids), expected) < TRACE:
            yield name
        parameter.data = kept


def unseen_keys(family, case, model, expected, token_ids):
    """Keys that a case changes although the family's base or default would give the same logits."""
    for key in FAMILIES[family].cases[case]:
        without = {name: value for name, value in FAMILIES[family].cases[case].items() if name != key}
        try:
            other = make(family, case, FAMILIES[family].config(**copy.deepcopy(FAMILIES[family].base | without)))
            other.load_state_dict(model.state_dict())
            found = logits(other, token_ids)
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError, StrictDataclassError):
            continue  # other tensors, or no model at all
        if relative(found, expected) < TRACE:
            yield key


def main():
    for family in sys.argv[1:] or FAMILIES:
        for case in FAMILIES[family].cases:
            model = make(family, case)
            expected = logits(model, IDS)
            print(f"{family}: {case}: std of logits {expected.std():.2f}")
            for name in unseen_tensors(model, expected, IDS):
                print(f"  tensor {name} does not show")
            for key in unseen_keys(family, case, model, expected, IDS):
                if (family, case, key) not in UNSEEN_KEYS | {(family, case, "tie_word_embeddings")}:
                    print(f"  key {key} does not show")
            if expected.std() < LIVELY:
                print("  not lively")


if __name__ == "__main__":
    main()
