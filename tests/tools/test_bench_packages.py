"""Benchmarks name the packages that they lack, in one line, and show help without them."""

import os
import pathlib
import subprocess
import sys
import unittest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"


def run(script: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    bare = [sys.executable, "-B", "-S"]  # without site-packages
    return subprocess.run([*bare, str(script), *arguments], capture_output=True, text=True, check=False, env=environment)


class BenchPackages(unittest.TestCase):
    def test_help_needs_none(self):
        scripts = [path for path in sorted(BENCH.rglob("*.py")) if '"__main__":' in path.read_text(encoding="utf-8")]
        self.assertGreater(len(scripts), 20)
        for script in scripts:
            with self.subTest(script.name):
                done = run(script, "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn(script.name, done.stdout)

    def test_what_is_missing_is_named(self):
        done = run(BENCH / "patch_speed.py", "folder")
        self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1))
        self.assertIn("pip install gguf numpy safetensors xxhash", done.stderr)
        self.assertIn("llama-cpp-python==", run(BENCH / "llama_cpp_logits.py").stderr)


if __name__ == "__main__":
    unittest.main()
