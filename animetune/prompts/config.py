"""`PromptConfig`: the group `prompts:` of a training configuration, field for field."""

from __future__ import annotations

import functools
import string
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

import pydantic

from animetune.config import StrictModel
from animetune.prompts.presets import PresetName, on_preset
from animetune.prompts.tag_lists import TagList, tags_in

Part = Literal[
    "prefix", "caption", "count", "character", "series", "artist", "general", "special", "extra",
    "rating", "quality", "aesthetic", "year", "|||",
]  # fmt: skip
WordPart = Literal["quality", "aesthetic", "rating", "year"]
Order = tuple[Part, ...]
Probability = Annotated[float, pydantic.Field(ge=0, le=1)]
Weight = Annotated[float, pydantic.Field(ge=0)]
Count = Annotated[int, pydantic.Field(ge=1)]
Text = Annotated[str, pydantic.Field(min_length=1)]

TAG_FIELDS: dict[str, str] = {
    "count": "tags_count",
    "character": "tags_character",
    "series": "tags_copyright",
    "artist": "tags_artist",
    "general": "tags_general",
    "special": "tags_special",
}
"""Parts that are lists of tags -> field of the label."""
WORD_PARTS = ("quality", "aesthetic", "rating", "year")
"""Parts that are the words of a class."""
EXTRA = "extra"
"""The part that holds the tags of `add` and `add_by_source`."""
DROPPABLE = (*TAG_FIELDS, EXTRA, *WORD_PARTS)
"""Parts that can be shuffled, and can lose tags or words."""
CAPTION_TAGS = ("count", "character", "series", "artist", "general")
"""The tags that stand in for a caption, in this order."""
GROUP_END = "|||"

DASHANIME_WORDS: dict[WordPart, dict[str, str]] = {
    "quality": {
        "masterpiece": "masterpiece quality",
        "best": "best quality",
        "high": "high quality",
        "medium": "medium quality",
        "normal": "normal quality",
        "low": "low quality",
        "worst": "worst quality",
    },
    "rating": {"g": "safe", "s": "sensitive", "q": "nsfw", "e": "explicit, nsfw"},
}

COUNT_VARIANTS: dict[str, tuple[str, ...]] = {
    "1girl": ("one girl", "a girl", "single girl", "single woman"),
    "2girls": ("two girls", "two women", "a pair of girls"),
    "3girls": ("three girls", "three women"),
    "4girls": ("four girls", "four women"),
    "5girls": ("five girls", "five women"),
    "6+girls": ("many girls", "many women"),
    "multiple_girls": ("several girls", "several women"),
    "1boy": ("one boy", "a boy", "single boy", "single man"),
    "2boys": ("two boys", "two men", "a pair of boys"),
    "3boys": ("three boys", "three men"),
    "4boys": ("four boys", "four men"),
    "5boys": ("five boys", "five men"),
    "6+boys": ("many boys", "many men"),
    "multiple_boys": ("several boys", "several men"),
    "solo": ("alone", "one person"),
    "no_humans": ("no people", "nobody"),
}
"""Our table; the Illustrious paper gives `1girl, 1boy` -> `one girl, single women` and "etc."."""


class CaptionMix(StrictModel):
    """Relative frequency of each kind of caption; a kind that a sample lacks is left out of its draw."""

    long: Weight = 1.0
    """Long natural-language captions; of several, each is as likely."""
    short: Weight = 0.0
    """Short natural-language captions; of several, each is as likely."""
    tags: Weight = 0.0
    """The sample's tags in place of a caption, those of parts that `order` does not list. A sample without any caption
    always gets them."""


class OtherOrder(StrictModel):
    """An order that some prompts get instead of `order`."""

    probability: Probability
    """Share of the prompts."""
    order: Order
    """The parts of the prompt, first to last."""


class DropoutLevel(StrictModel):
    """One level of multi-level dropout: it keeps min(all, at_most, max(share of all, at_least)) tags.

    `share` of all is rounded to the nearest whole tag. Which ones are kept is random; their order stays.
    """

    probability: Probability
    """Share of the prompts on which this level falls."""
    share: Probability = 1.0
    """Of the tags that can be dropped."""
    at_least: Annotated[int, pydantic.Field(ge=0)] = 0
    """Tags kept although they are more than `share`."""
    at_most: Annotated[int, pydantic.Field(ge=0)] | None = None
    """Most tags that are kept."""

    @pydantic.model_validator(mode="after")
    def _drops_something(self) -> DropoutLevel:
        if self.share == 1 and self.at_most is None:
            raise ValueError("keeps every tag; give share (with at_least) or at_most")
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most {self.at_most} is below at_least {self.at_least}")
        return self

    def kept(self, tags: int) -> int:
        """How many of so many tags are kept."""
        wanted = max(int(self.share * tags + 0.5), self.at_least)
        return min(tags, wanted if self.at_most is None else min(wanted, self.at_most))


class Protection(StrictModel):
    """Names that are protected from dropout with a set probability (Illustrious: weak-probability dropout)."""

    tags: TagList
    """Names of characters and artists, written as on the site, or the path of a file with one a line."""
    probability: Probability
    """Of protecting all of a sample's listed names at once: they are dropped 1 - probability times as often."""

    @pydantic.field_validator("tags")
    @classmethod
    def _lists_something(cls, tags: frozenset[str] | str) -> frozenset[str] | str:
        if not tags:
            raise ValueError("lists no name; list some, or remove protect")
        return tags


class Paraphrase(StrictModel):
    """Tags said in other words."""

    probability: Probability
    """For each tag that has variants."""
    variants: Annotated[
        dict[str, Annotated[tuple[Text, ...], pydantic.Field(min_length=1)]], pydantic.Field(min_length=1)
    ] = COUNT_VARIANTS
    """Tag -> what may be written instead, each as likely. The default has people counts."""


class Naming(StrictModel):
    """Characters introduced by a phrase instead of their tag (AIDXL 0.8)."""

    probability: Probability
    """For a picture of one girl or one boy, of one known character and series."""
    templates: Annotated[tuple[str, ...], pydantic.Field(min_length=1)] = (
        "a {who} named {character} from {series} series",
    )
    """Phrases, each as likely; {who} is girl or boy."""

    @pydantic.field_validator("templates")
    @classmethod
    def _names_the_character(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            try:
                fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
            except ValueError as error:
                raise ValueError(f"{template!r} is no template: {error}") from error
            if "character" not in fields or fields - {"who", "character", "series"}:
                raise ValueError(
                    f"{template!r} should have {{character}}, may have {{who}} and {{series}}, and no others"
                )
        return templates


class Registers(StrictModel):
    """Quasi-register tokens (Illustrious, section 3.2, after Darcet et al. 2024, arXiv:2309.16588)."""

    concepts: dict[str, Text] = pydantic.Field(default={})
    """Tag -> the fixed token that is trained in its place, for concepts that the model cannot understand."""
    random: Probability = 0.0
    """Probability of a random alphanumeric string, new each time, at the end of a prompt: a sink for what the metadata
    lacks."""
    length: Count = 8
    """Characters of a random string."""

    @pydantic.model_validator(mode="after")
    def _does_something(self) -> Registers:
        if not self.concepts and not self.random:
            raise ValueError(
                "gives neither concepts nor a probability of random strings; give one, or remove registers"
            )
        return self


class PromptConfig(StrictModel):
    """How a sample's prompt is composed. A rule that is not set draws nothing, so that prompts stay as they were."""

    preset: PresetName | None = None
    """A published way of writing prompts: the settings of `animetune/prompts/presets/<name>.yaml`. What is given beside
    it goes on top: maps merge, all else replaces, `null` removes. A resolved configuration has the settings themselves,
    and null here."""
    order: Order = ("prefix", "caption", "quality", "aesthetic", "rating", "special")
    """The parts of the prompt, first to last. Empty parts leave no separator behind. `|||` is written nowhere; parts
    are not shuffled across it."""
    other_orders: tuple[OtherOrder, ...] = ()
    """Orders that are drawn instead of `order`, which keeps the rest of the probability: tags alone, a caption alone,
    both. A sample without a caption gets none that needs one, if there are others."""
    prefix: str = ""
    """Constant words of the part `prefix`, e.g. `anime illustration`."""
    captions: CaptionMix = CaptionMix()
    """Which kind of caption the part `caption` is."""
    add: tuple[Text, ...] = ()
    """Tags that every sample gets, such as a trigger word, written as on the site. They stand where `order` has
    `extra`, and there alone; dropout leaves them out only if `drop` lists `extra`."""
    add_by_source: dict[Text, tuple[Text, ...]] = pydantic.Field(default={})
    """Source of the curated table -> tags that its samples get, behind those of `add`."""
    style_words: tuple[Text, ...] = ()
    """References to style that are taken out of captions, e.g. `anime-style`, `digital illustration`."""
    words: dict[WordPart, dict[str, str]] = DASHANIME_WORDS
    """Class -> words, by part. A class that is not listed is rendered as it is; the words `""` leave it out."""
    separator: str = ", "
    """Between parts and between tags."""
    space_separator: Probability = 0.0
    """Probability of a prompt with spaces in place of `separator`."""
    caption_end: str = ". "
    """Between a natural-language caption and what follows; a full stop that the caption has is not doubled."""
    artist_prefix: str = ""
    """Before each artist tag, e.g. `by `."""
    character_prefix: str = ""
    """Before each character tag, e.g. `1 `."""
    naming: Naming | None = None
    """Characters introduced by a phrase."""
    paraphrase: Paraphrase | None = None
    """Tags said in other words."""
    shuffle: tuple[Part, ...] = ()
    """Parts whose tags or words are shuffled; neighbours in `order` that are both listed are shuffled together."""
    drop: tuple[Part, ...] | None = None
    """Parts whose tags or words `tag_dropout` and `dropout_levels` leave out; null for the tags of the shuffled parts
    and of a caption made of tags."""
    tag_dropout: Probability = 0.0
    """Probability of leaving out each tag of the parts that `drop` names."""
    dropout_levels: tuple[DropoutLevel, ...] = ()
    """Multi-level dropout over all the tags of a prompt that can be dropped; at most one level falls on a prompt, and
    then takes the place of `tag_dropout`."""
    keep_tags: TagList = frozenset()
    """Tags that `tag_dropout` and `dropout_levels` never leave out and do not count, written as on the site, or the
    path of a file with one a line."""
    no_dropout: TagList = frozenset()
    """Tags that are in every prompt of a sample that has them, come what may (`keep_tags`, and in captions without tags
    and empty prompts too); they are never paraphrased. A list, or the path of a file with one a line."""
    protect: Protection | None = None
    """Names that dropout hits less often."""
    registers: Registers | None = None
    """Tokens for what tags cannot say."""
    prompt_dropout: Probability = 0.0
    """Probability of training a sample with an empty prompt, for classifier-free guidance (Ho and Salimans 2022)."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        return on_preset(given)

    @pydantic.model_validator(mode="after")
    def _parts_make_sense(self) -> PromptConfig:
        for name, order in self._named_orders():
            listed = [part for part in order if part != GROUP_END]
            if len(set(listed)) != len(listed):
                raise ValueError(f"{name} names a part twice: {', '.join(listed)}")
            if "caption" in order and not (self.captions.long or self.captions.short or self.captions.tags):
                raise ValueError(f"captions gives every kind the weight 0, but {name} has the part caption")
        for name, parts in (("shuffle", self.shuffle), ("drop", self.drop or ())):
            if strange := [part for part in parts if part not in DROPPABLE]:
                raise ValueError(f"{name} lists {', '.join(strange)}, but only these can be: {', '.join(DROPPABLE)}")
        return self

    @pydantic.model_validator(mode="after")
    def _added_tags_have_a_place(self) -> PromptConfig:
        if not any(EXTRA in order for _, order in self._named_orders()):
            for name, given in (("add", self.add), ("add_by_source", self.add_by_source)):
                if given:
                    raise ValueError(f"{name} has tags, but no order has the part `{EXTRA}`, where they would stand")
        return self

    @pydantic.model_validator(mode="after")
    def _shares_fit(self) -> PromptConfig:
        for name, listed in (("other_orders", self.other_orders), ("dropout_levels", self.dropout_levels)):
            total = sum(item.probability for item in listed)
            if total > 1 + 1e-9:
                raise ValueError(f"{name}: the probabilities sum to {total:g}; at most 1 can be given away")
        return self

    @pydantic.model_validator(mode="after")
    def _something_is_dropped(self) -> PromptConfig:
        if self.protect is not None and not (self.tag_dropout or self.dropout_levels):
            raise ValueError("protect has nothing to protect from; set tag_dropout or dropout_levels")
        shown, droppable = set(), set()
        for _, order in self._named_orders():
            stand_ins = {*CAPTION_TAGS} - {*order} if "caption" in order else set()
            shown |= {*order} | stand_ins
            droppable |= {*order} & {*self.shuffle} & TAG_FIELDS.keys() | stand_ins
        if missing := [part for part in self.drop or () if part not in shown]:
            raise ValueError(f"drop lists {', '.join(missing)}, but no order has it")
        if not (droppable if self.drop is None else self.drop) and (self.dropout_levels or self.protect):
            rule = "dropout_levels have" if self.dropout_levels else "protect has"
            raise ValueError(f"{rule} no tags to work on; list parts in drop, as in drop: [general]")
        return self

    @functools.cached_property
    def weighted_orders(self) -> tuple[tuple[float, Order], ...]:
        """Every order with its probability."""
        rest = max(0.0, 1.0 - sum(other.probability for other in self.other_orders))
        return (rest, self.order), *((other.probability, other.order) for other in self.other_orders)

    def added_to(self, key: str) -> tuple[str, ...]:
        """The tags of `add` and `add_by_source` for the sample of a key (`<source>/<id>`)."""
        if not self.add_by_source:
            return self.add
        return tuple(dict.fromkeys((*self.add, *self.add_by_source.get(key.partition("/")[0], ()))))

    @functools.cached_property
    def never_dropped(self) -> frozenset[str]:
        """The tags of `no_dropout`."""
        return tags_in(self.no_dropout)

    @functools.cached_property
    def kept(self) -> frozenset[str]:
        """Tags that the dropout of tags leaves alone."""
        return tags_in(self.keep_tags) | self.never_dropped

    @functools.cached_property
    def kept_if_protected(self) -> frozenset[str]:
        """The same for a sample whose names are protected."""
        return self.kept if self.protect is None else self.kept | tags_in(self.protect.tags)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, which derives anew what the properties above keep; pydantic would copy that, too."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def _named_orders(self) -> Iterator[tuple[str, Order]]:
        yield "order", self.order
        for place, other in enumerate(self.other_orders):
            yield f"other_orders.{place}", other.order
