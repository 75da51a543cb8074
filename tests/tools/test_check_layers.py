"""check_layers finds planted includes that go up, sideways or out, and says nothing about those that go down."""

import pathlib
import tempfile
import unittest

import check_layers


class CheckLayers(unittest.TestCase):
    def check(self, file: str, text: str) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, file)
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
            return check_layers.check(pathlib.Path(folder))

    def test_lower_layers_and_the_own_one_are_allowed(self):
        text = '#include "normtweak/tweak/guard.h"\n#include <vector>\n#include "normtweak/base/error.h"\n'
        self.assertEqual(self.check("tweak/guard.cpp", text), [])
        self.assertEqual(self.check("base/json/json.cpp", '#include "normtweak/base/files/file.h"\n'), [])
        self.assertEqual(self.check("base/error.cpp", '#include "normtweak/base/strings/one_line.h"\n'), [])

    def test_includes_that_break_a_rule(self):
        cases = [
            ("weights/a.h", '#include "normtweak/formats/safetensors.h"', "formats/ is above weights/"),
            ("base/a.cpp", '#  include "normtweak/cli/main.h"', "cli/ is above base/"),
            ("model/families/a.cpp", '#include <normtweak/quantize/rtn.h>', "quantize/ is above model/"),
            ("tweak/a.cpp", '#include "normtweak/formats/gguf.h"', "tweak/ knows no format"),
            ("quantize/a.cpp", '#include "normtweak/formats/gguf.h"', "quantize/ does not save"),
            ("weights/a.cpp", '#include "normtweak/base/files/file.h"', "weights/ reads no file"),
            ("report/a.cpp", "#include <iostream>", "only cli/ talks"),
            ("text/a.cpp", '#include "utf8.h"', "from the root"),
            ("text/a.cpp", '#include "normtweak/txet/utf8.h"', "no layer txet"),
            ("extra/a.cpp", "", "no layer extra"),
            ("base/device/a.cpp", '#include "normtweak/base/files/file.h"', "base/files/ is above base/device/"),
            ("text/a.cpp", '#include "normtweak/base/odd/a.h"', "no layer base/odd"),
            ("base/odd/a.cpp", "", "no layer base/odd"),
        ]
        for file, text, why in cases:
            with self.subTest(file=file, text=text):
                found = self.check(file, f"// first line\n{text}\n")
                self.assertEqual(len(found), 1)
                self.assertIn(why, found[0])
                self.assertIn(file if not text else f"{file}:2:", found[0])

    def test_the_command_line_may_print(self):
        self.assertEqual(self.check("cli/main.cpp", '#include <iostream>\n#include "normtweak/report/json.h"\n'), [])


if __name__ == "__main__":
    unittest.main()
