"""The float model as a folder that transformers opens."""
from pathlib import Path


def export_float(run, model, folder):
    """MODEL itself if it is a folder; otherwise exports it to `folder`. run(*arguments) calls normtweak.

    Every linear but one stays as it is: a quantization of nothing is refused.
    """
    if Path(model).is_dir():
        return str(model)
    rule = r"re:(?!model\.layers\.0\.self_attn\.k_proj$).*=skip"
    run("quantize", model, "-o", folder, "--format", "hf", "--store-dtype", "f32", "--rule", rule, "--method", "rtn",
        "--bits", 8, "--group-size", 0, "--tweak", "none", "--samples", 4, "--tokens", 4)
    return str(folder)
