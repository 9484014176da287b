"""Configuration: one pydantic model per YAML file, mirrored one to one."""

from __future__ import annotations

import pydantic


class StrictModel(pydantic.BaseModel):
    """Base of every configuration: frozen, unknown keys are errors, attribute docstrings are the help."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
