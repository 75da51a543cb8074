#!/usr/bin/env python3
"""normtweak against the same work in eager PyTorch from Python: same machine, device, type of products and threads.

    bench/compare_pytorch.py MODEL [--device cuda] [--only evaluation generation quantize ...] [--out FILE.json]

MODEL is a LLaMA in Hugging Face layout or a .gguf file, which is first exported to that layout; both sides read the
same folder. Each run is a process of its own on either side, in turn: normtweak, PyTorch, normtweak, PyTorch ...
Timed is the work alone, after the model is loaded. `--repeat 2` lets each PyTorch process do its work twice and counts
the second.

    evaluation   perplexity, windows of 2048 that do not overlap, f32: LlamaForCausalLM with sdpa attention
    generation   sampling, top-k 50, temperature 1: transformers' `generate`
    quantize     GPTQ as published (arXiv 2210.17323), a Hessian for each place, its linears in turn; eager_gptq.py
    layerwise    Norm Tweaking (arXiv 2309.02784): LlamaDecoderLayer with dequantized linears, Adam, one row a step
    end-to-end   KL through the whole model, norms and scales: autograd through the dequantization, full logits, Adam;
                 the teacher's last hidden states are computed before, and only the steps are timed

Wherever a run has a figure besides its time (perplexity, loss, KL) the table shows that both sides found the same.
Needs torch, transformers, tokenizers and safetensors.
"""
import argparse
import dataclasses
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import eager_pytorch
import program
from float_export import export_float

KINDS = list(eager_pytorch.KINDS)
TWEAKS = ["layerwise", "end-to-end"]
TYPES = {"f32": "float32", "bf16": "bfloat16"}


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
        command = [sys.executable, eager_pytorch.__file__, str(job_file), str(result)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=self.environment)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return json.loads(result.read_text())

    def prepare_tweaks(self):
        """Calibration rows, and the checkpoint that tweaks start from."""
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
        return self.options.torch_bf16 if kind in ("quantize", *TWEAKS) and self.options.dtype == "bf16" else [None]

    def comparison(self, kind, mode, small):
        make = {"evaluation": self.evaluation, "generation": self.generation, "quantize": self.quantize,
                "layerwise": self.layerwise, "end-to-end": self.end_to_end}
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

    def calibration(self, small):
        """Rows, tokens in each, and their file."""
        options = self.options
        rows, tokens = (4, 16) if small else (options.samples, options.tokens)
        return rows, tokens, str(self.folder / ("few.safetensors" if small else "calibration.safetensors"))

    def quantize(self, small):
        options = self.options
        rows, tokens, calibration = self.calibration(small)
        train = eager_pytorch.split(rows)[0]
        arguments = ["quantize", self.model, "-o", self.folder / "gptq", "--method", "gptq", "--bits", options.bits,
                     "--group-size", options.group_size, "--no-search-grid", "--no-act-order", "--sweeps", 0,
                     "--drift-correction", 0, "--tweak", "none", "--calibration", calibration, "--dtype", options.dtype]
        job = {"calibration": calibration, "bits": options.bits, "group_size": options.group_size,
               "dtype": TYPES[options.dtype]}
        what = f"GPTQ as published, {options.bits} bits, {train} rows of {tokens}, {options.dtype}"
        return Comparison("quantize", what, train * tokens, arguments, job, lambda f: f["seconds"]["quantize"],
                          lambda f: {"KLD": f["kld"]["quantized"]})

    def tweak(self, kind, what, small, more, job, passes, seconds, figures):
        options = self.options
        rows, tokens, calibration = self.calibration(small)
        train = eager_pytorch.split(rows)[0]
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
                          small, ["--batch", options.batch, "--tune", "norms,scales", "--lr",
                                 eager_pytorch.LEARNING_RATE],
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
    options = parse()
    bench = Bench(options)
    about = machine(options)
    if {"quantize", *TWEAKS} & set(options.only):
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
