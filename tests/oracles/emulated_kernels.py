"""The text of a CUDA kernel as a function on a CPU (support/emulated_cuda.h)."""
import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]


def kernel(folder, file, name):
    """A function that takes the number of blocks and then the kernel's parameters, arrays and numbers. The test is
    skipped without g++."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    texts = re.findall(r'R"\((.*?)\)"', (ROOT / "src/normtweak" / file).read_text(), re.S)
    text = next(each for each in texts if f"void {name}(" in each)
    declared = re.search(rf"void {name}\((.*?)\)", text, re.S)[1].split(",")
    types = [re.sub(r"\w+$", "", each).strip() for each in declared]
    numbered = ", ".join(f"{kind} p{i}" for i, kind in enumerate(types))
    names = ", ".join(f"p{i}" for i in range(len(types)))
    source = folder / f"{name}.cpp"
    source.write_text(f'#include "support/emulated_cuda.h"\n{text}\nextern "C" void emulated(int blocks, {numbered}) {{\n'
                      f"  emulated_launch(blocks, [=] {{ {name}({names}); }});\n}}\n")
    library = folder / f"{name}.so"
    subprocess.run(["g++", "-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-pthread", "-I", ROOT / "tests", source, "-o",
                    library], check=True)
    function = ctypes.CDLL(str(library)).emulated
    function.restype = None
    numbers = {"float": ctypes.c_float, "int": ctypes.c_int, "long long": ctypes.c_longlong,
               "unsigned int": ctypes.c_uint}
    function.argtypes = [ctypes.c_int, *(numbers.get(kind, ctypes.c_void_p) for kind in types)]

    def launch(blocks, *arguments):
        function(blocks, *(each.ctypes.data if isinstance(each, numpy.ndarray) else each for each in arguments))

    return launch
