"""The importance matrix that llama.cpp's quantizer takes: of each linear, the mean squared input per column.

Of dense models in a Hugging Face folder, run by transformers on given token ids.
"""
import re

import torch
import transformers

PLACES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
          "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
          "mlp.down_proj": "ffn_down"}


def gguf_name(module):
    """model.layers.3.mlp.up_proj → blk.3.ffn_up.weight; None for what the matrix leaves out."""
    found = re.search(r"layers\.(\d+)\.(.+)$", module)
    place = found and PLACES.get(found[2])
    return f"blk.{found[1]}.{place}.weight" if place else None


@torch.no_grad()
def importance(folder, ids, device="cpu", rows_at_once=16):
    """Name of the tensor → f32 [columns]; ids: [rows, tokens]."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
    sums = {}

    def watch(name):
        def add(_, inputs):
            sums[name] = sums.get(name, 0) + inputs[0].double().pow(2).sum((0, 1))
        return add

    for module, linear in model.named_modules():
        if isinstance(linear, torch.nn.Linear) and gguf_name(module):
            linear.register_forward_pre_hook(watch(gguf_name(module)))
    for rows in ids.to(device).split(rows_at_once):
        model.model(rows, use_cache=False)  # without the head, whose logits nobody reads
    return {name: (total / ids.numel()).float().cpu().numpy() for name, total in sums.items()}
