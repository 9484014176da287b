"""The probe of how well prompts are followed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.evaluate.config.asked import AskedProbe


class AdherenceConfig(AskedProbe):
    """How much of a prompt a picture follows, by questions to a vision model (DPG-Bench)."""

    name: Literal["adherence"]
    set: Literal["comics", "dpg"] = "comics"
    """`comics`, the prompts about comics that come with animetune, or `dpg`, the files that `questions` and `prompts`
    name, in the format of DPG-Bench."""
    questions: Path | None = None
    """Of `dpg`: a CSV with the columns of dpg_bench.csv; a row a question, with those that it depends on."""
    prompts: Path | None = None
    """Of `dpg`: the folder of <item_id>.txt; null takes the prompts from the column `text`."""
    replace: Literal[False] = False
    """Not for this probe: `questions` stands for the whole set."""
    prefixed: bool = True
    """Put the stage's `prefix` before the prompts. DPG-Bench's own scores are of prompts without one."""
    crop: Literal["2x2"] | None = None
    """Pictures are grids of four pictures of one prompt, as DPG-Bench has them; each quarter is asked about. Only for
    models whose `pictures` are given."""
    unanswered: Literal["leave_out", "no"] = "leave_out"
    """A question without yes or no is in no number, or counts as no."""
    controls: Annotated[int, pydantic.Field(ge=0, le=100)] = 0
    """Ask so many questions about things of other prompts, too. They should be answered no: a vision model that says
    yes to many flatters all pictures."""
    mistakes: Literal["refuse", "leave_out"] = "refuse"
    """Prompts whose questions go in a circle, depend on one that is not there, or are there twice."""
    compat: bool = False
    """Totals by the published script's own rules, its oddities included, beside ours; docs/evaluate-adherence.md."""

    @pydantic.model_validator(mode="after")
    def _has_its_files(self) -> AdherenceConfig:
        if self.set == "dpg" and self.questions is None:
            raise ValueError("questions: is missing; set: dpg needs the CSV of questions")
        if self.set == "comics" and (self.questions or self.prompts):
            raise ValueError("set: comics comes with its prompts and questions; for your own write set: dpg")
        return self
