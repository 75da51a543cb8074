#!/usr/bin/env python3
"""normtweak against the same work in eager PyTorch from Python: same machine, device, type of products and threads.

    bench/compare_pytorch.py MODEL [--device cuda] [--only evaluation generation layerwise end-to-end] [--out FILE.json]

MODEL is a LLaMA in Hugging Face layout or a .gguf file, which is first exported to that layout; both sides read the
same folder. Each run is a process of its own on either side, in turn: normtweak, PyTorch, normtweak, PyTorch ...
Timed is the work alone, after the model is loaded. `--repeat 2` lets each PyTorch process do its work twice and counts
the second.

    evaluation   perplexity, windows of 2048 that do not overlap, f32: LlamaForCausalLM with sdpa attention
    generation   sampling, top-k 50, temperature 1: transformers' `generate`
    layerwise    Norm Tweaking (arXiv 2309.02784): LlamaDecoderLayer with dequantized linears, Adam, one row a step
    end-to-end   KL through the whole model, norms and scales: autograd through the dequantization, full logits, Adam;
                 the teacher's last hidden states are computed before, and only the steps are timed

Wherever a run has a figure besides its time (perplexity, loss, KL) the table shows that both sides found the same.
Needs torch, transformers and safetensors.
"""
import argparse
import contextlib
import dataclasses
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import program
from float_export import export_float

KINDS = ["evaluation", "generation", "layerwise", "end-to-end"]
TWEAKS = ["layerwise", "end-to-end"]
TYPES = {"f32": "float32", "bf16": "bfloat16"}
LEARNING_RATE = 2e-3  # end to end


# ---------------------------------------------------------------- the PyTorch side, in a process of its own ----------


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
    """The rows that normtweak's steps use; it keeps some of the file aside."""
    from safetensors.torch import load_file

    ids = load_file(job["calibration"])["input_ids"].long()
    train, select, _ = split(len(ids))
    return ids[:train].to(job["device"]), ids[train : train + select].to(job["device"])


def call_layer(layer, hidden, rotary):
    output = layer(hidden, attention_mask=None, position_embeddings=rotary)
    return output[0] if isinstance(output, tuple) else output


def layerwise(job, torch):
    precision = Precision(job, torch)
    floats, quantized = precision.load(job["model"]).model, precision.load(job["model"]).model
    for name, linear in quantized_linears(job["quantized"], job["bits"], precision.device).items():
        quantized.get_submodule(name.removeprefix("model.")).weight.copy_(linear.weight(linear.scales))
    stored = stored_type(job["model"], torch)
    layers = len(floats.layers)
    norms = [[layer.input_layernorm, layer.post_attention_layernorm] for layer in quantized.layers]
    starts = [[norm.weight.detach().float() for norm in pair] for pair in norms]
    ids, _ = token_rows(job)
    step = max(1, (32768 if precision.device.type == "cuda" else 2048) // ids.shape[1])  # rows in a plain pass

    def run():
        positions = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
        losses = []
        with torch.no_grad(), precision.context():
            hidden = floats.embed_tokens(ids)
            rotary = floats.rotary_emb(hidden, positions)

        def through(layer, hidden):
            with torch.no_grad(), precision.context():
                return torch.cat([call_layer(layer, part, rotary) for part in hidden.split(step)])

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
                    output = call_layer(layer, hidden[row : row + 1], rotary)
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
    train, select = token_rows(job)

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


def work(job_file, result_file):
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    job = json.loads(Path(job_file).read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    kind = {"evaluation": evaluation, "generation": generation, "layerwise": layerwise, "end-to-end": end_to_end}
    run = kind[job["kind"]](job, torch)
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


# ---------------------------------------------------------------- both sides, in turn --------------------------------


def split(samples):
    """Rows for the steps, to choose, to confirm: as normtweak divides calibration text."""
    confirm, select = min(max(samples // 8, 2), 16), min(max(samples // 16, 1), 16)
    return samples - confirm - select, select, confirm


@dataclasses.dataclass
class Comparison:
    kind: str
    what: str  # for the table
    tokens: int  # that the timed work goes through
    arguments: list  # of normtweak
    job: dict  # of the PyTorch process
    seconds: callable  # from normtweak's figures
    figures: callable  # what both sides must agree on


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = Path(options.work)
        self.environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        further = ["--threads", options.threads]
        self.normtweak = program.Program(options, self.folder, further, self.environment).run
        self.model = export_float(self.normtweak, options.model, self.folder / "float")
        self.notes = set()

    def pytorch(self, job, repeat):
        job_file, result = self.folder / "job.json", self.folder / "pytorch.json"
        common = {"device": self.options.device, "threads": self.options.threads, "repeat": repeat}
        job_file.write_text(json.dumps(common | job))
        command = [sys.executable, __file__, "--work-on", str(job_file), str(result)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=self.environment)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return json.loads(result.read_text())

    def prepare_tweaks(self):
        """Calibration rows, and the checkpoint that both tweaks start from."""
        options = self.options
        rows = self.folder / "calibration.safetensors"
        self.normtweak("generate", self.model, "-o", rows, "--samples", options.samples, "--tokens", options.tokens,
                       "--strategy", "llm-qat")
        few = self.folder / "few.safetensors"
        self.normtweak("generate", self.model, "-o", few, "--samples", 4, "--tokens", 16, "--strategy", "llm-qat")
        quantized = self.folder / "quantized"
        shutil.rmtree(quantized, ignore_errors=True)
        self.normtweak("quantize", self.model, "-o", quantized, "--method", "rtn", "--bits", options.bits,
                       "--group-size", options.group_size, "--tweak", "none", "--store-dtype", "f32",
                       "--calibration", few)

    def modes(self, kind):
        """How PyTorch does its bf16, where there is a choice."""
        return self.options.torch_bf16 if kind in TWEAKS and self.options.dtype == "bf16" else [None]

    def comparison(self, kind, mode, small):
        make = {"evaluation": self.evaluation, "generation": self.generation, "layerwise": self.layerwise,
                "end-to-end": self.end_to_end}
        made = make[kind](small)
        made.job |= {"kind": kind, "model": self.model, "autocast": mode == "autocast"}
        made.what += {"pure": ", PyTorch all in bf16", "autocast": ", PyTorch with autocast"}.get(mode, "")
        return made

    def evaluation(self, small):
        options = self.options
        context = min(2048, json.loads((Path(self.model) / "config.json").read_text())["max_position_embeddings"])
        windows = 1 if small else options.windows
        batch = max(1, (16384 if options.device.startswith("cuda") else 2048) // context)
        path, rows = (options.text, False) if options.text else (options.rows, True)
        arguments = ["eval", self.model, "--rows" if rows else "--text", path, "--context", context,
                     "--max-tokens", windows * context, "--batch-rows", batch, "--dtype", "f32"]
        job = {"text": path, "rows": rows, "context": context, "windows": windows, "batch": batch}
        count = f"{windows}" if windows else "all"
        return Comparison("evaluation", f"evaluation, {count} windows of {context}, f32", windows * context, arguments,
                          job, lambda f: f["seconds"]["evaluate"], lambda f: {"perplexity": f["perplexity"]["value"]})

    def generation(self, small):
        options = self.options
        rows, tokens = (2, 8) if small else (options.generate_rows, options.generate_tokens)
        batch = min(rows, options.generate_batch or rows)
        arguments = ["generate", self.model, "-o", self.folder / "generated.safetensors", "--samples", rows,
                     "--tokens", tokens, "--generate-batch", batch, "--top-k", 50, "--temperature", 1,
                     "--strategy", "llm-qat", "--dtype", options.dtype]
        job = {"rows": rows, "tokens": tokens, "batch": batch, "dtype": TYPES[options.dtype]}
        return Comparison("generation", f"generation, {rows} rows of {tokens}, {batch} at a time, {options.dtype}",
                          rows * tokens, arguments, job, lambda f: f["seconds"]["generate"], lambda f: {})

    def tweak(self, kind, what, small, more, job, passes, seconds, figures):
        options = self.options
        rows, tokens = (4, 16) if small else (options.samples, options.tokens)
        train = split(rows)[0]
        calibration = str(self.folder / ("few.safetensors" if small else "calibration.safetensors"))
        quantized = str(self.folder / "quantized")
        arguments = ["tweak", quantized, "--reference", self.model, "-o", self.folder / "tweaked", "--method", kind,
                     "--calibration", calibration, "--dtype", options.dtype, "--epochs", passes, *more]
        job |= {"calibration": calibration, "quantized": quantized, "bits": options.bits, "dtype": TYPES[options.dtype],
                "passes": passes}
        counted = train * tokens * passes
        return Comparison(kind, f"{what}, {train} rows of {tokens}, {options.dtype}", counted, arguments, job,
                          lambda f: seconds(f, counted), figures)

    def layerwise(self, small):
        def figures(f):
            return {"loss before": statistics.mean(b["loss_before"] for b in f["blocks"]),
                    "after": statistics.mean(b["loss_after"] for b in f["blocks"])}

        return self.tweak("layerwise", "layer-wise tweak, rows a step: 1", small, ["--batch", 1], {}, 1,
                          lambda f, _: f["seconds"]["tweak"], figures)

    def end_to_end(self, small):
        options = self.options

        def seconds(f, tokens):
            if "step_tokens_per_second" in f:
                return tokens / f["step_tokens_per_second"]
            self.notes.add("end-to-end: this normtweak reports no time of the steps alone; its figure is the whole "
                           "tweak, with the float model's pass and the choice among candidates.")
            return f["seconds"]["tweak"]

        def figures(f):
            scores = {c["name"]: c["kld"] for c in f["guard"]["candidates"]}
            return {"KLD before": scores["untouched"], "after": scores["last"]}

        return self.tweak("end-to-end", f"end-to-end steps, passes: {options.passes}, rows a step: {options.batch}",
                          small, ["--batch", options.batch, "--tune", "norms,scales", "--lr", LEARNING_RATE],
                          {"batch": options.batch, "micro_batch": min(options.micro_batch, options.batch)},
                          1 if small else options.passes, seconds, figures)

    def measure(self, kind, mode):
        options = self.options
        if not options.no_warm_up:
            warm_up = self.comparison(kind, mode, small=True)
            self.normtweak(*warm_up.arguments)
            self.pytorch(warm_up.job, 1)
        made = self.comparison(kind, mode, small=False)
        ours, theirs = [], []
        for pair in range(options.pairs):
            ours.append(self.normtweak(*made.arguments))
            theirs.append(self.pytorch(made.job, options.repeat))
            print(f"{made.what}, {pair + 1}/{options.pairs}: normtweak {made.seconds(ours[-1]):.3f} s, PyTorch "
                  f"{', '.join(f'{s:.3f}' for s in theirs[-1]['seconds'])} s", file=sys.stderr, flush=True)
        if not made.tokens:  # all windows
            made.tokens = ours[0]["windows"] * ours[0]["context"]
        return self.summary(made, ours, theirs)

    def summary(self, made, ours, theirs):
        our_seconds = [made.seconds(figures) for figures in ours]
        their_seconds = [result["seconds"][-1] for result in theirs]
        a, b = statistics.median(our_seconds), statistics.median(their_seconds)
        return {
            "kind": made.kind, "what": made.what, "tokens": made.tokens,
            "normtweak": {"seconds": a, "all_seconds": our_seconds, "tokens_per_second": made.tokens / a,
                          "peak_memory_bytes": max(f["peak_memory_bytes"] for f in ours),
                          "figures": made.figures(ours[-1])},
            "pytorch": {"seconds": b, "all_seconds": [result["seconds"] for result in theirs],
                        "tokens_per_second": made.tokens / b,
                        "peak_memory_bytes": max(r["peak_memory_bytes"] for r in theirs),
                        "figures": theirs[-1]["figures"]},
            "ratio": b / a,
        }


def table_row(result):
    ours, theirs = result["normtweak"], result["pytorch"]
    agreed = ", ".join(f"{name} {value:.5g} / {theirs['figures'][name]:.5g}" for name, value in ours["figures"].items())
    cells = [result["what"]]
    for side in (ours, theirs):
        cells += [f"{side['seconds']:.2f}", f"{side['tokens_per_second']:.0f}"]
    cells += [f"{result['ratio']:.2f}"]
    cells += [f"{side['peak_memory_bytes'] / 2**30:.2f}" for side in (ours, theirs)]
    return "| " + " | ".join([*cells, agreed or "-"]) + " |"


def machine(options):
    """Names of the hardware and versions, asked for in a process of its own so that this one holds no GPU."""
    ask = ("import json, sys, torch, transformers; d = torch.device(sys.argv[1]); print(json.dumps({"
           "'device': torch.cuda.get_device_name(d) if d.type == 'cuda' else '',"
           "'torch': torch.__version__, 'transformers': transformers.__version__}))")
    found = json.loads(subprocess.run([sys.executable, "-c", ask, options.device], check=True, capture_output=True,
                                      text=True).stdout.splitlines()[-1])
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found | {"cpu": names[0] if names else platform.machine(), "threads": options.threads,
                    "python": platform.python_version()}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--program", default=str(program.ROOT / "build" / "normtweak"))
    parser.add_argument("--device", help="default: a GPU if there is one")
    parser.add_argument("--dtype", choices=TYPES, help="of generation and tweaks; default: bf16 on a GPU, else f32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--repeat", type=int, help="times that a PyTorch process does its work, the last one counts; "
                        "default: 2 on a GPU, whose first pass loads kernels, else 1")
    parser.add_argument("--no-warm-up", action="store_true", help="leave out the small runs before the measured ones")
    parser.add_argument("--torch-bf16", nargs="+", choices=["pure", "autocast"], default=["pure", "autocast"],
                        help="bf16 tweaks of PyTorch: all in bf16, faster and less exact; or f32 hidden states and "
                        "norms as in normtweak, by autocast; default: a row of the table for each")
    parser.add_argument("--rows", help="text of the evaluation, one row a line; default: WikiText-2 test in the folder "
                        "that NORMTWEAK_TEST_DATA names")
    parser.add_argument("--text", help="the same as plain text")
    parser.add_argument("--windows", type=int, help="of the evaluation; 0: all; default: all on a GPU, else 4")
    parser.add_argument("--generate-rows", type=int, help="default: 128 on a GPU, else 16")
    parser.add_argument("--generate-tokens", type=int, help="default: 512 on a GPU, else 128")
    parser.add_argument("--generate-batch", type=int, default=0, help="rows written together; 0: all")
    parser.add_argument("--samples", type=int, help="calibration rows, some of which are held out; default: 128 on a "
                        "GPU, else 12")
    parser.add_argument("--tokens", type=int, help="in a calibration row; default: 1024 on a GPU, else 256")
    parser.add_argument("--passes", type=int, help="end to end, over the rows; default: 3 on a GPU, else 1")
    parser.add_argument("--batch", type=int, default=8, help="end to end, rows in a step")
    parser.add_argument("--micro-batch", type=int, help="rows that PyTorch takes forward and backward at a time; "
                        "default: all of a step on a GPU, else 1")
    parser.add_argument("--bits", type=int, choices=[2, 4, 8], default=4)
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--work", default=str(program.ROOT / "bench-results" / "compare"),
                        help="folder for models and rows")
    parser.add_argument("--out", help="JSON file with every figure")
    options = parser.parse_args()
    set_defaults(options)
    if "evaluation" in options.only and not (options.rows or options.text):
        parser.error("evaluation needs --rows, --text or NORMTWEAK_TEST_DATA")
    return options


def set_defaults(options):
    if not options.device:
        ask = [sys.executable, "-c", "import torch; print('cuda' if torch.cuda.is_available() else 'cpu')"]
        options.device = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()[-1]
    if options.device == "cuda":
        options.device = "cuda:0"
    sizes = [("dtype", "bf16", "f32"), ("repeat", 2, 1), ("windows", 0, 4), ("generate_rows", 128, 16),
             ("generate_tokens", 512, 128), ("samples", 128, 12), ("tokens", 1024, 256), ("passes", 3, 1),
             ("micro_batch", options.batch, 1)]
    for name, on_gpu, on_cpu in sizes:
        if getattr(options, name) is None:
            setattr(options, name, on_gpu if options.device.startswith("cuda") else on_cpu)
    data = os.environ.get("NORMTWEAK_TEST_DATA")
    if data and not options.rows and not options.text:
        options.rows = f"{data}/wikitext-2-raw/wiki.test.raw"


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--work-on":
        work(sys.argv[2], sys.argv[3])
        return
    options = parse()
    bench = Bench(options)
    about = machine(options)
    if set(TWEAKS) & set(options.only):
        bench.prepare_tweaks()
    print(f"{about['device'] or about['cpu']}, {about['threads']} CPU threads, torch {about['torch']}, transformers "
          f"{about['transformers']}; medians of {options.pairs} runs a side.\n")
    print("| | normtweak, s | tokens/s | PyTorch, s | tokens/s | ratio | GiB | GiB, PyTorch | normtweak / PyTorch |\n"
          "|-|-|-|-|-|-|-|-|-|", flush=True)
    results = []
    for kind, mode in [(kind, mode) for kind in options.only for mode in bench.modes(kind)]:
        results.append(bench.measure(kind, mode))
        print(table_row(results[-1]), flush=True)
        if options.out:
            report = {"machine": about, "options": vars(options), "results": results, "notes": sorted(bench.notes)}
            Path(options.out).write_text(json.dumps(report, indent=2) + "\n")
    for note in sorted(bench.notes):
        print(f"\n{note}")


if __name__ == "__main__":
    main()
