"""Make the prompts of the probe `fidelity` from a table of how often tags are used.

    python scripts/make_fidelity_prompts.py selected_tags.csv --out animetune/evaluate/prompts/fidelity.jsonl

What goes together is written by hand, in fidelity_prompts.yaml, so that no prompt contradicts itself: a scene has the
clothes, things and postures that belong there, a portrait shows no shoes, sunglasses hide the colour of eyes. The table
decides what of it is asked: tags that it does not have are left out, and of what fits, the tags come first that were
asked least, then those of the tenth of all tags (by use) that was asked least. Equal tables give equal files.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import yaml

from animetune import fsio
from animetune.evaluate.fidelity.frequencies import Deciles, read_counts
from animetune.seeding import Purpose, rng_for

SEED = 0
SCENE_PROMPTS, PLAIN_PROMPTS = 150, 60
"""Prompts of one person somewhere, and before a plain background; the other kinds have as many as are listed."""
ALWAYS = frozenset({"no_humans"})
"""Asked even where the table does not have it."""

PARTS = yaml.safe_load(Path(__file__).with_name("fidelity_prompts.yaml").read_text(encoding="utf-8"))
EYE_STATES = frozenset({"closed_eyes", "one_eye_closed", "half-closed_eyes"})


def tags_of(name: str) -> list[str]:
    """A list of tags."""
    return str(PARTS[name]).split()


def sets_of(name: str) -> list[list[str]]:
    """A list of sets of tags."""
    return [str(each).split() for each in PARTS[name]]


class Maker:
    """Takes what was asked least; what a table does not have is never taken."""

    def __init__(self, counts: dict[str, int]):
        self._deciles = Deciles.of(counts)
        self._used: Counter[str] = Counter()
        self._parts: Counter[int] = Counter()
        self._rng = rng_for(SEED, Purpose.SKETCH)

    def knows(self, tag: str) -> bool:
        """Whether the table has the tag."""
        return tag in self._deciles.counts

    def take(self, options: Iterable[str], *, avoid: Iterable[str] = ()) -> str:
        """One of the options, or "" where the table has none."""
        known = [tag for tag in dict.fromkeys(options) if self.knows(tag) and tag not in set(avoid)]
        if not known:
            return ""
        tie = self._rng.permutation(len(known))
        chosen = min(range(len(known)), key=lambda place: (*self._rank([known[place]]), int(tie[place])))
        return known[chosen]

    def take_set(self, options: Sequence[Sequence[str]]) -> list[str]:
        """One of several sets, without the tags that the table lacks."""
        known = [[tag for tag in each if self.knows(tag)] for each in options]
        kept = [each for each in known if each]
        tie = self._rng.permutation(len(kept))
        return kept[min(range(len(kept)), key=lambda place: (*self._rank(kept[place]), int(tie[place])))]

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return bool(self._rng.random() < probability)

    def finished(self, tags: Iterable[str]) -> list[str]:
        """The tags without doubles and empty ones, noted as asked; tags of the table alone but for characters."""
        made = [tag for tag in dict.fromkeys(tags) if tag]
        self._used.update(made)
        self._parts.update(part for tag in made if (part := self._deciles.part(tag)) is not None)
        return made

    def _rank(self, tags: Sequence[str]) -> tuple[float, int]:
        parts = [self._parts[self._deciles.part(tag) or 0] for tag in tags]
        return max(self._used[tag] for tag in tags), min(parts)


def scene(maker: Maker, place: int) -> list[str]:
    """One person somewhere."""
    chosen = PARTS["scenes"][place % len(PARTS["scenes"])]
    is_boy = place % 4 == 3
    framing = maker.take(tags_of("framings")) if place % 3 == 0 else maker.take(["cowboy_shot", "full_body"])
    view = maker.take(tags_of("views")) if maker.chance(0.2) else ""
    items = chosen["item"].split()
    first = maker.take(items)
    second = maker.take(items, avoid=[first])
    shown = [maker.take((chosen["boy"] if is_boy else chosen["outfit"]).split()), first, second]
    if (
        framing == "full_body"
        and shown[0] in tags_of("shod")
        and not set(tags_of("barefoot")) & set(chosen["place"].split())
    ):
        shown.append(maker.take(tags_of("shoes")[:4]))
    body = [] if framing in ("portrait", "upper_body") else [maker.take(chosen["pose"].split())]
    if framing == "portrait":
        shown = [shown[0], maker.take(tags_of("accessories")[:30], avoid=["sunglasses"])]
    return maker.finished([
        *person(maker, is_boy=is_boy, gaze=maker.take(tags_of("gazes")), hidden=set(shown)),
        *shown, *body, *chosen["place"].split(), framing, view,
    ])  # fmt: skip


def plain(maker: Maker, place: int) -> list[str]:
    """One person before a plain background: colours of clothes, accessories, ears and tails."""
    is_boy = place % 5 == 4
    bottom = "pants" if is_boy else maker.take(tags_of("bottoms"))
    top = maker.take(f"{colour}_{piece}" for colour in tags_of("colours") for piece in tags_of("tops"))
    low = maker.take(f"{colour}_{bottom}" for colour in tags_of("colours"))
    accessory = maker.take(tags_of("accessories"))
    legs = ""
    if not is_boy and bottom != "pants" and maker.chance(0.7):
        kind = maker.take(tags_of("legs"))
        legs = maker.take(f"{colour}_{kind}" for colour in tags_of("colours")) or kind
    return maker.finished([
        *person(maker, is_boy=is_boy, gaze="looking_at_viewer", hidden={accessory}),
        *(maker.take_set(sets_of("kinds")) if place % 2 == 0 else []),
        accessory, top, low, legs, maker.take(tags_of("shoes")), "standing", "full_body",
        maker.take(tags_of("backgrounds")),
    ])  # fmt: skip


def person(maker: Maker, *, is_boy: bool, gaze: str, hidden: set[str]) -> list[str]:
    """Count, hair, eyes, face and gaze of one person; `hidden` is what may hide some of it."""
    if is_boy:
        length, styles = maker.take(["short_hair", "short_hair", "medium_hair"]), tags_of("styles_of_boys")
    else:
        length = maker.take(tags_of("lengths"))
        styles = tags_of("short_styles") if length == "short_hair" else tags_of("long_styles")
    face = maker.take_set(
        sets_of("faces")
        if "sunglasses" not in hidden
        else [each for each in sets_of("faces") if not EYE_STATES & set(each)]
    )
    eyes = maker.take(f"{colour}_eyes" for colour in tags_of("colours_of_eyes"))
    if "closed_eyes" in face or "sunglasses" in hidden:
        eyes = ""
    if "closed_eyes" in face:
        gaze = ""
    hair = maker.take(f"{colour}_hair" for colour in tags_of("colours_of_hair"))
    return ["1boy" if is_boy else "1girl", "solo", length, hair, maker.take(styles), eyes, *face, gaze]


def several(maker: Maker, place: int) -> list[str]:
    """Several people, or one with an animal: only what holds for all, and two colours of hair."""
    tags = sets_of("several")[place]
    extra = []
    if sum(tag in ("1girl", "1boy") for tag in tags) == 2 or "2girls" in tags or "2boys" in tags:
        one = maker.take(f"{colour}_hair" for colour in tags_of("colours_of_hair"))
        extra = [one, maker.take((f"{colour}_hair" for colour in tags_of("colours_of_hair")), avoid=[one])]
    return maker.finished([*tags, *extra])


def nobody(maker: Maker, place: int) -> list[str]:
    """No person at all."""
    tags = sets_of("nobody")[place]
    return maker.finished(
        ["no_humans", *tags, *([maker.take(["day", "sunset"])] if tags[0] in tags_of("by_day") else [])]
    )


def faces(maker: Maker, place: int) -> list[str]:
    """A face as an emoticon, which keeps its underscores in a prompt."""
    hair, length = maker.take(f"{colour}_hair" for colour in tags_of("colours_of_hair")), maker.take(tags_of("lengths"))
    framing = "full_body" if "lying" in sets_of("emoticons")[place] else "upper_body"
    return maker.finished(
        ["1girl", "solo", hair, length, *sets_of("emoticons")[place], framing, maker.take(tags_of("backgrounds"))]
    )


def make(counts: dict[str, int]) -> list[list[str]]:
    """All prompts, as lists of tags; those that the table knows too little of are left out."""
    maker = Maker(counts)
    kinds = (
        (scene, SCENE_PROMPTS), (plain, PLAIN_PROMPTS), (several, len(sets_of("several"))),
        (nobody, len(sets_of("nobody"))), (faces, len(sets_of("emoticons"))),
    )  # fmt: skip
    made = [kind(maker, place) for kind, prompts in kinds for place in range(prompts)]
    for place, (character, count) in enumerate(sets_of("characters")):
        framing, background = (
            tags_of("framings")[place % 3],
            tags_of("backgrounds")[place % len(tags_of("backgrounds"))],
        )
        made.append(maker.finished([count, "solo", character, "looking_at_viewer", framing, background]))
    named = {character for character, _ in sets_of("characters")} | ALWAYS
    kept = [[tag for tag in tags if maker.knows(tag) or tag in named] for tags in made]
    return [tags for tags in kept if len(tags) > 2]


def main() -> None:
    """Write the file, and say what it covers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="CSV of tags and their uses, such as a tagger's selected_tags.csv")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    counts = read_counts(options.table)
    prompts = make(counts)
    fsio.atomic_write(options.out, "".join(json.dumps({"tags": tags}, ensure_ascii=False) + "\n" for tags in prompts))
    deciles = Deciles.of(counts)
    uses = Counter(part for tags in prompts for tag in tags if (part := deciles.part(tag)) is not None)
    different = {tag for tags in prompts for tag in tags}
    spread = Counter(part for tag in different if (part := deciles.part(tag)) is not None)
    print(
        f"{len(prompts)} prompts, {len(different)} tags, {np.mean([len(tags) for tags in prompts]):.1f} tags a prompt"
    )
    for part in sorted(uses):
        print(f"  {deciles.title(part)}: {spread[part]} tags, {uses[part]} times")


if __name__ == "__main__":
    main()
