"""The step `tag_sources`: whose tags are taken, against lists written by hand."""

from __future__ import annotations

import polars as pl
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.curate.config.models import ModelsConfig, TagSourcesConfig
from animetune.curate.recognize.likely_tags import KnownTags, LikelyTags, likeliest_ratings
from animetune.curate.recognize.tag_sources import check, check_kinds, choose, reads, writes
from animetune.errors import ConfigError
from animetune.vision.taggers import TagList

RATINGS = (("general", "rating"), ("sensitive", "rating"), ("questionable", "rating"), ("explicit", "rating"))
ONE = TagList(
    *zip(*RATINGS, ("1girl", "general"), ("smile", "general"), ("^_^", "general"), ("miku", "character"), strict=True)
)
TWO = TagList(*zip(("smile", "general"), ("hat", "general"), ("miku", "character"), strict=True))
SOLO = {"one": ONE}


def models(*names: str, scorers: tuple[str, ...] = ()) -> ModelsConfig:
    file = {"path": "x"}
    return ModelsConfig.model_validate(
        {
            "taggers": [{"name": name, "model": file, "tags": file} for name in names],
            "scorers": [{"kind": "transformers", "name": name, "model": file} for name in scorers],
        }
    )


def answers(lists: dict[str, TagList], **said: list[dict[str, float]]) -> dict[str, pl.Series]:
    """Columns of taggers, from tag -> probability of every row."""
    columns = {}
    for tagger, rows in said.items():
        names = lists[tagger].names
        found = [sorted((names.index(tag), round(10_000 * likely)) for tag, likely in row.items()) for row in rows]
        tags = [[tag for tag, _ in row] for row in found]
        columns[f"{tagger}:tags"] = pl.Series(tags, dtype=pl.List(pl.UInt32()))
        likely = [[likely for _, likely in row] for row in found]
        columns[f"{tagger}:likely"] = pl.Series(likely, dtype=pl.List(pl.UInt16()))
    return columns


def posts(count: int, **columns) -> pl.DataFrame:
    empty = pl.Series([[]] * count, dtype=pl.List(pl.String()))
    own = {
        "row": pl.Series(range(count), dtype=pl.UInt32()),
        "key": [f"a/{n}" for n in range(count)],
        "source": ["a"] * count,
        "rating": pl.Series([None] * count, dtype=pl.String()),
        "aesthetic_score": pl.Series([None] * count, dtype=pl.Float32()),
        **{f"tags_{kind}": empty for kind in ("general", "character", "copyright", "artist", "meta")},
    }
    return pl.DataFrame({**own, **columns})


def chosen(rows: pl.DataFrame, cfg: ModelsConfig, lists: dict[str, TagList], **settings):
    rules = TagSourcesConfig.model_validate(settings)
    given_rows = rows.select("row", "key", *reads(cfg, rules))
    outcome = choose(given_rows, cfg, rules, lists)
    assert outcome.kept.columns == ["row", *writes(cfg, rules)]
    assert outcome.kept["row"].to_list() == rows["row"].to_list()
    return outcome


SEEN = {"1girl": 0.9, "smile": 0.35, "^_^": 0.95, "miku": 0.85}
OWN = ["hat", "smile"]


@pytest.mark.parametrize(
    ("policy", "with_own", "without"),
    [
        ("tagger", ["^_^", "1girl", "smile"], ["^_^", "1girl", "smile"]),
        ("union", ["hat", "smile", "^_^", "1girl"], ["^_^", "1girl", "smile"]),
        ("written_first", ["hat", "smile"], ["^_^", "1girl", "smile"]),
    ],
)
def test_policies(policy: str, with_own: list[str], without: list[str]):
    rows = posts(2, tags_general=[OWN, []], **answers(SOLO, one=[SEEN, SEEN]))
    outcome = chosen(rows, models("one"), SOLO, general=policy, character="union")
    assert outcome.kept["tags_general"].to_list() == [with_own, without]
    assert outcome.kept["tags_character"].to_list() == [["miku"], ["miku"]]
    noted = outcome.facts["tag_sources"]
    assert noted["tags_added"]["general"] == len(with_own) + len(without) - 2 * (policy != "tagger")
    assert noted["tags_removed"]["general"] == 2 * (policy == "tagger")
    assert noted["tags_added"]["character"] == 2


def test_original_writes_nothing():
    rows = posts(2, tags_general=[OWN, []], **answers(SOLO, one=[SEEN, SEEN]))
    outcome = chosen(rows, models("one"), SOLO, general="original", character="original")
    assert outcome.kept.columns == ["row", "rating"]
    mixed = chosen(rows, models("one"), SOLO, general="original", sources={"b": {"general": "union"}})
    assert mixed.kept["tags_general"].to_list() == [OWN, []]


def test_thresholds():
    said = [{"1girl": 0.35, "smile": 0.3499, "miku": 0.8499}, {"1girl": 0.6, "smile": 0.2, "miku": 0.85}]
    rows = posts(2, **answers(SOLO, one=said))
    outcome = chosen(rows, models("one"), SOLO)
    assert outcome.kept["tags_general"].to_list() == [["1girl"], ["1girl"]]
    assert outcome.kept["tags_character"].to_list() == [[], ["miku"]]
    lower = chosen(rows, models("one"), SOLO, thresholds={"character": 0.8}, tags={"Smile": 0.2, "1girl": 0.5})
    assert lower.kept["tags_general"].to_list() == [["smile"], ["1girl", "smile"]]
    assert lower.kept["tags_character"].to_list() == [["miku"], ["miku"]]


def test_a_tag_that_the_post_has_in_another_list_or_spelling_is_not_added():
    rows = posts(2, tags_general=[["Miku"], ["1Girl", "x y"]], **answers(SOLO, one=[SEEN, SEEN]))
    outcome = chosen(rows, models("one"), SOLO, general="union", character="union")
    assert outcome.kept["tags_character"].to_list() == [[], ["miku"]]
    assert outcome.kept["tags_general"].to_list() == [
        ["Miku", "^_^", "1girl", "smile"],
        ["1Girl", "x y", "^_^", "smile"],
    ]


@pytest.mark.parametrize(
    ("combine", "expected"),
    [("mean", ["hat", "1girl", "smile"]), ("max", ["hat", "smile", "1girl"])],
)
def test_several_taggers(combine: str, expected: list[str]):
    """mean: 1girl 0.5 (known to one), smile (0.8 + 0.1) / 2 = 0.45, hat 0.6, miku (0.9 + 0) / 2 = 0.45."""
    lists = {"one": ONE, "two": TWO}
    said = {"one": [{"1girl": 0.5, "smile": 0.1, "miku": 0.9}], "two": [{"smile": 0.55, "hat": 0.6}]}
    if combine == "mean":
        said = {"one": [{"1girl": 0.5, "smile": 0.8, "miku": 0.9}], "two": [{"smile": 0.1, "hat": 0.6}]}
    outcome = chosen(posts(1, **answers(lists, **said)), models("one", "two"), lists, combine=combine)
    assert outcome.kept["tags_general"].to_list() == [expected]
    assert outcome.kept["tags_character"].to_list() == [[] if combine == "mean" else ["miku"]]


def test_ratings():
    said = [
        {"general": 0.6, "sensitive": 0.5},
        {"general": 0.1, "explicit": 0.7},
        {"questionable": 0.5, "sensitive": 0.4},
        {"sensitive": 0.5},
        {},
    ]
    rows = posts(5, rating=pl.Series([None, None, "e", None, "s"], dtype=pl.String()), **answers(SOLO, one=said))
    expected = {
        "missing": ["g", "e", "e", "s", "s"],
        "always": ["g", "e", "q", "s", "s"],
    }
    for when, ratings in expected.items():
        outcome = chosen(rows, models("one"), SOLO, rating=when)
        assert outcome.kept["rating"].to_list() == ratings
        assert outcome.facts["tag_sources"]["ratings"] == {"missing": 3, "always": 4}[when]
    assert "rating" not in chosen(rows, models("one"), SOLO, rating="never").kept.columns


def test_scores():
    stated = pl.Series([1.5, None, float("nan"), None], dtype=pl.Float32())
    seen = pl.Series([0.25, 0.5, 0.75, None], dtype=pl.Float32())
    rows = posts(4, aesthetic_score=stated, **{"fine:score": seen, "other:score": seen * 2})
    cfg = models(scorers=("fine", "other"))
    outcome = chosen(rows, cfg, {})
    assert outcome.kept.columns == ["row", "aesthetic_score"]
    assert outcome.kept["aesthetic_score"].to_list() == [1.5, 0.5, 0.75, None]
    assert outcome.kept["aesthetic_score"].dtype == pl.Float32()
    assert outcome.facts == {"tag_sources": {"scores": 2}}
    always = chosen(rows, cfg, {}, aesthetic_score="always", scorer="other")
    assert always.kept["aesthetic_score"].to_list() == [0.5, 1.0, 1.5, None]
    assert chosen(rows, cfg, {}, aesthetic_score="never").kept.columns == ["row"]


def test_sources_of_their_own():
    rows = posts(3, source=["a", "b", "a"], tags_general=[["hat"]] * 3, **answers(SOLO, one=[SEEN] * 3))
    own = {"b": {"general": "tagger", "thresholds": {"general": 0.92}}}
    outcome = chosen(rows, models("one"), SOLO, general="union", thresholds={"character": 0.9}, sources=own)
    assert outcome.kept["tags_general"].to_list() == [
        ["hat", "^_^", "1girl", "smile"],
        ["^_^"],
        ["hat", "^_^", "1girl", "smile"],
    ]
    assert outcome.kept["tags_character"].to_list() == [[], [], []]


def test_rows_without_answers_or_none_at_all():
    rows = posts(2, tags_general=[["hat"], []], **answers(SOLO, one=[SEEN, {}]))
    rows = rows.with_columns(pl.col("one:tags", "one:likely").list.slice(0, 0))
    outcome = chosen(rows, models("one"), SOLO, general="union")
    assert outcome.kept["tags_general"].to_list() == [["hat"], []]
    assert outcome.kept["rating"].to_list() == [None, None]
    assert chosen(rows.head(0), models("one"), SOLO).kept.height == 0


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"general: 0\.01 is below the floor 0\.05 of one"):
        check(models("one"), TagSourcesConfig(thresholds={"general": 0.01}), ["a"])
    with pytest.raises(ConfigError, match=r"tags: smile: 0\.02 is below the floor"):
        check(models("one"), TagSourcesConfig(tags={"smile": 0.02}), ["a"])
    with pytest.raises(ConfigError, match="sources: b: no source is called that"):
        check(models("one"), TagSourcesConfig(sources={"b": {}}), ["a"])
    with pytest.raises(ConfigError, match="scorer: fine: `models` has no scorer of this name"):
        check(models("one"), TagSourcesConfig(scorer="fine"), ["a"])
    with pytest.raises(ConfigError, match="artist: tagger: no tagger in `models` knows artist tags"):
        check_kinds(TagSourcesConfig(artist="tagger"), SOLO)
    with pytest.raises(pydantic.ValidationError, match="two models are called one"):
        models("one", "one")


likely_tags = st.dictionaries(st.sampled_from(ONE.names), st.integers(500, 10_000).map(lambda n: n / 10_000))
own_tags = st.lists(st.sampled_from(["hat", "smile", "1girl", "miku", "zzz"]), unique=True)


@given(
    st.lists(st.tuples(own_tags, own_tags, likely_tags), min_size=1, max_size=6),
    st.sampled_from(["tagger", "union", "written_first"]),
)
def test_lists_are_those_of_a_plain_loop(made, policy: str):
    general, character, said = zip(*made, strict=True)
    rows = posts(len(made), tags_general=list(general), tags_character=list(character), **answers(SOLO, one=list(said)))
    rows = rows.with_columns(pl.col("tags_general", "tags_character").cast(pl.List(pl.String())))
    outcome = chosen(rows, models("one"), SOLO, general=policy, character="original")
    for own, names, seen, found in zip(general, character, said, outcome.kept["tags_general"].to_list(), strict=True):
        base = [] if policy == "tagger" else own
        order = sorted(seen, key=lambda tag: (-seen[tag], ONE.names.index(tag)))
        kinds = dict(zip(ONE.names, ONE.kinds, strict=True))
        more = [tag for tag in order if kinds[tag] == "general" and seen[tag] >= 0.35 and tag not in {*base, *names}]
        assert found == (base if policy == "written_first" and base else base + more)


def test_numbers_of_known_tags_are_shared():
    known = KnownTags.of({"one": ONE, "two": TWO})
    assert known.names[known.numbers["two"]].tolist() == ["smile", "hat", "miku"]
    assert known.numbers["two"][0] == known.numbers["one"][5]
    assert known.known_to().tolist() == [1, 1, 1, 1, 1, 2, 1, 2, 1]
    rows = posts(1, **answers({"one": ONE, "two": TWO}, one=[{"explicit": 0.2}], two=[{}]))
    found = LikelyTags.of(rows, known, TagSourcesConfig(), "max")
    assert likeliest_ratings(found, known, 1) == ["e"]


@given(st.integers(5, 9999))
def test_a_tag_as_likely_as_its_threshold_is_taken(likely: int):
    """At every ten-thousandth, though 0.07 * 10000 is more than 700."""
    rules = TagSourcesConfig.model_validate({"thresholds": {"general": likely / 10_000}})
    known = KnownTags.of(SOLO)
    rows = posts(2, **answers(SOLO, one=[{"smile": likely / 10_000}, {"smile": (likely - 1) / 10_000}]))
    assert LikelyTags.of(rows, known, rules, "mean").rows.tolist() == [0]
