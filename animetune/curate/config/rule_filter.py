"""The filter `rule`: limits and lists of values for any column of the table."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Literal

import pydantic

from animetune.curate.config.filter_model import KnownFilter, Phase
from animetune.records import PICTURE_COLUMNS, POST_COLUMNS, TABLE_COLUMNS

Value = bool | int | float | str | None
Values = Annotated[tuple[Value, ...], pydantic.Field(min_length=1)]
Limit = Annotated[float, pydantic.Field(allow_inf_nan=False)]

_BY_PHASE: dict[Phase, tuple[str, ...]] = {
    "tags": tuple(column.name for column in TABLE_COLUMNS if column.name.startswith("tags_")),
    "picture": ("image", "mask", *(column.name for column in PICTURE_COLUMNS)),
    "classes": ("quality", "aesthetic", "year"),
    "content": ("content_bucket", "content_reason", "content_conflict"),
}
DECIDED_LATER = ("style_class", "repeats", "loss_weight", "split")
"""Columns of the table that no filter can look at: they are decided about what the filters left."""
COLUMN_PHASE: dict[str, Phase] = {
    **{column.name: "post" for column in POST_COLUMNS},
    **{name: phase for phase, names in _BY_PHASE.items() for name in names},
}
"""Column -> when it is known."""
_DTYPES = {column.name: column.dtype for column in TABLE_COLUMNS}
_PYTHON_TYPES: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "list[str]": (str, "text"),
    "bool": (bool, "true or false"),
    "i64": (int, "a whole number"),
    "i32": (int, "a whole number"),
}


class RuleFilter(KnownFilter):
    """Drop rows by any column of the table: below `min`, above `max`, none of `any_of`, or one of `none_of`.

    Of a list, `min` and `max` limit the number of its items, and its items are looked for in `any_of` and `none_of`.
    """

    name: Literal["rule"]
    column: str
    """A column of the table (`animetune/records.py` lists them with their meaning)."""
    min: Limit | None = None
    """The lowest number that stays."""
    max: Limit | None = None
    """The highest number that stays."""
    any_of: Values | None = None
    """The values that stay; null stands for unknown."""
    none_of: Values | None = None
    """The values that do not stay; null stands for unknown."""

    @pydantic.field_validator("column")
    @classmethod
    def _can_be_filtered(cls, column: str) -> str:
        if column in COLUMN_PHASE:
            if _DTYPES[column] == "datetime":
                raise ValueError(f"{column} is a time: use the filter `dates`")
            return column
        known = [name for name in COLUMN_PHASE if _DTYPES[name] != "datetime"]
        if column in DECIDED_LATER:
            raise ValueError(f"{column} is decided after the last filter; a rule may name {', '.join(known)}")
        close = difflib.get_close_matches(column, known, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{column!r} is no column of the table, which has {', '.join(known)}{meant}")

    @pydantic.model_validator(mode="after")
    def _fits_the_column(self) -> RuleFilter:
        if self.column not in COLUMN_PHASE:
            return self
        dtype = _DTYPES[self.column]
        has_limits = self.min is not None or self.max is not None
        if not has_limits and self.any_of is None and self.none_of is None:
            raise ValueError("drops nothing: give min, max, any_of or none_of")
        if has_limits and dtype in ("str", "bool"):
            what = "text" if dtype == "str" else "true or false"
            raise ValueError(f"{self.column} is {what}, without min and max: give any_of or none_of")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: nothing would stay")
        for field, values in (("any_of", self.any_of), ("none_of", self.none_of)):
            _check_values(f"{field} of {self.column}", values or (), dtype)
        return self

    @property
    def is_of_list(self) -> bool:
        """Whether the column holds lists."""
        return _DTYPES[self.column] == "list[str]"


def _check_values(where: str, values: Sequence[Value], dtype: str) -> None:
    if dtype not in _PYTHON_TYPES and any(value is not None for value in values):
        raise ValueError(f"{where}: fractions are seldom equal: give min and max")
    for value in values:
        if value is None and dtype != "list[str]":
            continue
        kind, words = _PYTHON_TYPES[dtype]
        if type(value) is not kind:
            raise ValueError(f"{where}: {value!r} should be {words}")
