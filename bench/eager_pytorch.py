"""The PyTorch side of compare_pytorch.py: the same work in eager PyTorch, in a process of its own.

    eager_pytorch.py JOB.json RESULT.json

Writes the seconds of each repetition, the figures that both sides must agree on, and peak memory.
"""
import argparse
import contextlib
import json
import math
import statistics
import time
from pathlib import Path

import eager_gptq

LEARNING_RATE = 2e-3  # end to end


def split(samples):
    """Rows for the steps, to choose, to confirm: as normtweak divides calibration text."""
    confirm, select = min(max(samples // 8, 2), 16), min(max(samples // 16, 1), 16)
    return samples - confirm - select, select, confirm


def load_model(folder, device, dtype):
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    return model.to(device).eval().requires_grad_(False)


def encode(job):
    from tokenizers import Tokenizer

    text = Path(job["text"]).read_text(encoding="utf-8")
    if job["rows"]:  # one row of a data set a line: those with text keep their newline, a blank line between rows
        lines = text.removesuffix("\n").split("\n")
        text = "\n\n".join(line + "\n" if line.strip() else "" for line in lines)
    return Tokenizer.from_file(str(Path(job["model"]) / "tokenizer.json")).encode(text).ids


def evaluation(job, torch):
    model = load_model(job["model"], job["device"], torch.float32)
    ids, context = encode(job), job["context"]
    count = len(ids) // context if job["windows"] == 0 else job["windows"]
    windows = torch.tensor(ids[: count * context]).view(count, context)

    @torch.no_grad()
    def run():
        total = torch.zeros((), dtype=torch.float64, device=job["device"])
        for part in windows.split(job["batch"]):
            part = part.to(job["device"])
            logits = model(part, use_cache=False).logits
            for row, row_ids in zip(logits, part):
                total += torch.nn.functional.cross_entropy(row[:-1], row_ids[1:], reduction="sum")
        return {"perplexity": math.exp(total.item() / (count * (context - 1)))}

    return run


def generation(job, torch):
    model = load_model(job["model"], job["device"], getattr(torch, job["dtype"]))
    model.generation_config.eos_token_id = None  # rows are filled to the end, as on the other side
    model.generation_config.pad_token_id = 0
    rows, tokens = job["rows"], job["tokens"]

    def run():
        for begin in range(0, rows, job["batch"]):
            count = min(job["batch"], rows - begin)
            first = torch.randint(0, model.config.vocab_size, (count, 1), device=job["device"])
            ids = model.generate(first, attention_mask=torch.ones_like(first), max_new_tokens=tokens - 1,
                                 do_sample=True, top_k=50, temperature=1.0, use_cache=True)
            assert ids.shape == (count, tokens), ids.shape
        return {}

    return run


class Affine:
    """A linear's codes [out, groups, size], zero-points and scales [out, groups]."""

    def __init__(self, tensors, name, bits, device):
        self.bits = bits
        shape = tensors[f"{name}.weight_shape"].tolist()
        scales = tensors[f"{name}.weight_scale"]
        self.stored = scales.dtype
        self.scales = scales.float().to(device)
        groups = scales.shape[1]
        zeros = tensors.get(f"{name}.weight_zero_point")  # packed down the columns
        self.zeros = (self.unpack(zeros.T, shape[0]).T.float() if zeros is not None
                      else scales.new_full(scales.shape, 2 ** (bits - 1)).float()).to(device)
        self.codes = self.unpack(tensors[f"{name}.weight_packed"], shape[1]).view(shape[0], groups, -1).to(device)

    def unpack(self, words, columns):  # the lowest bits first; `bits` divides 32, so no code crosses a word's end
        import torch

        shifts = torch.arange(0, 32, self.bits)
        codes = (words.contiguous().unsqueeze(-1).long() & 0xFFFFFFFF) >> shifts & (2**self.bits - 1)
        return codes.flatten(1)[:, :columns].to(torch.uint8)

    def weight(self, scales):
        return ((self.codes.float() - self.zeros.unsqueeze(-1)) * scales.unsqueeze(-1)).flatten(1)


def quantized_linears(folder, bits, device):
    from safetensors.torch import load_file

    tensors = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        tensors |= load_file(file)
    names = [name.removesuffix(".weight_packed") for name in tensors if name.endswith(".weight_packed")]
    return {name: Affine(tensors, name, bits, device) for name in names}


class Precision:
    """bf16 either through and through ("pure", as most checkpoints run) or as autocast over an f32 stream."""

    def __init__(self, job, torch):
        self.torch, self.device = torch, torch.device(job["device"])
        self.products = getattr(torch, job["dtype"])
        self.autocast = job["autocast"] and self.products != torch.float32
        self.stream = torch.float32 if self.autocast else self.products

    def context(self):
        if not self.autocast:
            return contextlib.nullcontext()
        return self.torch.autocast(self.device.type, dtype=self.products)

    def load(self, folder):
        model = load_model(folder, self.device, self.stream)
        if self.autocast:
            for module in model.modules():
                if isinstance(module, self.torch.nn.Linear):
                    module.weight = self.torch.nn.Parameter(module.weight.to(self.products), requires_grad=False)
        return model


def place(module, weight):
    """Makes a computed tensor the weight of a module, so that gradients pass through it."""
    module._parameters.pop("weight", None)
    module.weight = weight


def rounded(value, stored):
    """Rounded to the type it is stored in; the gradient passes straight through."""
    return value + (value.to(stored).float() - value).detach() if stored != value.dtype else value


def stored_type(folder, torch):
    config = json.loads((Path(folder) / "config.json").read_text())
    return getattr(torch, config.get("dtype") or config.get("torch_dtype") or "float32")


def token_rows(job):
    """The rows that normtweak's steps use, those that choose, and those that confirm."""
    from safetensors.torch import load_file

    ids = load_file(job["calibration"])["input_ids"].long()
    return [rows.to(job["device"]) for rows in ids.split(split(len(ids)))]


def layerwise(job, torch):
    precision = Precision(job, torch)
    floats, quantized = precision.load(job["model"]).model, precision.load(job["model"]).model
    for name, linear in quantized_linears(job["quantized"], job["bits"], precision.device).items():
        quantized.get_submodule(name.removeprefix("model.")).weight.copy_(linear.weight(linear.scales))
    stored = stored_type(job["model"], torch)
    layers = len(floats.layers)
    norms = [[layer.input_layernorm, layer.post_attention_layernorm] for layer in quantized.layers]
    starts = [[norm.weight.detach().float() for norm in pair] for pair in norms]
    ids, _, _ = token_rows(job)
    step = max(1, (32768 if precision.device.type == "cuda" else 2048) // ids.shape[1])  # rows in a plain pass

    def run():
        positions = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
        losses = []
        with torch.no_grad(), precision.context():
            hidden = floats.embed_tokens(ids)
            rotary = floats.rotary_emb(hidden, positions)

        def through(layer, hidden):
            with torch.no_grad(), precision.context():
                return torch.cat([eager_gptq.call_layer(layer, part, rotary) for part in hidden.split(step)])

        for index, (float_layer, layer) in enumerate(zip(floats.layers, quantized.layers)):
            target = through(float_layer, hidden)
            changes = [torch.zeros_like(start, requires_grad=True) for start in starts[index]]
            adam = torch.optim.Adam(changes, lr=1e-5 * (1 + index / layers), fused=True)

            def place_norms():
                for norm, start, change in zip(norms[index], starts[index], changes):
                    place(norm, rounded(start + change, stored).to(precision.stream))

            def loss_of(row):
                place_norms()
                with precision.context():
                    output = eager_gptq.call_layer(layer, hidden[row : row + 1], rotary)
                q, f = output.float().flatten(0, 1), target[row : row + 1].float().flatten(0, 1)
                difference = (f.mean(0) - q.mean(0)).abs() + (f.var(0, correction=0) - q.var(0, correction=0)).abs()
                return difference.mean()

            @torch.no_grad()
            def reported():
                return statistics.mean(loss_of(row).item() for row in range(min(4, len(ids))))

            before = reported()
            for row in range(len(ids)):
                adam.zero_grad()
                loss_of(row).backward()
                adam.step()
            losses.append((before, reported()))
            with torch.no_grad():
                place_norms()
            hidden = through(layer, hidden)
        return {"loss before": statistics.mean(b for b, _ in losses), "after": statistics.mean(a for _, a in losses)}

    return run


def gptq(job, torch):
    precision = Precision(job, torch)
    train, _, confirm = token_rows(job)

    @torch.no_grad()
    def divergence(teacher, student):
        total = 0
        for row in confirm.split(1):
            with precision.context():
                target, output = (model(row, use_cache=False).logits.float().log_softmax(-1)
                                  for model in (teacher, student))
            total += torch.nn.functional.kl_div(output, target, log_target=True, reduction="sum").item()
        return total / confirm.numel()

    def run():
        teacher, model = precision.load(job["model"]), precision.load(job["model"])
        rows_at_a_time = max(1, (32768 if precision.device.type == "cuda" else 2048) // train.shape[1])
        with precision.context():
            seconds = timed(torch, precision.device, lambda: eager_gptq.quantize(
                model.model, train, rows_at_a_time, job["bits"], job["group_size"]))
        return {"KLD": divergence(teacher, model), "seconds": seconds}

    return run


class Student:
    """The quantized model with its norms and scales made tunable: value = start + unit * change."""

    def __init__(self, job, torch, precision):
        self.torch, self.precision = torch, precision
        self.model = precision.load(job["model"])
        self.stored = stored_type(job["model"], torch)
        self.norms = [module for name, module in self.model.named_modules() if name.endswith("norm")]
        self.starts = [norm.weight.detach().float() for norm in self.norms]
        linears = quantized_linears(job["quantized"], job["bits"], precision.device)
        self.linears = [(self.model.get_submodule(name), linear) for name, linear in linears.items()]
        self.reset()

    def reset(self):
        self.norm_changes = [self.torch.zeros_like(start, requires_grad=True) for start in self.starts]
        self.scale_changes = [self.torch.zeros_like(linear.scales, requires_grad=True) for _, linear in self.linears]

    def logits(self, ids):
        for norm, start, change in zip(self.norms, self.starts, self.norm_changes):
            place(norm, rounded(start + change, self.stored).to(self.precision.stream))
        for (module, linear), change in zip(self.linears, self.scale_changes):
            scales = rounded(linear.scales * (1 + change), linear.stored)
            place(module, linear.weight(scales).to(self.precision.products))
        with self.precision.context():
            return self.model(ids, use_cache=False).logits


def end_to_end(job, torch):
    functional = torch.nn.functional
    precision = Precision(job, torch)
    teacher, student = precision.load(job["model"]), Student(job, torch, precision)
    train, select, _ = token_rows(job)

    @torch.no_grad()
    def teach(ids):
        with precision.context():
            return torch.cat([teacher.model(row, use_cache=False).last_hidden_state for row in ids.split(1)])

    train_hidden, select_hidden = teach(train), teach(select)
    head, batch, passes = teacher.lm_head, job["batch"], job["passes"]

    def divergence(ids, hidden):  # summed over tokens
        with torch.no_grad(), precision.context():
            target = head(hidden).float().log_softmax(-1)
        output = student.logits(ids).float().log_softmax(-1)
        return functional.kl_div(output, target, log_target=True, reduction="sum")

    @torch.no_grad()
    def selected():
        rows = zip(select.split(1), select_hidden.split(1))
        return sum(divergence(*row).item() for row in rows) / select.numel()

    def steps():
        generator = torch.Generator().manual_seed(0)
        groups = [{"params": student.norm_changes}, {"params": student.scale_changes}]
        adam = torch.optim.Adam(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)
        batches = math.ceil(len(train) / batch)
        for step in range(passes * batches):
            if step % batches == 0:
                order = torch.randperm(len(train), generator=generator).to(train.device)
            chosen = order[step % batches * batch : step % batches * batch + batch]
            rate = LEARNING_RATE * min(1, (step + 1) / 5) * 0.5 * (1 + math.cos(math.pi * step / (passes * batches)))
            for group in adam.param_groups:
                group["lr"] = rate
            adam.zero_grad()
            for rows in chosen.split(job["micro_batch"]):
                loss = divergence(train[rows], train_hidden[rows]) / (len(chosen) * train.shape[1])
                loss.backward()
            adam.step()

    def run():
        student.reset()
        before = selected()
        seconds = timed(torch, precision.device, steps)
        return {"KLD before": before, "after": selected(), "seconds": seconds}

    return run


def timed(torch, device, work):
    def synchronize():
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


KINDS = {"evaluation": evaluation, "generation": generation, "quantize": gptq, "layerwise": layerwise,
         "end-to-end": end_to_end}


def work(job_file, result_file):
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    job = json.loads(Path(job_file).read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    run = KINDS[job["kind"]](job, torch)
    seconds, figures = [], {}

    def once():
        figures.update(run())

    for _ in range(job["repeat"]):
        whole = timed(torch, job["device"], once)
        seconds.append(figures.pop("seconds", whole))
    if torch.device(job["device"]).type == "cuda":
        peak = torch.cuda.max_memory_allocated(job["device"])
    else:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    Path(result_file).write_text(json.dumps({"seconds": seconds, "figures": figures, "peak_memory_bytes": peak}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", help="what compare_pytorch.py wants done")
    parser.add_argument("result", help="file to write")
    options = parser.parse_args()
    work(options.job, options.result)
