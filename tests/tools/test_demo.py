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
if arguments[0] == "quantize":
    bits = int(value("--bits"))
    perplexity = {{"float": 10.0, "quantized": 12.0, "tweaked": 10.5}}
    kld = {{"quantized": 0.2, "tweaked": 0.05}}
    figures |= {{"bits": bits, "bits_per_weight": bits + 0.5, "perplexity": perplexity, "kld": kld,
                "seconds": {{"total": 61.2}}}}
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

    def test_calls_the_program_and_reports(self):
        printed = self.run_demo("model.gguf", environment={"SAMPLES": "7"})
        generate, *quantize = self.calls()
        self.assertEqual(generate[:2], ["generate", "model.gguf"])
        self.assertEqual(generate[generate.index("--samples") + 1], "7")
        self.assertEqual(generate[generate.index("--tokens") + 1], str(demo.TOKENS))
        self.assertEqual([call[call.index("--bits") + 1] for call in quantize], ["4", "3"])
        self.assertNotIn("--rows", quantize[0])
        self.assertEqual(self.report()["version"], "0.1.0")
        self.assertEqual([run["bits"] for run in self.report()["runs"]], [4, 3])
        self.assertTrue(printed.startswith("calibration: 7 samples of"))
        self.assertRegex(printed, r"4 +4\.50 +held-out text that the model wrote +10\.000 +12\.000 +10\.500 .* 75% +61\n")

    def test_measures_on_the_test_data_where_there_is_some(self):
        text = self.folder / "wikitext-2-raw" / "wiki.test.raw"
        text.parent.mkdir()
        text.touch()
        printed = self.run_demo("model.gguf", "--max-tokens", "99", environment={"NORMTWEAK_TEST_DATA": str(self.folder)})
        self.assertEqual(self.calls()[1][-4:], ["--rows", str(text), "--max-tokens", "99"])
        self.assertRegex(printed, r"WikiText-2 \(first 8188 tokens\) +10\.000 +12\.000 +13\.000 .* -50% ")

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
