"""Many calls of the program side by side, and tables of them. What is done is kept, so that a script that was stopped
goes on where it was. Standard library only."""
import collections
import concurrent.futures
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import program

# What results.json keeps of a report, beside the settings.
KEPT_KEYS = ("bits_per_weight", "bits", "method", "tweak", "held_out_samples", "perplexity", "kld", "recovered",
             "evaluations", "lambada", "guard", "rejected", "steps", "training", "seconds", "peak_memory_bytes", "device",
             "dtype", "seed", "version", "figures", "samples", "tokens", "tokens_per_second")
ENDED = "ended, since time was out"  # why there is no report of a run that --end-after ended


def parser(description, samples, tokens, out, seeds=(0, 1, 2)):
    """The arguments of every script that runs jobs; those given here are the defaults. out: as in program.parser()."""
    arguments = program.parser(description, samples, tokens, out)
    arguments.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    arguments.add_argument("--rows", help="data set with one row a line to report on, such as wiki.test.raw")
    arguments.add_argument("--text", help="text file to report on, such as ptb.valid.txt")
    arguments.add_argument("--lambada", help="JSON lines of LAMBADA to report on")
    arguments.add_argument("--max-tokens", type=int, default=65536, help="of each text; 0: all")
    arguments.add_argument("--max-examples", type=int, default=1000, help="of LAMBADA; 0: all")
    arguments.add_argument("--texts", help="folder of calibration texts that scripts share, of one model; default: --out")
    arguments.add_argument("--at-once", type=int, default=1, help="runs side by side, over all GPUs")
    arguments.add_argument("--gpus", type=int, default=1, help="the runs are spread over so many GPUs")
    arguments.add_argument("--memory", help="limit on device memory of each run, such as 20GiB")
    arguments.add_argument("--seconds-left", type=float, help="no run starts after so many seconds")
    arguments.add_argument("--end-after", type=float,
                           help="runs that still go on after so many seconds are ended, and begun anew by the next call")
    return arguments


@dataclasses.dataclass(frozen=True)
class Job:
    """One call of the program."""
    name: str
    folder: Path      # of NAME.json, its report
    arguments: tuple
    needs: tuple      # names of the jobs whose output it reads
    output: Path | None  # what it writes; a model is removed once no job that is left needs it

    @property
    def report(self):
        """Its path."""
        return self.folder / f"{self.name}.json"


class Runs:
    """The jobs of a script, in the order in which they are started as processors are free."""

    def __init__(self, options, grid=()):
        """grid: names of options that say which jobs there are, not how they are run."""
        self.options = options
        self.folder = Path(options.out)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.jobs = {}
        self.failures = {}  # name → why, of jobs that were tried in this call
        self.processes = set()  # those that run
        self.started = time.monotonic()
        self.out_of_time = False
        self.check_settings(grid)

    def check_settings(self, grid):
        """Results of other settings do not belong into the same table."""
        free = {"out", "texts", "program", "device", "at_once", "gpus", "memory", "seconds_left", "end_after", "seeds",
                *grid}
        settings = {key: value for key, value in vars(self.options).items() if key not in free}
        path = self.folder / "settings.json"
        if path.exists() and (earlier := json.loads(path.read_text())) != settings:
            changed = [f"{key}: {earlier.get(key)} there, {value} now" for key, value in settings.items()
                       if earlier.get(key) != value]
            sys.exit(f"{self.folder} has results of other settings ({'; '.join(changed)}): give another --out")
        path.write_text(json.dumps(settings))

    def add(self, name, *arguments, needs=(), output=None, folder=None):
        """A job, once; its name. output: its name in `folder`, which is that of the script by default."""
        if name not in self.jobs:
            folder = folder or self.folder
            output = folder / output if output else None
            given = [*arguments, *(["-o", output] if output else [])]
            self.jobs[name] = Job(name, folder, tuple(map(str, given)), tuple(needs), output)
        return name

    def add_text(self, seed, *arguments, kind="default"):
        """The calibration text of a seed, which is kept: the job's name and file. kind: a name for `arguments`, which
        are options of `generate`."""
        options = self.options
        folder = Path(options.texts or self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"text-{kind}-{options.samples}x{options.tokens}-{seed}"
        self.add(name, "generate", options.model, "--samples", options.samples, "--tokens", options.tokens, "--seed",
                 seed, *arguments, output=f"{name}.safetensors", folder=folder)
        return name, self.jobs[name].output

    def reported(self):
        """Arguments of `quantize` and `tweak` for the figures of the tables."""
        options = self.options
        found = []
        if options.rows:
            found += ["--eval-rows", options.rows]
        if options.text:
            found += ["--eval-text", options.text]
        if found:
            found += ["--max-tokens", options.max_tokens]
        if options.lambada:
            found += ["--eval-lambada", options.lambada, "--max-examples", options.max_examples]
        return found

    def report(self, name):
        """None if the job has not been done."""
        path = self.jobs[name].report
        return json.loads(path.read_text()) if path.exists() else None

    def why_not(self, name):
        """Why there is no report."""
        return self.failures.get(name, "not run yet")

    def run(self):
        """Runs what has not been done, unless time is out. A job that fails does not end the others."""
        self.started = time.monotonic()
        done = {name for name in self.jobs if self.report(name)}
        undone = [job for job in self.jobs.values() if job.name not in done]
        lost = {need for job in undone for need in job.needs if not self.jobs[need].output.exists()}
        waiting = [job for job in self.jobs.values() if job.name not in done or job.name in lost]
        done -= lost
        slots, running, total = list(range(self.options.at_once)), {}, len(waiting)
        with concurrent.futures.ThreadPoolExecutor(self.options.at_once) as pool:
            while True:
                for job in [job for job in waiting if all(need in done for need in job.needs)]:
                    if not slots or not self.may_start():
                        break
                    waiting.remove(job)
                    slot = slots.pop(0)
                    running[pool.submit(self.call, job, slot)] = job, slot
                if not running:
                    break
                for future in self.next_ended(running):
                    job, slot = running.pop(future)
                    slots.append(slot)
                    if future.result():
                        done.add(job.name)
                    left = len(waiting) + len(running)
                    print(f"{time.monotonic() - self.started:5.0f} s  {total - left}/{total} {job.name}"
                          f"{'' if job.name in done else ': ' + self.failures[job.name]}", file=sys.stderr, flush=True)
                self.remove_outputs(done, waiting, running.values())
        self.say_what_is_left(waiting)

    def may_start(self):
        """Whether there is time to begin with something."""
        left = self.options.seconds_left
        return not self.out_of_time and (left is None or time.monotonic() - self.started <= left)

    def say_what_is_left(self, waiting):
        """Also finds out what can never be run, for want of what it reads."""
        for job in waiting:
            if broken := [need for need in job.needs if self.failures.get(need, ENDED) != ENDED]:
                self.failures[job.name] = f"not without {broken[0]}"
        left = [name for name in self.jobs if not self.report(name) and self.failures.get(name, ENDED) == ENDED]
        if left:
            print(f"{len(left)} of {len(self.jobs)} runs are left; the same command goes on with them: {', '.join(left)}",
                  file=sys.stderr)

    def next_ended(self, running):
        """The futures of at least one run that ended by itself, or of all of them after --end-after."""
        first = concurrent.futures.FIRST_COMPLETED
        if self.options.end_after is None:
            return concurrent.futures.wait(running, return_when=first).done
        left = max(0.0, self.started + self.options.end_after - time.monotonic())
        if done := concurrent.futures.wait(running, left, return_when=first).done:
            return done
        self.out_of_time = True
        for process in list(self.processes):
            process.kill()  # SIGTERM would end the training alone, and save
        return concurrent.futures.wait(running).done

    def call(self, job, slot):
        """Whether it succeeded. slot: of --at-once, from 0."""
        options = self.options
        environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // options.at_once))}
        if options.gpus > 1:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(options.gpus)))).split(",")
            environment["CUDA_VISIBLE_DEVICES"] = visible[slot % options.gpus % len(visible)]
        log, part = self.folder / f"{job.name}.log", self.folder / f"{job.name}.part"
        command = [options.program, *job.arguments, "--quiet", "--json", str(part)]
        command += ["--device", options.device] if options.device else []
        command += ["--memory", options.memory] if options.memory else []
        with open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
            self.processes.add(process)
            code = process.wait()
            self.processes.remove(process)
        if code == 0:
            part.rename(job.report)
            log.unlink()
            return True
        if self.out_of_time:
            if job.output:
                remove(job.output)
                remove(job.output.with_name(f"{job.output.name}.untouched"))
            self.failures[job.name] = ENDED
            return False
        said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        self.failures[job.name] = f"{said[-1].removeprefix('normtweak: ')[:300]} (exit status {code})"
        return False

    def remove_outputs(self, done, waiting, running):
        """Models that nothing will read any more; a text stays, since it is small and took long."""
        needed = {need for job in [*waiting, *(job for job, _ in running)] for need in job.needs}
        for job in self.jobs.values():
            if job.name in done and job.name not in needed and job.output and job.output.suffix != ".safetensors":
                remove(job.output)

    def write_results(self):
        """All runs in results.json, with what tables are made from."""
        found = []
        for job in self.jobs.values():
            report = self.report(job.name)
            run = {"name": job.name, "arguments": list(job.arguments)}
            if report is None:
                found.append(run | {"failure": self.why_not(job.name)})
                continue
            kept = {key: report[key] for key in KEPT_KEYS if key in report}
            kept.get("guard", {}).pop("candidates", None)
            found.append(run | {"report": kept})
        results = {"options": vars(self.options), "runs": found}
        (self.folder / "results.json").write_text(json.dumps(results, indent=1, default=str))


def remove(path):
    """A folder of files, or a file. Missing is fine."""
    if path.is_dir():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    elif path.exists():
        path.unlink()


@dataclasses.dataclass(frozen=True)
class Column:
    """A figure of reports of `quantize` and `tweak`."""
    title: str
    digits: int
    value: object  # of a report and a state ("float", "quantized" or "tweaked") to a number, or None if it has none


def of_text(index, key):
    return lambda report, state: report["evaluations"][index][key].get(state, 0)


def of_lambada(report, state):
    return 100 * report["lambada"][state]["accuracy"]


def held_out(report, state):
    return report["kld"].get(state, 0)


def seconds(report, state):
    return None if state == "float" else report["seconds"].get({"quantized": "quantize", "tweaked": "tweak"}[state])


def columns(options):
    """Of the texts that are reported on. Texts are in the order of Runs.reported()."""
    found = []
    for name, path in (("rows", options.rows), ("text", options.text)):
        if path:
            index = len(found) // 2
            title = Path(path).name
            found += [Column(title, 2, of_text(index, "perplexity")), Column("KLD", 4, of_text(index, "kld"))]
    if options.lambada:
        found.append(Column("LAMBADA %", 2, of_lambada))
    return [*found, Column("held-out KLD", 4, held_out), Column("seconds", 0, seconds)]


def spread(values, digits):
    """Mean ± standard deviation over seeds; of one, the value."""
    values = [value for value in values if value is not None]
    if not values:
        return ""
    text = f"{statistics.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.{digits}f}"


class Table:
    """Markdown, a row for a state of runs that differ in the seed."""

    def __init__(self, runs, labels, more=()):
        """labels: titles of the columns that name a row. more: columns besides those of the texts."""
        self.runs = runs
        self.columns = [*columns(runs.options), *more]
        self.width = len(labels) + len(self.columns) + 2
        titles = [*labels, *(column.title for column in self.columns), "bits a weight", "note"]
        print("| " + " | ".join(titles) + " |\n|" + "-|" * self.width)

    def row(self, labels, names, state, note=lambda report: ""):
        """names: of the jobs of each seed. A run that is not there is said to be missing, and why."""
        reports = [report for name in names if (report := self.runs.report(name)) is not None]
        reasons = collections.Counter(self.runs.why_not(name) for name in names if self.runs.report(name) is None)
        missing = [reason if count == len(names) else f"{count} of {len(names)} seeds: {reason}"
                   for reason, count in reasons.items()]
        cells = [spread([column.value(report, state) for report in reports], column.digits) for column in self.columns]
        bits = "" if state == "float" else spread([report["bits_per_weight"] for report in reports][:1], 2)
        notes = sorted({text for report in reports if (text := note(report))})
        print("| " + " | ".join([*labels, *cells, bits, "; ".join([*notes, *missing]).replace("|", "/")]) + " |")

    def float_row(self, labels, names):
        """Of the float model, from the first of these jobs that has a report."""
        found = [name for name in names if self.runs.report(name) is not None][:1]
        if found:
            self.row(labels, found, "float")


def verdict(report):
    """What the guard says of a tweak: what it kept, or of an unguarded one what it would have."""
    guard = report["guard"]
    if guard["kept"] == "untouched":
        return "guard kept: untouched"
    return "" if guard["accepted"] else "the guard would have rejected it"
