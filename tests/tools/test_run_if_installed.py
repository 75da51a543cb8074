"""run_if_installed runs the command where everything is installed, and else says what is missing."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import run_if_installed


class RunIfInstalled(unittest.TestCase):
    def run_with(self, requirements: str) -> subprocess.CompletedProcess:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "requirements-test.txt")
            file.write_text(requirements, encoding="utf-8")
            command = [sys.executable, run_if_installed.__file__, str(file), "sh", "-c", "echo ran; exit 3"]
            return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_passes_on_output_and_status(self):
        done = self.run_with("# nothing\n\n")
        self.assertEqual((done.stdout, done.returncode), ("ran\n", 3))

    def test_names_what_is_missing(self):
        done = self.run_with("no-such-package-a==1\nno-such-package-b>=2 # why\n")
        self.assertEqual(done.returncode, run_if_installed.SKIPPED)
        self.assertIn("has no no-such-package-a, no-such-package-b", done.stdout)
        self.assertNotIn("ran", done.stdout)


if __name__ == "__main__":
    unittest.main()
