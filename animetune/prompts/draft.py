"""`compose`: the prompt of one occurrence of a sample, from its order down to its last tag."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animetune.prompts.config import (
    CAPTION_TAGS,
    DROPPABLE,
    EXTRA,
    GROUP_END,
    TAG_FIELDS,
    WORD_PARTS,
    DropoutLevel,
    Naming,
    Order,
    PromptConfig,
)
from animetune.prompts.style import without_style
from animetune.prompts.wording import introduction, random_string, render_tag
from animetune.records import Label


def compose(label: Label, cfg: PromptConfig, rng: np.random.Generator) -> str:
    """The prompt of one occurrence of a sample; equal `rng` states give equal prompts."""
    if _happens(cfg.prompt_dropout, rng):
        draft = _Draft(label, cfg, rng, order=())
    else:
        draft = _Draft(label, cfg, rng, order=_draw_order(label, cfg, rng))
        draft.draw()
    prompt = ""
    glue = ""
    for texts, next_glue in draft.parts():
        text = draft.separator.join([text for text in texts if text])
        if text:
            prompt += glue + text
            glue = next_glue
    return prompt


class _Draft:
    """One prompt in the making. A rule that is off draws nothing from `rng`."""

    __slots__ = (
        "_added", "_caption", "_caption_is_drawn", "_cfg", "_kept", "_label", "_left", "_order", "_rng", "separator",
    )  # fmt: skip

    def __init__(self, label: Label, cfg: PromptConfig, rng: np.random.Generator, *, order: Order):
        self._label, self._cfg, self._rng, self._order = label, cfg, rng, order
        self.separator = cfg.separator
        self._added = cfg.added_to(label.key) if EXTRA in order else ()
        self._kept = cfg.kept
        self._left: dict[str, Sequence[str]] | None = None
        """What a level of dropout has left of each part; None where none fell."""
        self._caption: str | None = None
        """None until it is drawn, and where tags stand in for it."""
        self._caption_is_drawn = False

    def draw(self) -> None:
        """Draw what concerns the whole prompt."""
        cfg, rng = self._cfg, self._rng
        if _happens(cfg.space_separator, rng):
            self.separator = " "
        if cfg.protect is not None and _happens(cfg.protect.probability, rng):
            self._kept = cfg.kept_if_protected
        if cfg.dropout_levels and (level := _draw_level(cfg.dropout_levels, rng)):
            self._left = self._cut(level)

    def parts(self) -> list[tuple[list[str], str]]:
        """Each part's texts, with what separates it from the next one."""
        cfg, order = self._cfg, self._order
        parts: list[tuple[list[str], str]] = []
        pool: list[str] = []
        for place, part in enumerate(order):
            if part in cfg.shuffle:
                pool += self._texts(part)
                following = order[place + 1] if place + 1 < len(order) else None
                if following not in cfg.shuffle:
                    shuffled = [pool[i] for i in self._rng.permutation(len(pool)).tolist()]
                    parts.append((shuffled, self.separator))
                    pool = []
            elif part == "caption":
                caption = self._draw_caption()
                if caption is None:
                    tags = [text for stand_in in self._stand_ins() for text in self._texts(stand_in)]
                    parts.append((tags, self.separator))
                else:
                    parts.append(([caption.removesuffix(".")], cfg.caption_end))
            elif part == "prefix":
                parts.append(([cfg.prefix], self.separator))
            elif part != GROUP_END:
                parts.append((self._texts(part), self.separator))
        if cfg.no_dropout:
            parts.append((self._never_dropped(), self.separator))
        if order and cfg.registers is not None and _happens(cfg.registers.random, self._rng):
            parts.append(([random_string(cfg.registers.length, self._rng)], self.separator))
        return parts

    def _never_dropped(self) -> list[str]:
        """The sample's `no_dropout` tags of parts that the prompt has not shown."""
        listed = self._cfg.never_dropped
        shown = {*self._order, *self._stand_ins()}
        own = {part: getattr(self._label, field) for part, field in TAG_FIELDS.items()}
        hidden = {part: tags for part, tags in own.items() if part not in shown}
        if EXTRA not in shown:
            added = self._cfg.added_to(self._label.key)
            hidden[EXTRA] = [tag for tag in added if not any(tag in tags for tags in own.values())]
        return [
            text
            for part, tags in hidden.items()
            if not listed.isdisjoint(tags)
            for text in self._written(part, [tag for tag in tags if tag in listed])
        ]

    def _texts(self, part: str) -> list[str]:
        """A part's tags or words as they are written, after dropout."""
        if self._left is not None and part in self._left:
            return self._written(part, self._left[part])
        items = self._items(part)
        probability = self._cfg.tag_dropout
        if probability and items and self._left is None and self._can_drop(part):
            stays = (self._rng.random(len(items)) >= probability).tolist()
            items = [item for item, stay in zip(items, stays, strict=True) if stay or item in self._kept]
        return self._written(part, items)

    def _items(self, part: str) -> Sequence[str]:
        """The raw tags of a part, or the words of its class."""
        if part == EXTRA:
            return self._added
        if part in TAG_FIELDS:
            tags: Sequence[str] = getattr(self._label, TAG_FIELDS[part])
            return [tag for tag in tags if tag not in self._added] if self._added else tags
        value = getattr(self._label, part)
        if value is None:
            return ()
        words: str = self._cfg.words.get(part, {}).get(value, value)  # type: ignore[call-overload]
        separator = self._cfg.separator
        return words.split(separator) if separator else [words]

    def _written(self, part: str, items: Sequence[str]) -> list[str]:
        cfg = self._cfg
        if part in WORD_PARTS:
            return list(items)
        prefix = ""
        if part == "character":
            prefix = cfg.character_prefix
            if cfg.naming is not None and (phrase := self._introduced(items, cfg.naming)):
                return [phrase]
        elif part == "artist":
            prefix = cfg.artist_prefix
        if cfg.paraphrase is None and cfg.registers is None:
            return [prefix + render_tag(tag) for tag in items]
        return [self._said(tag) or prefix + render_tag(tag) for tag in items]

    def _said(self, tag: str) -> str | None:
        """The register token of a tag, or one of its paraphrases; None for the tag itself."""
        registers, paraphrase = self._cfg.registers, self._cfg.paraphrase
        if registers is not None and tag in registers.concepts:
            return registers.concepts[tag]
        if paraphrase is None or tag not in paraphrase.variants or tag in self._cfg.never_dropped:
            return None
        return self._one_of(paraphrase.variants[tag]) if _happens(paraphrase.probability, self._rng) else None

    def _introduced(self, characters: Sequence[str], naming: Naming) -> str | None:
        """The phrase that introduces the sample's only character; None for its tag."""
        cfg, label = self._cfg, self._label
        if len(characters) != 1 or len(label.tags_character) != 1 or characters[0] in cfg.never_dropped:
            return None
        if cfg.registers is not None and characters[0] in cfg.registers.concepts:
            return None
        if not _happens(naming.probability, self._rng):
            return None
        template = self._one_of(naming.templates)
        return introduction(template, characters[0], counts=label.tags_count, series=label.tags_copyright)

    def _draw_caption(self) -> str | None:
        """A caption, the same at every call; None where the sample's tags stand in for it."""
        if self._caption_is_drawn:
            return self._caption
        self._caption_is_drawn = True
        mix, rng = self._cfg.captions, self._rng
        written = [
            (weight, texts)
            for weight, texts in ((mix.long, self._label.captions_long), (mix.short, self._label.captions_short))
            if weight and texts
        ]
        draw = rng.random() * (sum(weight for weight, _ in written) + mix.tags)
        for weight, texts in written:
            draw -= weight
            if draw < 0:
                self._caption = texts[int(rng.integers(len(texts)))].strip()
                if self._cfg.style_words:
                    self._caption = without_style(self._caption, self._cfg.style_words) or None
                break
        return self._caption

    def _stand_ins(self) -> list[str]:
        """The parts whose tags stand in for a caption: those without a place of their own; none beside a caption."""
        if "caption" not in self._order or self._draw_caption() is not None:
            return []
        return [part for part in CAPTION_TAGS if part not in self._order]

    def _can_drop(self, part: str) -> bool:
        cfg = self._cfg
        if cfg.drop is not None:
            return part in cfg.drop
        return part in TAG_FIELDS and (part in cfg.shuffle or part not in self._order)

    def _cut(self, level: DropoutLevel) -> dict[str, Sequence[str]]:
        """What a level leaves of each part that it shortens."""
        # This draws the caption before its turn: whether tags stand in for it decides how many tags there are.
        shown = [part for part in (*self._order, *self._stand_ins()) if part in DROPPABLE]
        listed = {part: self._items(part) for part in shown if self._can_drop(part)}
        places = [
            (part, place)
            for part, items in listed.items()
            for place, item in enumerate(items)
            if item not in self._kept
        ]
        count = level.kept(len(places))
        if count == len(places):
            return {}
        dropped = {places[i] for i in self._rng.permutation(len(places))[count:].tolist()}
        return {
            part: [item for place, item in enumerate(items) if (part, place) not in dropped]
            for part, items in listed.items()
        }

    def _one_of(self, choices: Sequence[str]) -> str:
        return choices[int(self._rng.integers(len(choices)))] if len(choices) > 1 else choices[0]


def _happens(probability: float, rng: np.random.Generator) -> bool:
    return probability > 0 and rng.random() < probability


def _draw_order(label: Label, cfg: PromptConfig, rng: np.random.Generator) -> Order:
    """One of the orders; those that need a caption are left out for a sample without one, if others remain."""
    if not cfg.other_orders:
        return cfg.order
    orders = [(weight, order) for weight, order in cfg.weighted_orders if weight]
    mix = cfg.captions
    if not (mix.tags or (mix.long and label.captions_long) or (mix.short and label.captions_short)):
        orders = [(weight, order) for weight, order in orders if "caption" not in order] or orders
    draw = rng.random() * sum(weight for weight, _ in orders)
    for weight, order in orders:
        draw -= weight
        if draw < 0:
            return order
    return orders[-1][1]


def _draw_level(levels: Sequence[DropoutLevel], rng: np.random.Generator) -> DropoutLevel | None:
    draw = rng.random()
    for level in levels:
        draw -= level.probability
        if draw < 0:
            return level
    return None
