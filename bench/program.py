"""What the benchmarks share: their arguments, and calls of the program for its figures. Standard library only."""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def parser(description, samples, tokens, out, device=""):
    """The arguments of every benchmark; those given here are the defaults. out: a folder below bench-results/."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model")
    arguments.add_argument("--program", default=str(ROOT / "build" / "normtweak"))
    arguments.add_argument("--samples", type=int, default=samples, help="rows of text that the model writes")
    arguments.add_argument("--tokens", type=int, default=tokens, help="in a row")
    arguments.add_argument("--device", default=device)
    arguments.add_argument("--out", default=str(ROOT / "bench-results" / out), help="folder for models and figures")
    return arguments


def stored(model):
    """How floats are stored, for the command line: as the model has them, and in F32 if it comes from a GGUF file.

    The figures in docs/benchmarks.md are of a GGUF file and of results with F32 floats, which would have F16 otherwise.
    """
    return ["--store-dtype", "f32"] if Path(model).suffix == ".gguf" else []


def scores(figures, state):
    """Perplexity and KLD on each text of a report, of the model "quantized" (untouched) or "tweaked"."""
    return [figure for evaluation in figures["evaluations"] for figure in (
        evaluation["perplexity"][state], evaluation["kld"][state])]


class Failure(Exception):
    """The program ended with a status other than 0; says what it said."""


class Program:
    """Subcommands on the device that the arguments name, with figures in `folder` (default: the one they name).

    further: options of every subcommand; environment: in place of this process's own; launcher: what stands before the
    program.
    """

    def __init__(self, options, folder=None, further=(), environment=None, launcher=()):
        self.options = options
        self.out = Path(folder or options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.further = [*(["--device", options.device] if options.device else []), *map(str, further)]
        self.environment = environment
        self.launcher = list(map(str, launcher))

    def call(self, *arguments, name="normtweak"):
        """The figures of a subcommand, also left in NAME.json, and the lines that it wrote to stderr."""
        report = self.out / f"{name}.json"
        command = [*self.launcher, self.options.program, *map(str, arguments), *self.further, "--json", str(report)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)}\n{done.stderr}")
        return json.loads(report.read_text()), done.stderr.splitlines()

    def run(self, *arguments, name="normtweak"):
        """The figures alone. A failure ends the benchmark."""
        try:
            return self.call(*arguments, "--quiet", name=name)[0]
        except Failure as failure:
            sys.exit(str(failure))

    def write_text(self):
        """The calibration text: its file, and the figures of the writing."""
        text = self.out / "calibration.safetensors"
        return text, self.run("generate", self.options.model, "-o", text, "--samples", self.options.samples, "--tokens",
                              self.options.tokens, name="generate")
