"""A folder of drawn pictures: numbered PNGs, `images.jsonl` with what each was drawn from, a grid, a manifest.

The `sample` stage, the previews of training and the evaluation write the same folder (`publish`), and whoever looks at
pictures reads it (`read`). Each PNG also carries its settings in the text chunk `parameters`, which A1111, Forge and
ComfyUI's extensions read (`parameters`).
"""

from animetune.samples.folder import (
    GRID_NAME,
    INDEX_NAME,
    PAGE_NAME,
    SAMPLES_FORMAT,
    SAMPLES_KIND,
    DrawnPicture,
    Entry,
    finish,
    publish,
    read,
    save_png,
)
from animetune.samples.parameters import parameters_text, read_parameters

__all__ = [
    "GRID_NAME",
    "INDEX_NAME",
    "PAGE_NAME",
    "SAMPLES_FORMAT",
    "SAMPLES_KIND",
    "DrawnPicture",
    "Entry",
    "finish",
    "parameters_text",
    "publish",
    "read",
    "read_parameters",
    "save_png",
]
