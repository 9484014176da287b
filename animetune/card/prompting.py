"""How prompts are written: the order as trained, a real example, and what each special word stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from animetune.card.labels import counted, example
from animetune.card.lineage import Run
from animetune.card.markdown import block, bullets, code, escape, number, table
from animetune.curate.config import CurateConfig
from animetune.curate.config.classes import ClassRules, Level, ScaleConfig, YearClass
from animetune.figures import visible
from animetune.prompts import PromptConfig, render_tag

PLACEHOLDERS = {
    "caption": "description",
    "count": "1girl/1boy",
    "character": "character",
    "series": "series",
    "artist": "artist",
    "general": "general tags",
    "special": "special tags",
    "extra": "added tags",
    "rating": "rating",
    "quality": "quality",
    "aesthetic": "aesthetic",
    "year": "year",
}
"""Part of a prompt -> what stands for it in a template."""
RATING_NAMES = {"g": "general", "s": "sensitive", "q": "questionable", "e": "explicit"}
SCORES = {"score": "votes at the source", "fav_count": "favourites at the source", "aesthetic_score": "aesthetic score"}
SPECIAL_SHOWN = 20
"""Special tags that are listed, the most frequent ones."""


def prompt_section(run: Run) -> str:
    """Template, rules and an example; `run` is the last one."""
    cfg = run.cfg.prompts
    parts = [
        "Prompts were composed like this in training, so this is the order that the model knows:",
        "\n\n".join(block(template(order, cfg)) for order in orders(cfg)),
        bullets(rules(cfg)),
    ]
    shown = example(run)
    if shown is None:
        parts.append("No example can be shown: the labels of the training are not here, or hold no harmless picture.")
    else:
        parts += ["A prompt of the training, word for word:", block(visible(shown[1]))]
    return "\n\n".join(parts)


def orders(cfg: PromptConfig) -> list[tuple[str, ...]]:
    """The orders that prompts can have, the most frequent first."""
    weighted = sorted(cfg.weighted_orders, key=lambda item: -item[0])
    return [order for weight, order in weighted if weight > 0]


def template(order: Sequence[str], cfg: PromptConfig) -> str:
    """`1girl/1boy, character, series, everything else in any order: general tags, ...`."""
    shown: list[str] = []
    pool: list[str] = []
    for part in [*(part for part in order if part != "|||"), ""]:
        if part and part in cfg.shuffle:
            pool.append(PLACEHOLDERS[part])
            continue
        if pool:
            shown.append(f"in any order: {{{cfg.separator.join(pool)}}}" if len(pool) > 1 else f"{{{pool[0]}}}")
            pool = []
        if part == "prefix":
            shown += [cfg.prefix] if cfg.prefix else []
        elif part:
            prefix = {"artist": cfg.artist_prefix, "character": cfg.character_prefix}.get(part, "")
            shown.append(prefix + "{" + PLACEHOLDERS[part] + "}")
    text = cfg.separator.join(shown)
    if "caption" in order:
        text = text.replace(f"{{description}}{cfg.separator}", f"{{description}}{cfg.caption_end}")
    return text


def rules(cfg: PromptConfig) -> list[str]:
    """What else there is to know of how prompts were written."""
    used = {part for order in orders(cfg) for part in order}
    lines = []
    if "caption" in used:
        mix = {name: getattr(cfg.captions, name) for name in ("long", "short", "tags")}
        total = sum(mix.values())
        kinds = [f"{name} ({number(round(100 * weight / total))} %)" for name, weight in mix.items() if weight]
        lines.append(f"The description is in natural language: {', '.join(kinds)}.")
    tags = [part for part in ("count", "character", "series", "artist", "general", "special") if part in used]
    if tags:
        parted = "comma and space" if cfg.separator == ", " else code(cfg.separator)
        lines.append(f"Tags are written with spaces for underscores and parted by {parted}.")
    if cfg.shuffle:
        names = ", ".join(PLACEHOLDERS[part] for part in cfg.shuffle)
        lines.append(f"Shuffled in training, so that their order means nothing: {names}.")
    if "|||" in used:
        lines.append("What stands before the separator `|||` of the training keeps its place.")
    if cfg.artist_prefix and "artist" in used:
        lines.append(f"Artists have the prefix {code(cfg.artist_prefix)}.")
    if cfg.character_prefix and "character" in used:
        lines.append(f"Characters have the prefix {code(cfg.character_prefix)}.")
    if cfg.naming is not None:
        shown = ", ".join(code(text) for text in cfg.naming.templates)
        lines.append(f"Characters are also introduced as {shown}.")
    if cfg.prefix and "prefix" in used:
        lines.append(f"Every prompt begins with {code(cfg.prefix)}.")
    if cfg.style_words:
        lines.append("References to style were taken out of the descriptions, so that they need none.")
    lines += _noise(cfg)
    lines.append(r"Where a program reads brackets as weights, write them escaped: `saber \(fate\)`.")
    return lines


def _noise(cfg: PromptConfig) -> list[str]:
    lines = []
    if cfg.space_separator:
        lines.append(
            f"In {number(100 * cfg.space_separator)} % of the prompts, spaces stand in place of the separator."
        )
    if cfg.paraphrase is not None:
        lines.append("Numbers of people were also said in other words: `one girl`, `two boys`.")
    if cfg.prompt_dropout:
        lines.append(f"{number(100 * cfg.prompt_dropout)} % of the prompts were empty.")
    if cfg.registers is not None and cfg.registers.random:
        lines.append(f"{number(100 * cfg.registers.random)} % of the prompts end in a random string.")
    return lines


def special_section(run: Run) -> str:
    """The tables of quality, rating, aesthetic and year words, as the curation of the last run decided them."""
    used = {part for order in orders(run.cfg.prompts) for part in order}
    curated = [each.table.cfg for each in run.data if each.table is not None and each.table.cfg is not None]
    parts = []
    for part in ("quality", "rating", "aesthetic", "year"):
        if part in used:
            counts = counted(run.data, part)
            found = _class_tables(part, run.cfg.prompts, curated, counts)
            parts.append(found or _bare_table(part, run.cfg.prompts, counts))
    if "special" in used:
        parts.append(_special_tags(counted(run.data, "tags_special")))
    return "\n\n".join(part for part in parts if part)


def words_of(part: str, name: str, cfg: PromptConfig) -> str:
    """The words of a class in prompts; empty for none."""
    words: Mapping[str, Mapping[str, str]] = cfg.words  # type: ignore[assignment]
    return words.get(part, {}).get(name, name)


def _class_tables(part: str, cfg: PromptConfig, curated: Sequence[CurateConfig], counts: Mapping[str, int]) -> str:
    """One table for each way in which the sources of the tables decide a class."""
    tables = []
    scorers = [each.tag_sources.scorer or scorer.name for each in curated for scorer in each.models.scorers[:1]]
    scorer = scorers[0] if len(set(scorers)) == 1 else None
    for names, rules_ in _distinct(part, curated):
        rows = _rows(part, rules_, cfg, counts)
        if not rows:
            continue
        of_whom = f" ({escape(', '.join(names))})" if names else ""
        head = {"quality": "Quality", "rating": "Rating", "aesthetic": "Aesthetic", "year": "Year"}[part]
        tables.append(
            "\n\n".join(
                each
                for each in (
                    f"### {head} words{of_whom}",
                    _criterion(part, rules_, scorer),
                    table([f"{head} word", _column(part), "pictures of the last stage"], rows, numbers=[2]),
                )
                if each
            )
        )
    return "\n\n".join(tables)


def _distinct(part: str, curated: Sequence[CurateConfig]) -> list[tuple[list[str], ClassRules]]:
    """Rules that differ in what they say of a class, with the sources that they hold for; no names where all agree."""
    found: list[tuple[list[str], ClassRules]] = []
    for cfg in curated:
        for source in cfg.sources:
            rules_ = cfg.classes.of_source(source.name)
            for names, other in found:
                if _about(part, other) == _about(part, rules_):
                    names.append(source.name)
                    break
            else:
                found.append(([source.name], rules_))
    return [([], found[0][1])] if len(found) == 1 else [(sorted(set(names)), each) for names, each in found]


def _about(part: str, rules_: ClassRules) -> object:
    return {"quality": rules_.quality, "aesthetic": rules_.aesthetic, "year": rules_.years, "rating": rules_.rating}[
        part
    ]


def _rows(part: str, rules_: ClassRules, cfg: PromptConfig, counts: Mapping[str, int]) -> list[list[str]]:
    if part == "year":
        return _year_rows(rules_.years, cfg, counts)
    if part == "rating":
        return [
            [_shown(words_of("rating", rating, cfg)), name, number(counts.get(rating, 0))]
            for rating, name in RATING_NAMES.items()
        ]
    scale = rules_.quality if part == "quality" else rules_.aesthetic
    return [
        [_shown(words_of(part, level.name, cfg)), interval(scale, place), number(counts.get(level.name, 0))]
        for place, level in enumerate(scale.levels)
        if level.name is not None
    ]


def interval(scale: ScaleConfig, place: int) -> str:
    """`> 85 % and ≤ 95 %`: where the level of a scale holds."""
    levels: Sequence[Level] = scale.levels
    unit = "" if scale.measure == "value" else " %"
    low = levels[place].above
    high = levels[place - 1].above if place else None
    said = [f"> {number(low)}{unit}"] if low is not None else []
    said += [f"≤ {number(high)}{unit}"] if high is not None else []
    return " and ".join(said) or "all"


def _year_rows(years: Sequence[YearClass], cfg: PromptConfig, counts: Mapping[str, int]) -> list[list[str]]:
    rows = []
    for year in reversed(years):
        if len(year.names) > 1:
            seen = sum(counts.get(name, 0) for name in year.names)
            rows.append([code(year.name), f"the year itself, {_span(year)}", number(seen)])
        else:
            rows.append([_shown(words_of("year", year.name, cfg)), _span(year), number(counts.get(year.name, 0))])
    return rows


def _span(year: YearClass) -> str:
    if year.first is None:
        return "all years" if year.last is None else f"up to {year.last}"
    if year.last is None:
        return f"{year.first} and later"
    return str(year.first) if year.first == year.last else f"{year.first} to {year.last}"


def _criterion(part: str, rules_: ClassRules, scorer: str | None) -> str:
    if part == "year":
        return "By the year of upload."
    if part == "rating":
        changed = {key: value for key, value in rules_.rating.items() if value != key}
        said = ", ".join(
            f"{RATING_NAMES.get(key, key)} is taken as {RATING_NAMES.get(value or '', 'none')}"
            for key, value in changed.items()
        )
        return f"By the rating at the source{f'; {said}' if said else ''}."
    scale = rules_.quality if part == "quality" else rules_.aesthetic
    if scale.measure == "value":
        return f"By the {_score(scale, scorer)} itself."
    among = " and ".join({"source": "the same source", "rating": "the same rating"}[name] for name in scale.within)
    window = f", uploaded within a moving window of {scale.window}" if scale.measure == "window" else ""
    of_whom = f" of {among}" if among else ""
    return f"By the percentile of the {_score(scale, scorer)} among posts{of_whom}{window}."


def _score(scale: ScaleConfig, scorer: str | None) -> str:
    by = f" of {code(scorer)}" if scorer is not None and scale.column == "aesthetic_score" else ""
    return f"{SCORES[scale.column]}{by}"


def _column(part: str) -> str:
    return {"year": "years", "rating": "rating at the source"}.get(part, "criterion")


def _bare_table(part: str, cfg: PromptConfig, counts: Mapping[str, int]) -> str:
    """Words and counts alone, where it is not known what decided them."""
    if not counts:
        return ""
    rows = [[_shown(words_of(part, name, cfg)), number(count)] for name, count in counts.items()]
    title = f"### {part.capitalize()} words"
    return f"{title}\n\nWhat decided them is not known here.\n\n{table(['word', 'pictures'], rows, numbers=[1])}"


def _special_tags(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    shown = list(counts.items())[:SPECIAL_SHOWN]
    rows = [[code(render_tag(tag)), number(count)] for tag, count in shown]
    return f"### Special tags\n\n{table(['tag', 'pictures'], rows, numbers=[1])}"


def _shown(words: str) -> str:
    return code(words) if words else "(no word)"
