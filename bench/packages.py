"""The packages that a benchmark needs besides the standard library: a missing one is named, with what installs it."""
import importlib.util
import sys
from pathlib import Path

# What pip calls those whose modules have other names, or of which a benchmark needs a certain version.
NAMES = {"compressed_tensors": "compressed-tensors", "llama_cpp": "llama-cpp-python==0.3.36",
         "llmcompressor": "llmcompressor==0.14", "lm_eval": "'lm_eval[hf]==0.4.13'"}


def need(*modules):
    """Ends the script with one line if some are not installed; if help was asked for, with what the script says of itself.

    To be called before they are imported.
    """
    missing = [NAMES.get(module, module) for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(sys.modules["__main__"].__doc__.strip())
        sys.exit(0)
    sys.exit(f"{Path(sys.argv[0]).name}: {len(missing)} of its packages missing; install: pip install {' '.join(missing)}")
