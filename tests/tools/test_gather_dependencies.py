"""gather_dependencies.sh says which Debian packages it misses, in its own words, before it copies anything."""

import os
import pathlib
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).parents[2] / "tools" / "gather_dependencies.sh"
# As Debian's: a word for each package that it knows, on standard output; status 1 if it does not know one.
QUERY = """#!/bin/sh
for name in "$@"; do :; done
case " {absent} " in *" $name "*) echo "dpkg-query: no packages found matching $name" >&2; exit 1;; esac
case " {removed} " in *" $name "*) printf config-files; exit 0;; esac
printf installed
"""


class GatherDependencies(unittest.TestCase):
    def run_with(self, absent: str = "", removed: str = "") -> tuple[subprocess.CompletedProcess, bool]:
        with tempfile.TemporaryDirectory() as folder:
            tools = pathlib.Path(folder, "bin")
            tools.mkdir()
            for name, text in (("dpkg-query", QUERY.format(absent=absent, removed=removed)), ("dpkg", "#!/bin/sh\n")):
                (tools / name).write_text(text, encoding="utf-8")
                (tools / name).chmod(0o755)
            out = pathlib.Path(folder, "out")
            done = subprocess.run(["bash", SCRIPT, out], capture_output=True, text=True, check=False,
                                  env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"})
            return done, out.exists()

    def test_names_what_is_missing_and_how_to_install_it(self):
        for absent, removed in (("libutf8proc-dev", ""), ("", "libutf8proc-dev"), ("libgmock-dev libutf8proc-dev", "")):
            done, began = self.run_with(absent, removed)
            self.assertEqual(done.returncode, 1)
            lines = done.stderr.splitlines()
            self.assertEqual(len(lines), 1, done.stderr)
            # In the order in which the script lists them.
            missing = [name for name in ("libutf8proc-dev", "libgmock-dev") if name in absent + removed]
            self.assertTrue(lines[0].endswith("sudo apt-get install -y " + " ".join(missing)), lines[0])
            self.assertFalse(began)

    def test_an_installed_package_without_its_files_is_said(self):
        done, _ = self.run_with()
        self.assertEqual(done.returncode, 1)
        self.assertIn("CLI/CLI.hpp", done.stderr)


if __name__ == "__main__":
    unittest.main()
