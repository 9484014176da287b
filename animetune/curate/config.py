"""`CurateConfig`: the YAML of the `curate` stage, field for field."""

from __future__ import annotations

import itertools
import re
import string
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from animetune.config import StrictModel
from animetune.executor import ExecutorConfig
from animetune.pictures import MAX_PIXELS
from animetune.records import CONTENT_BUCKETS
from animetune.remote import ON_THIS_MACHINE

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Positive = Annotated[float, pydantic.Field(gt=0)]
Strength = Annotated[float, pydantic.Field(ge=0, le=1)]
Level = Annotated[int, pydantic.Field(ge=0, le=255)]
Tags = Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
Rating = Literal["g", "s", "q", "e"]

ID_MODULUS = re.compile(r"id_mod_([1-9][0-9]{0,8})")
PATH_FIELDS = "id, id_mod_<n>, md5, md5_ab, md5_cd, ext, key, source"
"""What `ImagesConfig.path` may name of any post, beside the post's own keys."""
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ImagesConfig(StrictModel):
    """Where a source's pictures or masks are. Several places are tried in order."""

    root: str
    """Folder or fsspec URL."""
    path: str = "{id}.{ext}"
    """Path below `root`. Fields: id, id_mod_<n> (as in `{id_mod_1000:04}`), md5, md5_ab and md5_cd (its first two pairs
    of digits), ext, key, source, and any text or integer of the post, such as `{file_name}`."""

    @pydantic.field_validator("path")
    @classmethod
    def _is_a_pattern(cls, path: str) -> str:
        try:
            fields = list(string.Formatter().parse(path))
        except ValueError as error:
            raise ValueError(f"is not a pattern: {error}") from error
        names = [name for _, name, _, _ in fields if name is not None]
        for _, name, spec, conversion in fields:
            if name is not None and (not _FIELD_NAME.fullmatch(name) or conversion or "{" in (spec or "")):
                written = "".join(["{", name, f"!{conversion}" if conversion else "", f":{spec}" if spec else "", "}"])
                raise ValueError(f"{written} is not a field; there are {PATH_FIELDS}, and the keys of the posts")
        if not names:
            raise ValueError("names no field, so every post would have the same picture; write e.g. '{id}.{ext}'")
        return path

    @property
    def keys_of_posts(self) -> list[str]:
        """The names in `path` that are no fields of ours, so that each post has to have them."""
        names = [name for _, name, _, _ in string.Formatter().parse(self.path) if name is not None]
        return [name for name in names if name not in PATH_FIELDS.split(", ") and not ID_MODULUS.fullmatch(name)]


class SourceConfig(StrictModel):
    """A collection of posts with its pictures and captions."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """First part of every key: `<name>/<id>`."""
    posts: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    """Files of posts, `*` allowed: JSON lines, or a JSON array in a `.json`; either may be `.gz`. Of two posts with one
    id the first is taken, in the order of this list."""
    images: tuple[ImagesConfig, ...] = ()
    """Where the pictures are. Never fetched from a URL that a post names."""
    masks: tuple[ImagesConfig, ...] = ()
    """Where the masks of their loss are; a picture without one counts as a whole. See docs/data.md."""
    captions: tuple[str, ...] = ()
    """Files of captions, `*` allowed: JSON lines of `{"id": 1, "long": [...], "short": [...]}` (or `key` for `id`)."""
    rating_scheme: Literal["auto", "current", "legacy"] = "auto"
    """What the rating `s` means: sensitive (`current`), or safe, as before 2022 (`legacy`). `auto`: legacy when no post
    of the source is rated `g`."""


class RatingFilter(StrictModel):
    """Drop posts of other ratings."""

    name: Literal["rating"]
    keep: Annotated[tuple[Rating | None, ...], pydantic.Field(min_length=1)]
    """Ratings that stay; null stands for posts without one."""


class ScoreFilter(StrictModel):
    """Drop posts with a lower score; a post without a score stays."""

    name: Literal["score_min"]
    score: int
    """The lowest score that stays."""


class SideFilter(StrictModel):
    """Drop pictures whose shorter side is shorter."""

    name: Literal["min_side"]
    pixels: Annotated[int, pydantic.Field(gt=0)]
    """The shortest side that stays."""


class MegapixelsFilter(StrictModel):
    """Drop pictures with a smaller or larger area."""

    name: Literal["megapixels"]
    min: Annotated[float, pydantic.Field(ge=0)] = 0.0
    """The smallest area that stays, in millions of pixels."""
    max: Positive = 64.0
    """The largest area that stays, in millions of pixels."""

    @pydantic.model_validator(mode="after")
    def _has_room(self) -> MegapixelsFilter:
        if self.min >= self.max:
            raise ValueError(f"min {self.min} is not below max {self.max}: nothing would stay")
        return self


class AspectRatioFilter(StrictModel):
    """Drop pictures that are longer than `max` times their width, or wider than `max` times their height."""

    name: Literal["aspect_ratio"]
    max: Annotated[float, pydantic.Field(ge=1)]
    """Longer side / shorter side."""


class ExtensionFilter(StrictModel):
    """Drop posts whose stated extension is another, before their files are read; without one, a post stays."""

    name: Literal["extension"]
    keep: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    """Extensions that stay, in lower case without a dot."""


class DeletedFilter(StrictModel):
    """Drop posts that their site deleted, banned, or has not approved yet."""

    name: Literal["deleted"]


class ExcludeTagsFilter(StrictModel):
    """Drop posts that have any of the tags, of whatever class."""

    name: Literal["exclude_tags"]
    tags: Tags
    """Tags as on the site."""


class RequireTagsFilter(StrictModel):
    """Drop posts that have none of the tags."""

    name: Literal["require_tags"]
    tags: Tags
    """Tags as on the site."""


class QualityFilter(StrictModel):
    """Drop pictures of other quality classes; decided after the classes are known."""

    name: Literal["quality"]
    keep: Annotated[tuple[str | None, ...], pydantic.Field(min_length=1)]
    """Classes that stay; null stands for pictures without one."""


Filter = Annotated[
    RatingFilter
    | ScoreFilter
    | SideFilter
    | MegapixelsFilter
    | AspectRatioFilter
    | ExtensionFilter
    | DeletedFilter
    | ExcludeTagsFilter
    | RequireTagsFilter
    | QualityFilter,
    pydantic.Field(discriminator="name"),
]


class PicturesConfig(StrictModel):
    """How pictures are decoded; shards decode them in the same way."""

    background: tuple[Level, Level, Level] = (255, 255, 255)
    """Red, green, blue behind transparent pixels."""
    max_pixels: Annotated[int, pydantic.Field(gt=0, le=MAX_PIXELS)] = 64_000_000
    """Larger pictures are quarantined before they are decoded."""
    check_md5: bool = False
    """Quarantine files whose MD5 differs from the post's. For original files; re-encoded ones always differ."""


class TagsConfig(StrictModel):
    """Which tags mean what."""

    vocabulary: Path | None = None
    """Folder of `<name>.txt` files (and `groups/<name>.txt`), each in place of the built-in list of that name. The
    built-in folder is `animetune/curate/vocabulary`."""
    size_tags: Literal["site", "picture"] = "site"
    """lowres, highres, absurdres, incredibly_absurdres: as the site says, or recomputed from the decoded picture (for
    copies that are smaller than the original)."""


class QualityLevel(StrictModel):
    """One quality class."""

    name: str
    """The class; prompts render its words."""
    above: float | None = None
    """Holds where the measure is greater than this; null for the last class, which takes the rest."""


class QualityConfig(StrictModel):
    """Quality classes by score."""

    measure: Literal["percentile", "score"] = "percentile"
    """`percentile` of the score among the posts of the same rating, since scores grow with the rating; or the score."""
    levels: tuple[QualityLevel, ...] = (
        QualityLevel(name="masterpiece", above=95),
        QualityLevel(name="best", above=85),
        QualityLevel(name="high", above=75),
        QualityLevel(name="medium", above=50),
        QualityLevel(name="normal", above=25),
        QualityLevel(name="low", above=10),
        QualityLevel(name="worst"),
    )
    """From best to worst; each holds from its `above` (not itself) to the one before (itself included)."""

    @pydantic.field_validator("levels")
    @classmethod
    def _descend(cls, levels: tuple[QualityLevel, ...]) -> tuple[QualityLevel, ...]:
        if not levels:
            return levels
        *upper, last = levels
        bounds = [level.above for level in upper if level.above is not None]
        if last.above is not None or len(bounds) < len(upper):
            raise ValueError("exactly the last level takes the rest (above: null)")
        if bounds != sorted(set(bounds), reverse=True):
            raise ValueError(f"the levels go from best to worst, so `above` must fall: {bounds}")
        if len({level.name for level in levels}) != len(levels):
            raise ValueError("two levels have the same name")
        return levels


class YearClass(StrictModel):
    """One year class: years from `first` to `last`, both included."""

    name: str
    """The class; prompts render its words."""
    first: int
    """First year."""
    last: int | None = None
    """Last year; null for no end."""


class ClassesConfig(StrictModel):
    """Quality and year classes."""

    quality: QualityConfig = QualityConfig()
    """Quality classes; `levels: []` for none."""
    years: tuple[YearClass, ...] = (
        YearClass(name="oldest", first=2005, last=2010),
        YearClass(name="early", first=2011, last=2014),
        YearClass(name="mid", first=2015, last=2017),
        YearClass(name="recent", first=2018, last=2020),
        YearClass(name="newest", first=2021),
    )
    """Year classes by upload time (UTC); a year in none of them has none."""

    @pydantic.field_validator("years")
    @classmethod
    def _disjoint(cls, years: tuple[YearClass, ...]) -> tuple[YearClass, ...]:
        ordered = sorted(years, key=lambda year: year.first)
        for year in years:
            if year.last is not None and year.last < year.first:
                raise ValueError(f"{year.name} ends in {year.last}, before it begins in {year.first}")
        for before, after in itertools.pairwise(ordered):
            if before.last is None or before.last >= after.first:
                raise ValueError(f"{before.name} and {after.name} both hold {after.first}")
        return years


ContentBucket = Literal[
    "1girl_with_emotion", "1girl_only", "1boy_with_emotion", "1boy_only", "multiple_girls", "multiple_boys",
    "animal", "object", "no_human",
]  # fmt: skip


class ContentConfig(StrictModel):
    """Which content bucket a picture is in: the first of `priority` whose rule holds."""

    priority: tuple[ContentBucket, ...] = (
        "animal", "object", "no_human",
        "1girl_with_emotion", "1girl_only", "1boy_with_emotion", "1boy_only", "multiple_girls", "multiple_boys",
    )  # fmt: skip
    """Content buckets, first to last. A picture for which none of them holds is dropped as `unassigned`."""
    emotion: Literal["strong", "any"] = "strong"
    """Which tags show an emotion: `strong` (smile, crying ...), or `any`, with weak ones (blush, parted_lips ...)."""
    mixed: Literal["focus", "majority", "girls", "drop"] = "focus"
    """Where pictures of girls and boys go. `focus`: by solo_focus and male_focus, then by majority; `majority`: by the
    larger number, girls when equal; `girls`: multiple_girls; `drop`: nowhere."""

    @pydantic.field_validator("priority")
    @classmethod
    def _once_each(cls, priority: tuple[str, ...]) -> tuple[str, ...]:
        if not priority or len(set(priority)) != len(priority):
            raise ValueError(f"should name each content bucket at most once, of {', '.join(CONTENT_BUCKETS)}")
        return priority


class TagGroupsBalance(StrictModel):
    """Pictures with tags of frequent tag groups are seen less often, with tags of rare groups more often."""

    name: Literal["tag_groups"]
    strength: Strength = 0.5
    """Exponent on (median group / group): 0 changes nothing, 1 levels the groups."""
    min: Positive = 0.5
    """Lower limit of a picture's factor."""
    max: Positive = 2.0
    """Upper limit of a picture's factor."""


class ContentBucketsBalance(StrictModel):
    """Over-represented content buckets are seen less often, under-represented ones more: toward the median bucket."""

    name: Literal["content_buckets"]
    strength: Strength = 1.0
    """Exponent on (median bucket / bucket): 0 changes nothing, 1 makes all buckets as large as the median."""
    min: Positive = 0.1
    """Lower limit of a bucket's factor."""
    max: Positive = 10.0
    """Upper limit of a bucket's factor: how often one picture may be seen in an epoch."""


Balance = Annotated[TagGroupsBalance | ContentBucketsBalance, pydantic.Field(discriminator="name")]


class SplitConfig(StrictModel):
    """What is held out for validation: whole families of parents, children and duplicates."""

    val_share: Share = 0.005
    """Share of the families."""
    val_families: Annotated[int, pydantic.Field(ge=0)] = 1024
    """At most this many families."""


class CurateConfig(StrictModel):
    """From posts and pictures to a curated table."""

    stage: Literal["curate"]
    """The command that this file configures."""
    out: Annotated[Path, ON_THIS_MACHINE]
    """Folder of the table. Its steps stay there, so that a changed setting re-runs only what depends on it."""
    sources: Annotated[tuple[SourceConfig, ...], pydantic.Field(min_length=1)]
    """Where posts come from."""
    filters: tuple[Filter, ...] = ()
    """What is dropped, first to last; the first filter that drops a row is its reason."""
    pictures: PicturesConfig = PicturesConfig()
    """How pictures are decoded."""
    tags: TagsConfig = TagsConfig()
    """Which tags mean what."""
    classes: ClassesConfig = ClassesConfig()
    """Quality and year classes."""
    content: ContentConfig = ContentConfig()
    """Content buckets."""
    balance: tuple[Balance, ...] = ()
    """Factors on `repeats`, applied in this order; none leaves every picture at 1."""
    split: SplitConfig = SplitConfig()
    """Training and validation."""
    seed: int = 0
    """Seed of the split."""
    quarantine_limit: Share = 0.05
    """Share of the posts read that may be unusable before the stage stops."""
    executor: ExecutorConfig = ExecutorConfig()
    """Where posts are parsed and pictures decoded; changes nothing in the output."""
    prune: bool = False
    """Remove the steps of earlier settings when the new table is published."""

    @pydantic.field_validator("sources")
    @classmethod
    def _distinct(cls, sources: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
        names = [source.name for source in sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources have the same name: {', '.join(names)}")
        return sources
