#!/usr/bin/env python3
"""Compares `normtweak eval` with lm_eval on one model and the same local files: figures and seconds.

    bench/compare_lm_eval.py [--model FOLDER] [--rows 40] [--data FOLDER] [--threads 1] [--batch 8]
                             [--longer 5]

Without --model, that is a random tiny LLaMA with a tokenizer trained here. Rows of multiple choice are random words in
the fields of each data set; with --data, the folder that NORMTWEAK_TEST_DATA names, LAMBADA and WikiText-2 are real
ones. Needs lm_eval 0.4.13 with its `hf` models. Tasks are lm_eval's own files, with the data set replaced by a local
one. Seconds are those of the calls in which lm_eval tokenizes and scores, and of the whole program, from its start to
its end; in brackets those of seconds.evaluate. The start takes longer than the work on a tiny model.
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracles"))
os.environ.setdefault("NORMTWEAK", str(ROOT / "build" / "normtweak"))
os.environ.update(HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1", TQDM_DISABLE="1")

import packages

packages.need("lm_eval", "safetensors", "tokenizers", "torch", "transformers")

import choice_rows  # noqa: E402: these read the environment
import cli_models  # noqa: E402
import lm_eval  # noqa: E402
import torch  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402


class TimedModel(HFLM):
    """Counts the seconds of its work, without lm_eval's own."""
    seconds = 0.0
    clock = staticmethod(time.perf_counter)

    def timed(self, work, *arguments, **named):
        start = self.clock()
        result = work(*arguments, **named)
        self.seconds += self.clock() - start
        return result

    def loglikelihood(self, *arguments, **named):
        return self.timed(super().loglikelihood, *arguments, **named)

    def loglikelihood_rolling(self, *arguments, **named):
        return self.timed(super().loglikelihood_rolling, *arguments, **named)


METRICS = {"acc,none": "acc", "acc_norm,none": "acc_norm", "perplexity,none": "perplexity",
           "word_perplexity,none": "word_perplexity", "byte_perplexity,none": "byte_perplexity",
           "bits_per_byte,none": "bits_per_byte"}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def random_model(folder):
    cli_models.save_with_tokenizer(cli_models.llama(), folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>"}))
    return folder


def wikitext_pages(text):
    """Those of EleutherAI/wikitext_document_level: a page begins at a heading with one sign on either side."""
    found, page = [], []
    for line in text.split("\n"):
        heading = line.replace("= = =", "===").replace("= =", "==").strip()
        if heading.startswith("= ") and heading.endswith(" ="):
            found.append("\n".join(page))
            page = []
        page.append(line)
    return [one for one in [*found, "\n".join(page)] if one.strip()]


def write_data(folder, options):
    """Name of lm_eval's task → its file; and the text of WikiText."""
    files = {}
    for name in choice_rows.FORMATS:
        files[name] = folder / f"{name}.jsonl"
        write_lines(files[name], [row for row, *_ in choice_rows.examples(name, options.rows)])
    for flavour in ("openai", "standard"):
        files[f"lambada_{flavour}"] = folder / f"lambada_{flavour}.jsonl"
        texts = [cli_models.text(9 + 5 * i % 40, seed=i).strip() for i in range(options.rows)]
        if options.data:
            real = (options.data / "lambada" / "lambada_test.jsonl").read_text(encoding="utf-8")
            texts = [json.loads(line)["text"] for line in real.split("\n")[:options.rows] if line]
        write_lines(files[f"lambada_{flavour}"], [{"text": text} for text in texts])
    wiki = "\n".join([" ", *(f" = {cli_models.text(2, seed=i).strip()} = \n \n{cli_models.text(400, seed=i)} \n"
                             for i in range(4))])
    if options.data:
        wiki = (options.data / "wikitext-2-raw" / "wiki.test.raw").read_text(encoding="utf-8")
        if options.pages:
            wiki = "\n".join(wikitext_pages(wiki)[:options.pages]) + "\n"
    (folder / "wiki.raw").write_text(wiki, encoding="utf-8")
    files["wikitext"] = folder / "wikitext.jsonl"
    write_lines(files["wikitext"], [{"page": page} for page in wikitext_pages(wiki)])
    return files, folder / "wiki.raw"


def task_files(folder, files):
    """lm_eval's tasks with another source of data, under names of their own."""
    folder.mkdir()
    shipped = pathlib.Path(lm_eval.__file__).parent / "tasks"
    for name, file in files.items():
        base = next(path for path in shipped.rglob("*.yaml") if f"\ntask: {name}\n" in f"\n{path.read_text()}\n")
        (folder / f"{name}.yaml").write_text(
            f"include: {base}\ntask: local_{name}\ndataset_path: json\ndataset_name: null\ntag: null\n"
            f"dataset_kwargs:\n  data_files:\n    test: {file}\n"
            "training_split: null\nvalidation_split: null\ntest_split: test\n", encoding="utf-8")
    return folder


def theirs(model, names, options):
    lm = TimedModel(pretrained=str(model), dtype="float32", device="cpu", batch_size=options.batch)
    if options.cpu_time:
        lm.clock = time.process_time
    found = lm_eval.simple_evaluate(model=lm, tasks=[f"local_{name}" for name in names], bootstrap_iters=0,
                                    task_manager=options.manager)
    return {(name, METRICS[metric]): value for name in names for metric, value in
            found["results"][f"local_{name}"].items() if metric in METRICS}, lm.seconds


def children_seconds():
    """CPU time of all programs that were run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(model, files, wiki, names, folder, options):
    words = []
    for name in names:
        words += ["--text", wiki, "--protocol", "lm-eval"] if name == "wikitext" else ["--task", f"{name}={files[name]}"]
    report = folder / "report.json"
    clock = children_seconds if options.cpu_time else time.perf_counter
    start = clock()
    subprocess.run([os.environ["NORMTWEAK"], "eval", model, *words, "--device", "cpu", "--quiet", "--json", report,
                    "--threads", str(options.threads)], check=True)
    whole = clock() - start
    found = json.loads(report.read_text(encoding="utf-8"))
    rename = {"perplexity/lm-eval": "wikitext"}
    return {(rename.get(figure["task"], figure["task"]), figure["metric"]): (figure["value"], figure["count"])
            for figure in found["figures"]}, found["seconds"]["evaluate"], whole


def one_run(model, tasks, files, wiki, names, folder, options):
    """Seconds of each program for all tasks at once, from its start to its end."""
    clock = children_seconds if options.cpu_time else time.perf_counter
    start = clock()
    subprocess.run([sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32",
                    "--device", "cpu", "--batch_size", str(options.batch), "--include_path", tasks, "--tasks",
                    ",".join(f"local_{name}" for name in names)], check=True, stdout=subprocess.DEVNULL,
                   env=os.environ | {"OMP_NUM_THREADS": str(options.threads)})
    slow = clock() - start
    *_, fast = ours(model, files, wiki, names, folder, options)
    print(f"all in one run: {slow:.2f} {fast:.2f}, {slow / fast:.1f} times as fast")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--longer", type=int, default=1, help="times as many words in each field of multiple choice")
    parser.add_argument("--pages", type=int, default=0, help="of WikiText, from its start; 0: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8, help="rows per pass of lm_eval")
    parser.add_argument("--cpu-time", action="store_true", help="instead of elapsed seconds, where other work runs beside")
    parser.add_argument("--tasks", nargs="+", help="some of them alone, by lm_eval's names")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    choice_rows.LONGER = options.longer
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = options.model or random_model(folder / "model")
        files, wiki = write_data(folder, options)
        names = options.tasks or list(files)
        tasks = task_files(folder / "tasks", {name: files[name] for name in names})
        options.manager = TaskManager(include_path=str(tasks))
        print(f"{'task':18} {'metric':16} {'lm_eval':>14} {'normtweak':>14}   seconds: lm_eval, normtweak; times as fast")
        for task in names:
            expected, slow = theirs(model, [task], options)
            found, fast, whole = ours(model, files, wiki, [task], folder, options)
            for (_, metric), value in expected.items():
                own, count = found[task, metric]
                room = 1 / count if metric.startswith("acc") else 1e-3 * abs(value)
                wrong = abs(own - value) > room * (1 + 1e-9)
                failures += wrong
                print(f"{task:18} {metric:16} {value:14.6f} {own:14.6f} {'differs' if wrong else ''}"
                      f"   {slow:.2f} {whole:.2f} ({fast:.2f}) {slow / whole:.1f} ({slow / fast:.1f})", flush=True)
        one_run(model, tasks, files, wiki, names, folder, options)
    sys.exit(f"{failures} figures differ" if failures else 0)


if __name__ == "__main__":
    main()
