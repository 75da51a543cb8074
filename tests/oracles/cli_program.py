"""Calls the program as a user does."""
import json
import os
import pathlib
import signal
import subprocess
import time

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

PROGRAM = pathlib.Path(os.environ["NORMTWEAK"]).resolve()
# Tests in the background are told to ignore it, and so would the programs be that they call.
signal.signal(signal.SIGINT, signal.default_int_handler)
# One thread, so that sums have one order; and no GPU, which may be there.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def call(*arguments):
    """Runs the program, whatever comes of it."""
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


def run(*arguments):
    """Runs the program, which has to succeed."""
    finished = call(*arguments, "--quiet")
    assert finished.returncode == 0, finished.stderr
    assert (finished.stdout, finished.stderr) == ("", "")


def report(*arguments, to):
    """Runs the program; returns what it wrote to --json. `to`: a folder to write in."""
    path = pathlib.Path(to) / "report.json"
    run(*arguments, "--json", path)
    return json.loads(path.read_text(encoding="utf-8"))


def appears(path, seconds=60):
    """Waits until there is such a file; whether it came in time."""
    deadline = time.monotonic() + seconds
    while not pathlib.Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return pathlib.Path(path).exists()


def save_earlier_result(folder):
    """A folder that the program takes for a result of its own, and may replace."""
    pathlib.Path(folder).mkdir()
    save_file({"an.earlier": torch.ones(2)}, pathlib.Path(folder) / "model.safetensors",
              metadata={"format": "pt", "written_by": "normtweak"})


def save_ids(path, ids, **more):
    save_file({"input_ids": ids.contiguous(), **more}, path)
    return path


def logits(model, ids, to, *options):
    """Logits [samples, tokens, vocabulary] of the program. `to`: a folder to write in."""
    to = pathlib.Path(to)
    run("logits", model, "--tokens", save_ids(to / "ids.safetensors", ids), "-o", to / "logits.safetensors", *options)
    found = load_file(to / "logits.safetensors")
    assert list(found) == ["logits"] and found["logits"].dtype == torch.float32
    return found["logits"]


def tensors(folder):
    """All tensors of a checkpoint, of one file or of several."""
    return {name: tensor for file in sorted(pathlib.Path(folder).glob("*.safetensors"))
            for name, tensor in load_file(file).items()}


def change_tensors(folder, edit):
    """edit: of a name and a tensor, returns what is to stand in its place."""
    path = pathlib.Path(folder) / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({name: edit(name, tensor) for name, tensor in tensors(folder).items()}, path, metadata=metadata)


def file_bytes(folder):
    """Path → content of every file below `folder`."""
    folder = pathlib.Path(folder)
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
