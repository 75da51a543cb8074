"""The demo, with a stand-in for the program that writes down how it was called."""

import contextlib
import io
import json
import os
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

import demo

STAND_IN = f"""#!{sys.executable}
import json, pathlib, sys
arguments = sys.argv[1:]
def value(option):
    return arguments[arguments.index(option) + 1]
with pathlib.Path(__file__).with_name("calls").open("a") as file:
    file.write(json.dumps(arguments) + "\\n")
if "broken" in arguments:
    sys.exit("normtweak: broken: no such model")
figures = {{"version": "0.1.0"}}
if arguments[0] == "sample":
    models = arguments[1:arguments.index("--prompt")]
    figures["samples"] = [{{"model": model, "text": f" of\\n{{pathlib.Path(model).name}}"}} for model in models]
if arguments[0] == "quantize":
    bits = int(value("--bits"))
    untouched = 12.0 if "gptq" not in arguments and "rtn" not in arguments else 14.0 if "gptq" in arguments else 20.0
    perplexity = {{"float": 10.0, "quantized": untouched, "tweaked": 10.5}}
    kld = {{"quantized": untouched / 100, "tweaked": 0.05}}
    figures |= {{"bits": bits, "bits_per_weight": bits + 0.5, "perplexity": perplexity, "kld": kld,
                "seconds": {{"quantize": 61.2, "tweak": 20.0, "total": 90.0}}}}
    if "--rows" in arguments:
        figures["evaluations"] = [{{"name": value("--rows"), "tokens_scored": 8188, "kld": kld,
                                   "perplexity": perplexity | {{"protocol": "gptq", "tweaked": 13.0}}}}]
pathlib.Path(value("--json")).write_text(json.dumps(figures))
"""


class Demo(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.program = self.folder / "normtweak"
        self.program.write_text(STAND_IN, encoding="utf-8")
        self.program.chmod(0o755)
        self.out = self.folder / "demo"

    def run_demo(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        printed = io.StringIO()
        with mock.patch.dict(os.environ, environment or {}, clear=True), contextlib.redirect_stdout(printed):
            demo.main([*arguments, "--program", str(self.program), "--out", str(self.out)])
        return printed.getvalue()

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text(encoding="utf-8").splitlines()]

    def report(self) -> dict:
        return json.loads((self.out / "report.json").read_text(encoding="utf-8"))

    def test_climbs_the_ladder_and_reports(self):
        printed = self.run_demo("model.gguf", environment={"SAMPLES": "7"})
        generate, *quantize, sample = self.calls()
        self.assertEqual(generate[:2], ["generate", "model.gguf"])
        self.assertEqual(generate[generate.index("--samples") + 1], "7")
        self.assertEqual(generate[generate.index("--tokens") + 1], str(demo.TOKENS))
        self.assertEqual([call[call.index("--bits") + 1] for call in quantize], ["3", "3", "3"])
        self.assertEqual(["--tweak" in call for call in quantize], [True, True, False])
        self.assertNotIn("--rows", quantize[0])
        self.assertEqual(sample[1:4], ["model.gguf", str(self.out / "rung-3-0"), str(self.out / "smollm2-3bit")])
        self.assertEqual(self.report()["version"], "0.1.0")
        run, = self.report()["runs"]
        self.assertEqual((run["bits"], run["perplexity"]["tweaked"]), (3, 10.5))
        self.assertEqual([(step["name"], step["perplexity"], step["seconds"]) for step in run["ladder"]],
                         [("round to nearest", 20.0, 61.2), ("GPTQ as published", 14.0, 61.2),
                          ("this program's GPTQ", 12.0, 61.2), ("tweaked", 10.5, 81.2)])
        self.assertEqual(run["sentences"]["tweaked"], f"{demo.PROMPT} of smollm2-3bit")
        self.assertTrue(printed.startswith("calibration: 7 samples of"))
        self.assertRegex(printed, r"Measured on held-out text that the model wrote:\n3 bits \(3\.50 a weight\) ")
        self.assertRegex(printed, r"\ntweaked +10\.50 +0\.050 +81\n")
        self.assertRegex(printed, r"\nround to nearest: The old .* of rung-3-0\n")

    def test_climbs_one_ladder_a_width(self):
        self.run_demo("model.gguf", environment={"BITS": "4 2"})
        self.assertEqual([run["bits"] for run in self.report()["runs"]], [4, 2])
        self.assertEqual([len(run["ladder"]) for run in self.report()["runs"]], [4, 4])

    def test_measures_on_the_test_data_where_there_is_some(self):
        text = self.folder / "wikitext-2-raw" / "wiki.test.raw"
        text.parent.mkdir()
        text.touch()
        printed = self.run_demo("model.gguf", "--max-tokens", "99", environment={"NORMTWEAK_TEST_DATA": str(self.folder)})
        call = self.calls()[1]
        self.assertEqual(call[call.index("--rows") + 1:call.index("--rows") + 4], [str(text), "--max-tokens", "99"])
        self.assertIn("Measured on WikiText-2 (first 8188 tokens):", printed)
        self.assertEqual(self.report()["runs"][0]["ladder"][-1]["perplexity"], 13.0)

    def test_other_text_goes_by_its_name(self):
        printed = self.run_demo("model.gguf", environment={"ROWS": "poems.txt"})
        self.assertIn("poems.txt (first 8188 tokens)", printed)

    def test_stops_at_a_failure_and_keeps_the_old_report(self):
        self.run_demo("model.gguf")
        before = self.report()
        with self.assertRaises(SystemExit) as stopped:
            self.run_demo("broken")
        self.assertIn("generate ended with status 1", str(stopped.exception))
        self.assertEqual(self.report(), before)


if __name__ == "__main__":
    unittest.main()
