"""A caption from tags alone: the last resort where no model gave one, in plain sentences and without style."""

from __future__ import annotations

import re
from collections.abc import Iterable

from animetune.curate.caption.facts import PictureFacts, bare_name, names
from animetune.curate.caption.semantics import class_of
from animetune.curate.caption.sentences import article, capitalised, listed, word_set
from animetune.curate.tag.people import COUNTS, NOBODY

_CLOTHES = ("clothing", "legwear", "footwear", "headwear", "accessories")
_MOST = {"clothes": 8, "actions": 4, "places": 5}
_NUMBER = ("no", "one", "two", "three", "four", "five")
_FACE = {
    "smile": "smiling", "light_smile": "smiling lightly", "grin": "grinning", "blush": "blushing", "crying": "crying",
    "laughing": "laughing", "open_mouth": "with an open mouth", "closed_mouth": "with a closed mouth",
    "closed_eyes": "with closed eyes", "frown": "frowning", "pout": "pouting",
    "one_eye_closed": "with one eye closed", "tears": "with tears", "angry": "looking angry", "sad": "looking sad",
    "surprised": "looking surprised", "happy": "looking happy", "embarrassed": "looking embarrassed",
    "expressionless": "with a blank expression", "scared": "looking scared", "worried": "looking worried",
    "serious": "with a serious expression", "tongue_out": "with the tongue out", "smirk": "smirking",
    "yawning": "yawning",
}  # fmt: skip
_DOING = {
    "looking_at_viewer": "looking at the viewer", "looking_back": "looking back", "looking_away": "looking away",
    "looking_to_the_side": "looking to the side", "looking_up": "looking up", "looking_down": "looking down",
    "looking_at_another": "looking at another", "standing": "standing", "sitting": "sitting", "lying": "lying down",
    "on_back": "lying on the back", "on_stomach": "lying on the stomach", "on_side": "lying on the side",
    "kneeling": "kneeling", "squatting": "squatting", "walking": "walking", "running": "running",
    "jumping": "jumping", "flying": "flying", "sleeping": "sleeping", "swimming": "swimming", "dancing": "dancing",
    "singing": "singing", "eating": "eating", "drinking": "drinking", "reading": "reading", "cooking": "cooking",
    "fighting": "fighting", "leaning_forward": "leaning forward", "leaning_back": "leaning back",
    "arms_up": "with both arms up", "arm_up": "with one arm up", "arms_behind_back": "with both arms behind the back",
    "hand_on_own_hip": "with a hand on the hip", "hands_on_own_hips": "with both hands on the hips",
    "crossed_arms": "with crossed arms", "crossed_legs": "with crossed legs", "waving": "waving",
    "salute": "saluting", "v": "making a V sign", "holding_hands": "holding hands", "hug": "hugging",
    "kiss": "kissing", "wariza": "sitting", "seiza": "sitting on the knees", "stretching": "stretching",
    "pointing_at_viewer": "pointing at the viewer", "outstretched_arms": "with outstretched arms",
    "back-to-back": "back to back",
}  # fmt: skip
_WHERE = {
    "outdoors": "outdoors", "indoors": "indoors", "night": "at night", "day": "by day", "sunset": "at sunset",
    "rain": "in the rain", "snowing": "in falling snow", "underwater": "under water", "sunrise": "at sunrise",
    "evening": "in the evening",
}  # fmt: skip
_UNIQUE = word_set("sky ocean water sea moon sun horizon sunlight moonlight nature space night_sky starry_sky blue_sky")
_NO_ARTICLE = word_set(
    "armor lingerie underwear swimwear sportswear jewelry footwear legwear headwear neckwear eyewear pajamas "
    "pantyhose overalls denim lace clothing clothes "
    "grass snow sand smoke fire water fog scenery nature architecture food ice hay mist fishnets furniture rain "
    "bamboo ivy foliage tatami sunlight moonlight gothic "
    "hagoromo sarashi fashion attire fire_trail"
)
_SINGULAR_S = ("dress", "glass", "ss", "us", "is", "cross", "compass")
_HAIRSTYLES = re.compile(
    r"(?:ponytail|braid|braids|twintails|bun|buns|bob|drills|twin_drills|ahoge|side_ponytail|sidelocks|hime_cut|bangs)$"
)
_LENGTHS = ("short", "medium", "long", "very_long", "absurdly_long", "very_short")
_PAIRS = re.compile(
    r"\b(?:socks|shoes|boots|gloves|earrings|thighhighs|stockings|shorts|pants|jeans|leggings|kneehighs|glasses"
    r"|sandals|sleeves|sneakers|panties|loafers)$"
)
_LEFT_OUT = re.compile(
    r"(?:^|_)(?:unworn|removed|no|alternate|adapted|official|implied|borrowed|mismatched|multiple|single|print|aside"
    r"|pull|lift|grab|tug|writing|under|over|around|through|partially|between|open"
    r"|undone|untied|torn|bound|request|nude|naked|nipple|visible|lowered|down|up|own|another'?s|out|in|on|off|only"
    r"|with|theft|day)(?:_|$)"
)


def describe(facts: PictureFacts) -> str:
    """One to three sentences about a picture, the same for the same tags; never empty.

    Says who is there, hair, eyes, expression, clothes, what is done and where. Tags that cannot be said in plain words
    are left out.
    """
    general = _distinct(facts.tags_general)
    who, number = _who(facts)
    if not number:
        return _without_people(facts, general)
    traits = [*_hair(general), *_eyes(general)] if number == 1 else _shared(general)
    subject = f"{who} with {listed(traits)}" if traits else who
    face = [_FACE[tag] for tag in general if tag in _FACE][:2]
    worn = _worn(general) if number == 1 else []
    said = [_sentence(subject, number, [*face, *_actions(general)])]
    if worn:
        said.append(f"{_pronoun(facts)} wearing {listed(worn)}.")
    if place := _place(general):
        said.append(place)
    return " ".join(said)


def _who(facts: PictureFacts) -> tuple[str, int]:
    """The people as words, and how many they are; 0 for nobody."""
    counted = []
    total, is_open = 0, False
    for kind, stated in COUNTS.items():
        number = max((stated[tag] for tag in facts.tags_count if tag in stated), default=0)
        is_exact = any(stated.get(tag) == number and not tag.startswith(("multiple", "6+")) for tag in facts.tags_count)
        noun = "person" if kind == "other" else kind
        total += number
        is_open |= bool(number) and not is_exact
        if number == 1:
            counted.append(f"a {noun}")
        elif number:
            plural = "people" if kind == "other" else f"{noun}s"
            counted.append(f"{_NUMBER[number] if is_exact else 'several'} {plural}")
    known = facts.characters
    if not total:
        if NOBODY in facts.tags_count or not (known or "solo" in facts.tags_count):
            return "", 0
        return (known[0], 1) if len(known) == 1 else (listed(list(known)), len(known)) if known else ("a person", 1)
    who = listed(counted)
    if known and (len(known) <= total or is_open):
        among = "" if len(known) >= total else "among them "
        return (f"{who} named {known[0]}" if total == 1 else f"{who}, {among}{listed(list(known))},"), total
    return who, total


def _pronoun(facts: PictureFacts) -> str:
    kinds = [kind for kind, stated in COUNTS.items() if any(tag in stated for tag in facts.tags_count)]
    return {"girl": "She is", "boy": "He is"}.get(kinds[0] if len(kinds) == 1 else "", "The person is")


def _hair(tags: list[str]) -> list[str]:
    """`long blue hair`, then how it is worn."""
    colours = [tag.removesuffix("_hair") for tag in tags if tag.endswith("_hair") and class_of(tag) == "hair"]
    length = next((tag for tag in colours if tag in _LENGTHS), "")
    shades = [tag for tag in colours if tag not in _LENGTHS and not _LEFT_OUT.search(tag)][:1]
    words = [word.replace("_", " ") for word in (length, *shades) if word]
    styles = [
        _with_article(tag)
        for tag in tags
        if _HAIRSTYLES.search(tag) and class_of(tag) == "hairstyle" and not _LEFT_OUT.search(tag)
    ]
    return ([f"{' '.join(words)} hair"] if words else []) + styles[:2]


def _eyes(tags: list[str]) -> list[str]:
    return [
        name
        for tag, name in zip(tags, names(tags), strict=True)
        if re.fullmatch(r"[a-z]+_eyes", tag)
        and tag not in _FACE
        and class_of(tag) == "eyes"
        and not _LEFT_OUT.search(tag)
    ][:1]


def _shared(tags: list[str]) -> list[str]:
    """Hair that several people have in common is told only when one colour is stated."""
    colours = [
        tag
        for tag in tags
        if tag.endswith("_hair") and class_of(tag) == "hair" and tag.removesuffix("_hair") not in _LENGTHS
    ]
    return [colours[0].replace("_", " ")] if len(colours) == 1 and not _LEFT_OUT.search(colours[0]) else []


def _worn(tags: list[str]) -> list[str]:
    worn = [tag for tag in tags if class_of(tag) in _CLOTHES and not _LEFT_OUT.search(tag) and _is_plain(tag)]
    # `red_dress` says more than `dress`
    specific = [tag for tag in worn if not any(other != tag and other.endswith(f"_{tag}") for other in worn)]
    return [_with_article(tag) for tag in specific][: _MOST["clothes"]]


def _actions(tags: list[str]) -> list[str]:
    said = []
    for tag in tags:
        if tag in _DOING:
            said.append(_DOING[tag])
        elif (
            tag.startswith("holding_")
            and class_of(tag) == "action"
            and _is_plain(tag)
            and not _LEFT_OUT.search(tag)
            and tag.count("_") <= 2
        ):
            said.append(f"holding {_with_article(tag.removeprefix('holding_'))}")
    specific = [
        text
        for text in dict.fromkeys(said)
        if not (text == "lying down" and any(other.startswith("lying on") for other in said))
    ]
    return specific[: _MOST["actions"]]


def _place(tags: list[str]) -> str:
    """The sentence about the background; empty where tags say nothing of it."""
    colours = [tag for tag in tags if tag.endswith("_background") and class_of(tag) == "background"]
    where = [_WHERE[tag] for tag in tags if tag in _WHERE][:3]
    seen = _things(tags, ("environment", "surroundings", "plants"))
    if seen:
        return f"The background shows {listed(seen)}{f', {listed(where)}' if where else ''}."
    if where:
        return f"The place is {listed(where)}."
    if colours:
        colour = colours[0].removesuffix("_background").replace("_", " ")
        return f"The background is {colour}."
    return ""


def _things(tags: list[str], classes: tuple[str, ...]) -> list[str]:
    found = [
        tag
        for tag in tags
        if class_of(tag) in classes and tag not in _WHERE and not _LEFT_OUT.search(tag) and _is_plain(tag)
    ]
    specific = [tag for tag in found if not any(other != tag and other.endswith(f"_{tag}") for other in found)]
    telling = [tag for tag in specific if tag != "scenery"] or specific
    return [_with_article(tag) for tag in telling][: _MOST["places"]]


def _without_people(facts: PictureFacts, tags: list[str]) -> str:
    things = _things(tags, ("animals", "vehicles", "items", "weapons", "food"))
    place = _place(tags)
    if things:
        return f"{capitalised(listed(things))}. {place}".strip()
    if place:
        return place.replace("The background shows", "The scene shows") + (
            " There are no people." if NOBODY in facts.tags_count else ""
        )
    if facts.tags_copyright and (series := facts.series):
        return f"A scene from {bare_name(series[0])}."
    return "A scene without people." if NOBODY in facts.tags_count else "A scene."


def _sentence(subject: str, number: int, phrases: list[str]) -> str:
    """`A girl is smiling and looking back, with closed eyes.`"""
    having = [phrase.removeprefix("with ") for phrase in phrases if phrase.startswith("with ")]
    doing = [phrase for phrase in phrases if not phrase.startswith("with ")]
    if doing:
        end = f" {'are' if number > 1 else 'is'} {listed(doing)}" + (f", with {listed(having)}" if having else "")
    elif having:
        end = f" {'have' if number > 1 else 'has'} {listed(having)}"
    else:
        subject, end = subject.rstrip(","), ""
    return f"{capitalised(subject)}{end}."


def _with_article(tag: str) -> str:
    name = names([tag])[0]
    last = tag.rpartition("_")[2]
    is_plural = last.endswith("s") and not last.endswith(_SINGULAR_S)
    if tag in _UNIQUE:
        return f"the {name}" if " " not in name else f"{article(name)} {name}"
    if tag in _NO_ARTICLE or last in _NO_ARTICLE or is_plural or _PAIRS.search(last):
        return name
    return f"{article(name)} {name}"


def _is_plain(tag: str) -> bool:
    """Whether a tag reads as words: letters and hyphens, no brackets, no emoticon."""
    return re.fullmatch(r"[a-z]+(?:[_-][a-z]+){0,3}", tag) is not None


def _distinct(tags: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(tags))
