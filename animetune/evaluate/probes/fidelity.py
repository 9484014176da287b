"""Fidelity: prompts made of tags, and how many of them the tagger finds, beside what it finds in real pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from animetune.evaluate.cases import Asked, Case, expand
from animetune.evaluate.config import EvaluateConfig, FidelityConfig
from animetune.evaluate.fidelity import numbers
from animetune.evaluate.fidelity.counting import Implications
from animetune.evaluate.fidelity.frequencies import Deciles, read_counts
from animetune.evaluate.fidelity.groups import TagGroups, load_groups
from animetune.evaluate.fidelity.prompts import TagPrompt
from animetune.evaluate.fidelity.sights import Sights
from animetune.evaluate.fidelity.tagged_pictures import chosen, read_tagged
from animetune.evaluate.probes.shape import Looked, Needs, Reference, Score
from animetune.evaluate.prompt_files import read_prompts
from animetune.vision.taggers import TagList

TITLE = "Tags that were asked for"
ABOUT = (
    "Prompts made of tags. Recall is the share of a prompt's tags that the tagger finds in the picture. Precision "
    "looks within groups of tags that exclude each other, such as hair colours, where one of the group was asked for: "
    "the share of what is there that is right. What else a picture shows is no error. A tagger misses much in real "
    "pictures, too: against this ceiling, 100 % is as much as it finds of the same tags there. A model that was "
    "trained on tags by the same tagger is flattered."
)
FILE = "fidelity.jsonl"
CHARACTERS = "Characters"
PLAIN = "plain"
BASIC = (("1girl",), ("1boy",), ("long_hair",), ("blue_eyes",), ("smile",))
"""Tags of the prompts that come with this probe which a list of Danbooru's tags has; others may be missing."""


def cases(probe: FidelityConfig, cfg: EvaluateConfig) -> list[Case]:
    """Every prompt, with the prefix; tags that the tagger does not have are asked for, but not looked for."""
    prompts = read_prompts(probe, TagPrompt, FILE)
    kinds = _kinds(cfg)
    named = dict.fromkeys(tag for each in prompts for tag in each.tags)
    facts_of = _Facts.of(named, load_groups(probe.groups), kinds, characters=named)
    deciles = _deciles(probe, cfg)
    asked = []
    for each in prompts:
        known = [tag for tag in each.tags if kinds is None or tag in kinds]
        facts = facts_of(known)
        facts["unknown"] = [tag for tag in each.tags if tag not in known]
        facts["uses"] = {tag: [part, deciles.title(part)] for tag in known if deciles and (part := deciles.part(tag))}
        asked.append(Asked(each.key, PLAIN, cfg.prefix + each.text, facts))
    return expand(asked, probe, cfg)


def needs(probe: FidelityConfig) -> Needs:
    """A few tags that every list of Danbooru's has, and every tag of the user's prompts."""
    shipped: set[str] = set()
    if not probe.replace:
        alone = probe.model_copy(update={"prompts": None, "limit": None})
        shipped = {each.key for each in read_prompts(alone, TagPrompt, FILE)}
    own = [each for each in read_prompts(probe, TagPrompt, FILE) if each.key not in shipped]
    named = dict.fromkeys(tag for each in own for tag in each.tags)
    return Needs(("tags",), (*(BASIC if shipped else ()), *((tag,) for tag in named)))


def references(probe: FidelityConfig, cfg: EvaluateConfig) -> list[Reference]:
    """Real pictures of the asked tags, some of each."""
    if probe.reference is None:
        return []
    prompts, kinds, groups = read_prompts(probe, TagPrompt, FILE), _kinds(cfg), load_groups(probe.groups)
    wanted = {tag for each in prompts for tag in each.tags if kinds is None or tag in kinds}
    matters = wanted | {tag for group in groups.closed for tag in group.tags}
    pictures = read_tagged(probe.reference)
    implications = Implications.among({tag for each in pictures for tag in each.tags} | matters)
    pictures = [each._replace(tags=tuple(sorted(implications.following(each.tags) & matters))) for each in pictures]
    facts_of = _Facts.of(matters, groups, kinds, characters=wanted)
    return [
        Reference(each.name, each.file, facts_of(each.tags))
        for each in chosen(pictures, wanted, per_tag=probe.reference_per_tag, limit=probe.reference_limit)
    ]


def score(probe: FidelityConfig, looked: Looked) -> Score:
    """Recall, its ratio to the ceiling, precision, recall by use, and what came in place of what."""
    return numbers.score(looked, Sights.of(looked, probe), has_reference=probe.reference is not None)


@dataclass(frozen=True)
class _Facts:
    """What pictures are scored by: their tags, the group of each, and the closed groups that they have something of."""

    titles: Mapping[str, str]
    closed: Mapping[str, Mapping[str, Sequence[str]]]
    characters: Sequence[str]

    @classmethod
    def of(
        cls,
        tags: Iterable[str],
        groups: TagGroups,
        kinds: Mapping[str, str] | None,
        *,
        characters: Iterable[str],
    ) -> _Facts:
        """For pictures that have some of `tags`; `kinds` are those of the tagger's list."""
        named = sorted(tag for tag in characters if kinds is not None and kinds.get(tag) == "character")
        titles = {**groups.titles_of(tags), **dict.fromkeys(named, CHARACTERS)}
        closed = {title: facts for title in set(titles.values()) if (facts := groups.facts_of(title)) is not None}
        return cls(titles, {**closed, CHARACTERS: {tag: [] for tag in named}}, named)

    def __call__(self, tags: Sequence[str]) -> dict[str, Any]:
        titles = {tag: self.titles[tag] for tag in tags}
        return {
            "tags": list(tags),
            "groups": titles,
            "closed": {title: self.closed[title] for title in dict.fromkeys(titles.values()) if title in self.closed},
            "characters": [tag for tag in tags if tag in self.characters],
        }


def _kinds(cfg: EvaluateConfig) -> dict[str, str] | None:
    """Tag -> kind of the tagger's list; None without a tagger."""
    if cfg.tagger is None:
        return None
    listed = TagList.read(cfg.tagger.tags.locate())
    return dict(zip(listed.names, listed.kinds, strict=True))


def _deciles(probe: FidelityConfig, cfg: EvaluateConfig) -> Deciles | None:
    """By the table of counts, or the tagger's list where it has counts."""
    if probe.counts is not None:
        return Deciles.of(read_counts(probe.counts))
    if cfg.tagger is None:
        return None
    return Deciles.of(counts) if (counts := read_counts(cfg.tagger.tags.locate(), must=False)) else None
