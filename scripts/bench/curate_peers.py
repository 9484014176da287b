"""The work of curation at 200,000 posts, beside the same in plain Python dictionaries and in pandas.

python scripts/bench/curate_peers.py [posts] [--tags danbooru.csv]

The work: a content bucket for each picture, its quality class by the percentile of its score within its rating, and how
often it is seen: balanced by tag groups, by the tags inside a group, and by content buckets, as in configs/curate.yaml.
All read the same parquet file in the form that suits them, and use one thread; all must agree, bucket by bucket and to
six digits. Ours are the functions of the stage, which also find and note what the others do not: for each picture the
reason of its bucket and other buckets in conflict, its classes of year and beauty, its style class, its repeats by the
published pseudo-code; and in all, how often each tag and class occurs, and the epoch before and after.
"""

from __future__ import annotations

import argparse
import bisect
import collections
import importlib.util
import math
import re
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import posts as made_up
import side_by_side as bench

POSTS = 3_000 if bench.QUICK else 200_000
CONFIG = Path(__file__).parents[2] / "configs" / "curate.yaml"
TAGS = (
    "tags_count", "tags_general", "tags_special", "tags_meta", "tags_character", "tags_copyright", "tags_artist",
    "tags_implied",
)  # fmt: skip
AIMS = {"dictionaries": 20.0, "pandas": 5.0}
"""How many times as fast ours should be."""
RESULT = ("key", "content_bucket", "quality", "repeats")


class Rules:
    """What all need to know: the settings, the lists of tags, and the tag group of every general tag."""

    def __init__(self, table: str) -> None:
        from animetune.curate.config.balance import ContentBucketsBalance, TagGroupsBalance, TagsBalance
        from animetune.curate.config.classes import ClassesConfig
        from animetune.curate.config.content import ContentConfig
        from animetune.curate.tag.people import COUNTS
        from animetune.curate.tag.tag_lists import Vocabulary

        self.content, self.classes = ContentConfig(), ClassesConfig()
        self.vocabulary = Vocabulary.load()
        self.counts = COUNTS
        self.lists = {
            name: frozenset(self.vocabulary.tags(*lists))
            for name, lists in {
                "emotion": ("emotion-strong",),
                "animal_focus": ("animal-focus",),
                "animal": ("animal",),
                "object_focus": ("object-focus",),
                "object": ("object",),
                "scenery": ("scenery",),
                "place": ("scenery", "place"),
            }.items()
        }
        self.lists["people"] = self._uncounted_people(table)
        self.levels = [(level.name, level.above) for level in self.classes.quality.levels]
        self.balance = self.groups, self.tags, self.buckets = (
            TagGroupsBalance(name="tag_groups"),
            TagsBalance(name="tags", strength=0.25),
            ContentBucketsBalance(name="content_buckets", max=4.0),
        )
        self.table = table

    def _uncounted_people(self, table: str) -> frozenset[str]:
        """The tags of people that state no number, in the table; found before the clock runs, for all contenders."""
        listed = set(self.vocabulary.classes["people"]).difference(self.vocabulary.tags("count"))
        pattern = re.compile("|".join(".*".join(map(re.escape, tag.split("*"))) for tag in listed))
        columns = pl.read_parquet(table, columns=list(TAGS))
        tags = pl.concat([columns[name].explode().drop_nulls() for name in TAGS]).unique()
        return frozenset(filter(pattern.fullmatch, tags.to_list()))

    def group_of(self) -> dict[str, str]:
        """Tag -> group, for all general tags; all contenders get it before the clock runs."""
        tags = pl.read_parquet(self.table, columns=["tags_general"])["tags_general"].explode()
        return self.vocabulary.group_of(tags.drop_nulls().unique().to_list())


def ours(*, table: str, out: str) -> dict[str, float]:
    """The functions of the steps `content`, `classes`, `weights`, `rarity` and `balance`."""
    from animetune.curate.classify import classes, content
    from animetune.curate.config.styles import StylesConfig
    from animetune.curate.parts import Part, PartFile
    from animetune.curate.select.lists import INCLUDED
    from animetune.curate.weigh import balance, weights
    from animetune.curate.weigh.styles import Styles

    rules = Rules(table)
    styles = Styles.load(StylesConfig())
    weights.tag_groups(np.array([*rules.group_of()], dtype=object), "general", rules.vocabulary)  # which it remembers
    clock = Clock()
    columns = ("key", *classes.READS, *TAGS)
    rows = Part((PartFile(Path(table), columns),)).read(columns, coded=True)
    clock.reading_ends()
    rows = content.assign(rows, rules.content, rules.vocabulary).kept
    rows = classes.classify(rows, rules.classes, []).kept
    weighed = weights.weights(rows, rules.vocabulary, styles)
    rows = weights.rarity(weighed.kept, rules.tags, weighed.tables["tag_counts"]).kept
    rows = rows.with_columns(pl.lit(value=False).alias(INCLUDED))
    rows = balance.weigh(rows, rules.balance, weights.group_names(rules.vocabulary), {}).kept
    return clock.work_ends(rows.select(RESULT), out)


def dictionaries(*, table: str, out: str) -> dict[str, float]:
    """One dictionary a post, sets of tags, counters."""
    rules = Rules(table)
    group_of = rules.group_of()
    clock = Clock()
    posts = pl.read_parquet(table, columns=["key", "source", "rating", "score", *TAGS]).to_dicts()
    clock.reading_ends()

    for post in posts:
        post["content_bucket"] = _bucket({tag for name in TAGS for tag in post[name]}, rules)

    scores = collections.defaultdict(list)
    for post in posts:
        if post["score"] is not None:
            scores[post["source"], post["rating"]].append(post["score"])
    for values in scores.values():
        values.sort()
    for post in posts:
        post["quality"] = _quality(post["score"], scores[post["source"], post["rating"]], rules.levels)

    pictures: collections.Counter[str] = collections.Counter()
    tag_counts: collections.Counter[str] = collections.Counter()
    for post in posts:
        post["groups"] = {group_of[tag] for tag in post["tags_general"]}
        pictures.update(post["groups"])
        tag_counts.update(post["tags_general"])
    median = statistics.median(pictures.values())
    log_weights = {group: rules.groups.strength * math.log(median / count) for group, count in pictures.items()}
    rarity = _rarity(tag_counts, group_of, rules.tags.min_pictures)
    sizes: dict[str, float] = collections.defaultdict(float)
    for post in posts:
        mean = sum(log_weights[group] for group in post["groups"]) / max(1, len(post["groups"]))
        post["repeats"] = min(max(math.exp(mean), rules.groups.min), rules.groups.max)
        log_ratios = collections.defaultdict(list)
        for tag in post["tags_general"]:
            if tag in rarity:
                log_ratios[group_of[tag]].append(rarity[tag])
        means = [sum(each) / len(each) for each in log_ratios.values()]
        mean = sum(means) / max(1, len(means))
        post["repeats"] *= min(max(math.exp(rules.tags.strength * mean), rules.tags.min), rules.tags.max)
        sizes[post["content_bucket"]] += post["repeats"]
    middle = statistics.median(sizes.values())
    factors = {
        bucket: min(max((middle / size) ** rules.buckets.strength, rules.buckets.min), rules.buckets.max)
        for bucket, size in sizes.items()
    }
    for post in posts:
        post["repeats"] *= factors[post["content_bucket"]]
    return clock.work_ends({name: [post[name] for post in posts] for name in RESULT}, out)


def pandas(*, table: str, out: str) -> dict[str, float]:
    """One frame, tags exploded to one a line, isin, map and group-by."""
    import pandas as pd

    rules = Rules(table)
    group_of = pd.Series(rules.group_of())
    clock = Clock()
    rows = pd.read_parquet(table, columns=["key", "source", "rating", "score", *TAGS])
    clock.reading_ends()

    uses = pd.concat([rows[name].explode().dropna() for name in TAGS])
    tags, codes = uses.factorize()[::-1]

    def has(listed: Any) -> Any:
        shown = uses.index[tags.isin(list(listed))[codes]]
        found = np.zeros(len(rows), bool)
        found[shown] = True
        return found

    said = {name: has(listed) for name, listed in rules.lists.items()}
    said |= {name: has([name]) for name in ("no_humans", "solo_focus", "male_focus")}
    people = {}
    for kind, stated in rules.counts.items():
        of_tag = tags.map(stated).fillna(0).to_numpy()
        most = pd.Series(of_tag[codes], index=uses.index).groupby(level=0).max()
        people[kind] = most.reindex(rows.index, fill_value=0).to_numpy()
    rows["content_bucket"] = _buckets(said, people)

    grouped = rows.groupby(["source", "rating"], dropna=False)["score"]
    percentile = 100 * (grouped.rank(method="average") - 0.5) / grouped.transform("count")
    names = [name for name, _ in rules.levels]
    bounds = [-math.inf, *(above for _, above in rules.levels[-2::-1]), math.inf]
    rows["quality"] = pd.cut(percentile, bounds, labels=names[::-1], right=True).astype(object)

    general = rows["tags_general"].explode().dropna()
    of_row = pd.DataFrame({"row": general.index, "tag": general.to_numpy(), "group": general.map(group_of).to_numpy()})
    pairs = of_row[["row", "group"]].drop_duplicates()
    pictures = pairs["group"].value_counts()
    log_weights = rules.groups.strength * np.log(pictures.median() / pictures)
    mean = pairs["group"].map(log_weights).groupby(pairs["row"]).mean().reindex(rows.index, fill_value=0.0)
    rows["repeats"] = np.exp(mean).clip(rules.groups.min, rules.groups.max)
    rarity = pd.Series(_rarity(of_row["tag"].value_counts().to_dict(), group_of.to_dict(), rules.tags.min_pictures))
    of_row["rarity"] = of_row["tag"].map(rarity)
    mean = of_row.groupby(["row", "group"])["rarity"].mean().groupby(level=0).mean()
    mean = mean.reindex(rows.index).fillna(0.0)
    rows["repeats"] *= np.exp(rules.tags.strength * mean).clip(rules.tags.min, rules.tags.max)
    size = rows.groupby("content_bucket")["repeats"].sum()
    factor = ((size.median() / size) ** rules.buckets.strength).clip(rules.buckets.min, rules.buckets.max)
    rows["repeats"] *= rows["content_bucket"].map(factor)
    return clock.work_ends({name: rows[name].tolist() for name in RESULT}, out)


class Clock:
    """Seconds of reading, and of the work behind it."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    def reading_ends(self) -> None:
        """The rows are in memory."""
        self._read = time.perf_counter()

    def work_ends(self, result: Any, out: str) -> dict[str, float]:
        """Stop, and write the result for `check_agreement`."""
        ended = time.perf_counter()
        pl.DataFrame(result).write_parquet(out)
        return {"reading": self._read - self._begun, "work": ended - self._read, "seconds": ended - self._begun}


def _rarity(counts: Mapping[str, int], group_of: Mapping[str, str], least: int) -> dict[str, float]:
    """Tag -> ln (typical tag of its group / tag), where half of the uses of a group are of tags up to the typical."""
    by_group = collections.defaultdict(list)
    for tag, count in counts.items():
        if count >= least:
            by_group[group_of[tag]].append((count, tag))
    rarity = {}
    for listed in by_group.values():
        listed.sort()
        reached, half = 0, sum(count for count, _ in listed) / 2
        for typical, _ in listed:
            reached += typical
            if reached >= half:
                break
        rarity |= {tag: math.log(typical / count) for count, tag in listed}
    return rarity


def _bucket(tags: set[str], rules: Rules) -> str | None:
    """The first bucket of the priority of configs/curate.yaml, from sets of tags."""
    shows = {name: not tags.isdisjoint(listed) for name, listed in rules.lists.items()}
    girls, boys, others = (
        max((number for tag, number in stated.items() if tag in tags), default=0) for stated in rules.counts.values()
    )
    nobody = not girls and not boys and not others and not shows["people"]
    if nobody or "no_humans" in tags:
        if shows["animal_focus"] or (shows["animal"] and not shows["scenery"]):
            return "animal"
        if shows["object_focus"] or (shows["object"] and not shows["place"]):
            return "object"
    if "no_humans" in tags or (nobody and shows["scenery"]):
        return "no_human"
    kinds = (girls > 0) + (boys > 0) + (others > 0)
    on_boys = boys > 0 and "male_focus" in tags
    if kinds == 1 and girls:
        who = "1girl" if girls == 1 else "multiple_girls"
    elif kinds == 1 and boys:
        who = "1boy" if boys == 1 else "multiple_boys"
    elif kinds < 2 or not (girls or boys):
        return None
    elif "solo_focus" in tags:
        who = "1boy" if on_boys or not girls else "1girl"
    else:
        who = "multiple_boys" if on_boys or boys > girls else "multiple_girls"
    if who.startswith("multiple"):
        return who
    return f"{who}_with_emotion" if shows["emotion"] else f"{who}_only"


def _buckets(said: dict[str, np.ndarray], people: dict[str, np.ndarray]) -> np.ndarray:
    """The same over columns."""
    girls, boys, others = (people[kind] for kind in ("girl", "boy", "other"))
    nobody = (girls == 0) & (boys == 0) & (others == 0) & ~said["people"]
    unpeopled = nobody | said["no_humans"]
    kinds = (girls > 0).astype(int) + (boys > 0) + (others > 0)
    on_boys = (boys > 0) & said["male_focus"]
    one_on_boys = on_boys | ((boys > 0) & (girls == 0))
    mixed = (kinds > 1) & ((girls > 0) | (boys > 0))
    focused, apart = mixed & said["solo_focus"], mixed & ~said["solo_focus"]
    one_girl = ((kinds == 1) & (girls == 1)) | (focused & ~one_on_boys)
    one_boy = ((kinds == 1) & (boys == 1)) | (focused & one_on_boys)
    rules = {
        "animal": unpeopled & (said["animal_focus"] | (said["animal"] & ~said["scenery"])),
        "object": unpeopled & (said["object_focus"] | (said["object"] & ~said["place"])),
        "no_human": said["no_humans"] | (nobody & said["scenery"]),
        "1girl_with_emotion": one_girl & said["emotion"],
        "1girl_only": one_girl,
        "1boy_with_emotion": one_boy & said["emotion"],
        "1boy_only": one_boy,
        "multiple_girls": ((kinds == 1) & (girls > 1)) | (apart & ~on_boys & (boys <= girls)),
        "multiple_boys": ((kinds == 1) & (boys > 1)) | (apart & (on_boys | (boys > girls))),
    }
    return np.select(list(rules.values()), list(rules), default=None)


def _quality(score: int | None, ordered: list[int], levels: list[tuple[str, float | None]]) -> str | None:
    """The level of the percentile, equal scores at their mean rank."""
    if score is None:
        return None
    rank = (bisect.bisect_left(ordered, score) + 1 + bisect.bisect_right(ordered, score)) / 2
    percentile = 100 * (rank - 0.5) / len(ordered)
    return next(name for name, above in levels if above is None or percentile > above)


CONTENDERS = {"ours": ours, "dictionaries": dictionaries} | (
    {"pandas": pandas} if importlib.util.find_spec("pandas") else {}
)


def make_table(folder: Path, count: int, tags: made_up.TagList) -> Path:
    """Curate made-up posts, and put what the work needs of the rows that are left in one file."""
    from animetune import tables
    from animetune.config import load_config
    from animetune.curate.classify import classes
    from animetune.curate.config import CurateConfig
    from animetune.curate.parts import newest_parts
    from animetune.curate.run import run

    made_up.write_posts(folder / "posts", count, tags)
    unseen = ["pictures.decode=false", "captions=null"]
    settings = [f"sources.0.posts=[{folder}/posts/*.parquet]", *unseen, "executor.workers=0"]
    run(load_config(CONFIG, CurateConfig, [f"out={folder}/table", *settings]))
    *steps, _ = sorted((folder / "table" / "steps").iterdir())
    parts = newest_parts([sorted(step.glob("part-*.parquet")) for step in steps])
    rows = pl.concat([part.read(("key", *classes.READS, *TAGS)) for part in parts])
    tables.write_parquet(rows, folder / "rows.parquet")
    return folder / "rows.parquet"


def check_agreement(ours: Path, theirs: Path) -> None:
    """SystemExit, naming the column, when two contenders do not agree."""
    one, other = (pl.read_parquet(path) for path in (ours, theirs))
    for name in ("key", "content_bucket", "quality"):
        if not one[name].equals(other[name].cast(one[name].dtype)):
            raise SystemExit(f"curate_peers: {theirs.stem} has other values of {name}")
    if not np.allclose(one["repeats"].to_numpy(), other["repeats"].to_numpy(), rtol=1e-6):
        raise SystemExit(f"curate_peers: {theirs.stem} has other repeats")


def main(asked: argparse.Namespace) -> None:
    """One row for each contender."""
    tags = made_up.TagList.read(asked.tags) if asked.tags else made_up.TagList.zipf()
    with tempfile.TemporaryDirectory(prefix="bench-curate-peers-") as place:
        folder = Path(place)
        table = make_table(folder, asked.posts, tags)
        found: bench.Rounds = {name: [] for name in CONTENDERS}
        for _ in range(1 if bench.QUICK else 3):
            for name in CONTENDERS:
                out = str(folder / f"{name}.parquet")
                found[name].append(bench.fresh(CONTENDERS, name, table=str(table), out=out))
        for name in CONTENDERS:
            check_agreement(folder / "ours.parquet", folder / f"{name}.parquet")
    rows = []
    for name in CONTENDERS:
        work, both = (bench.paired(found, what, of=name, to="ours") for what in ("work", "seconds"))
        rows.append(
            {
                "contender": "animetune" if name == "ours" else name,
                "reading, s": f"{bench.middle(found[name], 'reading'):.2f}",
                "work, s": f"{bench.middle(found[name], 'work'):.2f}",
                "work, times ours": "" if name == "ours" else bench.ratio_text(work),
                "both, times ours": "" if name == "ours" else bench.ratio_text(both),
                "aim": f"{AIMS[name]:.0f}" if name in AIMS else "",
            }
        )
    notes = [
        f"{asked.posts:,} posts, less those that the filters of configs/curate.yaml drop; buckets, classes and repeats "
        "of all contenders are equal",
        "one thread each; median of three processes, ratios round by round",
        "the tag group of every tag is known beforehand to all: it is looked up once for each distinct tag",
        "ours also finds reasons and conflicts of buckets, classes of year, aesthetic and style, repeats by the "
        "published pseudo-code, counts of every tag and class, and the evenness of the epoch before and after; the "
        "others do not, and its work is timed with all of that",
    ]
    if "pandas" not in CONTENDERS:
        notes.append("pandas is not installed, and so not in the table")
    bench.report("curate-peers", "Buckets, percentiles and balance of posts", rows, notes=notes)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posts", type=int, nargs="?", default=POSTS)
    parser.add_argument("--tags", type=Path, help="CSV of name,category,count; without one, by Zipf's law")
    return parser.parse_args()


if __name__ == "__main__":
    bench.child(CONTENDERS)
    main(arguments())
