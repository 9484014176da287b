"""docs/pictures.md names every code under which a picture is refused."""

from __future__ import annotations

import re
from pathlib import Path

from animetune.curate.pictures import NO_SIZE
from animetune.pictures import PICTURE_CODES

DOCS = Path(__file__).parents[2] / "docs"


def test_every_code_is_in_the_table_with_its_meaning() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (.+) \|$", (DOCS / "pictures.md").read_text("utf-8"), re.MULTILINE))
    refused = {name: meaning for name, meaning in rows.items() if name in PICTURE_CODES}
    assert refused == PICTURE_CODES
    assert {NO_SIZE, "md5_mismatch"} <= set(rows)
