"""Which content bucket a picture is in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import pydantic

from animetune.config import StrictModel
from animetune.curate.tag.tag_lists import NAMES
from animetune.curate.tag.tag_names import NamedTag
from animetune.records import CONTENT_BUCKETS

LIST = "list:"
"""Begins the name of a list of the vocabulary, where tags are given."""
PEOPLE = ("girls", "boys", "others", "people")
"""Whom a comparison of `count` can be about; `people` are all of them."""
BucketName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
_COMPARISON = re.compile(rf"({'|'.join(PEOPLE)})\s*(>=|<=|==|!=|>|<)\s*([0-9]{{1,3}})")


class Comparison(NamedTuple):
    """`girls >= 2`, in parts."""

    who: str
    """One of PEOPLE."""
    operator: str
    """`>=`, `<=`, `==`, `!=`, `>` or `<`."""
    number: int

    @classmethod
    def parse(cls, text: str) -> list[Comparison]:
        """The comparisons of a text such as `girls >= 2, boys == 0`. ValueError for anything else."""
        matches = [(part, _COMPARISON.fullmatch(part.strip())) for part in text.split(",")]
        for part, match in matches:
            if match is None:
                raise ValueError(
                    f"{part.strip()!r} should be a comparison such as 'girls >= 2' of {', '.join(PEOPLE)}; several are "
                    "parted by commas"
                )
        return [cls(match[1], match[2], int(match[3])) for _, match in matches if match is not None]


class BucketRule(StrictModel):
    """A content bucket of your own: a picture is in it when all that is given here holds."""

    name: BucketName
    """The bucket; one of the nine has this rule in place of its own."""
    any: tuple[NamedTag, ...] = ()
    """The picture has at least one of these tags, of whatever class. `*` stands for any text, `list:animal` for the
    tags of that list of the vocabulary."""
    all: tuple[NamedTag, ...] = ()
    """The picture has each of these; of a list or a pattern, at least one tag."""
    none: tuple[NamedTag, ...] = ()
    """The picture has none of these."""
    count: str | None = None
    """The people that its count tags state, as in `girls >= 2, boys == 0`: girls, boys, others, or people for all of
    them. `6+girls` are 6, `multiple_girls` 2."""

    @pydantic.field_validator("count")
    @classmethod
    def _compares(cls, count: str | None) -> str | None:
        if count is not None:
            Comparison.parse(count)
        return count

    @pydantic.field_validator("any", "all", "none")
    @classmethod
    def _lists_exist(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        for name in (tag.removeprefix(LIST) for tag in tags if tag.startswith(LIST)):
            if name not in NAMES:
                raise ValueError(f"{LIST}{name}: the vocabulary has the lists {', '.join(NAMES)}{_like(name, NAMES)}")
        return tags

    @pydantic.model_validator(mode="after")
    def _says_something(self) -> BucketRule:
        if not (self.any or self.all or self.none or self.count):
            raise ValueError(
                f"{self.name} would hold every picture; give any, all, none or count. For those that are in no other "
                f"bucket, write content.fallback: {self.name}"
            )
        return self


class ContentConfig(StrictModel):
    """Which content bucket a picture is in: the first of `priority` whose rule holds."""

    priority: tuple[str, ...] = (
        "animal", "object", "no_human",
        "1girl_with_emotion", "1girl_only", "1boy_with_emotion", "1boy_only", "multiple_girls", "multiple_boys",
    )  # fmt: skip
    """Content buckets, first to last: of the nine of DashAnime XL, and those of `buckets`, which come first unless this
    is given. A picture for which none of them holds is dropped as `unassigned`, unless there is a `fallback`."""
    buckets: tuple[BucketRule, ...] = ()
    """Content buckets of your own, by rule."""
    fallback: BucketName | None = None
    """The bucket of pictures for which no rule holds, such as those without tags of people; null: they are dropped."""
    emotion: Literal["strong", "any"] = "strong"
    """Which tags show an emotion: `strong` (smile, crying ...), or `any`, with weak ones (blush, parted_lips ...)."""
    mixed: Literal["focus", "majority", "girls", "boys", "drop"] = "focus"
    """Where pictures of girls and boys go. `focus`: by solo_focus and male_focus, then by majority; `majority`: by the
    larger number, girls when equal; `girls`: multiple_girls where there is a girl; `boys`: multiple_boys where there is
    a boy; `drop`: nowhere."""
    others: Literal["apart", "girls", "boys", "ignore"] = "apart"
    """What people of neither kind (1other ...) count as. `apart`: neither, so that a group with them is mixed, and
    alone they are in no bucket; `girls` or `boys`; `ignore`: nobody beside girls and boys."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _own_buckets_come_first(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "priority" in given or not isinstance(given.get("buckets"), Sequence):
            return given
        default = cls.model_fields["priority"].default
        names = [
            rule.get("name") if isinstance(rule, Mapping) else getattr(rule, "name", None) for rule in given["buckets"]
        ]
        own = [name for name in names if isinstance(name, str) and name not in default]
        return {**given, "priority": (*own, *default)}

    @pydantic.model_validator(mode="after")
    def _names_fit(self) -> ContentConfig:
        own = [rule.name for rule in self.buckets]
        if len(set(own)) != len(own):
            raise ValueError(f"buckets: two have the same name: {', '.join(own)}")
        known = [*CONTENT_BUCKETS, *(name for name in own if name not in CONTENT_BUCKETS)]
        if not self.priority or len(set(self.priority)) != len(self.priority):
            raise ValueError(f"priority: should name each content bucket at most once, of {', '.join(known)}")
        if strange := [name for name in self.priority if name not in known]:
            raise ValueError(
                f"priority: {strange[0]} is no content bucket; there are {', '.join(known)}, or give it a rule in "
                f"`buckets`{_like(strange[0], known)}"
            )
        if unused := [name for name in own if name not in self.priority]:
            raise ValueError(f"priority: {unused[0]} has a rule in `buckets`, but no place here")
        return self

    @property
    def names(self) -> list[str]:
        """Every bucket that a picture can be in."""
        return list(dict.fromkeys([*self.priority, *([self.fallback] if self.fallback else [])]))


def _like(name: str, known: Sequence[str]) -> str:
    similar = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{similar[0]}'?" if similar else ""
