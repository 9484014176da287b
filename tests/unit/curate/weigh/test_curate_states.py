"""What is known of style classes: by hand, by a table, by losses, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from animetune.curate.config.balance import AdaptiveBalance, SyntheticBalance
from animetune.curate.config.styles import StylesConfig
from animetune.curate.weigh import states
from animetune.curate.weigh.states import States
from animetune.curate.weigh.styles import Styles
from animetune.errors import DataError

STYLES = Styles.load(StylesConfig())


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, *, table: str | None = None, losses: str | None = None, **settings) -> States:
    if table is not None:
        settings["states"] = write(folder, "states.csv", table)
    if losses is not None:
        lines = "kind,class,epoch,samples,loss,relative_loss\n" + losses
        settings["losses"] = write(folder, "loss-by-class.csv", lines)
    styles = settings.pop("styles", STYLES)
    return States.load(AdaptiveBalance(name="adaptive", **settings), styles)


def test_nothing_is_known(tmp_path: Path):
    assert load(tmp_path) == States({}, {})


def test_by_hand(tmp_path: Path):
    found = load(tmp_path, underfitted=("ann",), fitted=("bob",), repeats={"cid": 3})
    assert found == States({"ann": "underfitted", "cid": "underfitted", "bob": "fitted"}, {"cid": 3.0})


def test_a_table(tmp_path: Path):
    table = "style,state,repeats\na,unfitted,\nb,underfitted,2.5\nc,fitted,\nd,overfitted,\ne,,4\n"
    found = load(tmp_path, table=table)
    assert found.of_class == {
        "a": "underfitted", "b": "underfitted", "c": "fitted", "d": "fitted", "e": "underfitted",
    }  # fmt: skip
    assert found.repeats == {"b": 2.5, "e": 4.0}


def test_the_hand_outweighs_the_table_and_the_table_the_losses(tmp_path: Path):
    losses = "artist,a,0,10,0.1,2.0\nartist,b,0,10,0.1,2.0\nartist,c,0,10,0.1,2.0\n"
    table = "style,state,repeats\nb,fitted,\nc,fitted,\nd,,5\ne,,6\n"
    found = load(tmp_path, losses=losses, table=table, underfitted=("c", "d"), repeats={"e": 7})
    assert {name for name, state in found.of_class.items() if state == "underfitted"} == {"a", "c", "d", "e"}
    assert found.of_class["b"] == "fitted"
    assert found.repeats == {"e": 7.0}


@pytest.mark.parametrize(
    ("losses", "state"),
    [
        ({0: 1.2}, "underfitted"),  # above the limit, and nothing says that it does not fall
        ({0: 1.05}, "fitted"),  # not above it
        ({0: 1.3, 1: 1.2}, "underfitted"),
        ({0: 1.2, 1: 1.2}, "fitted"),  # harder than others, and more of it did not help
        ({0: 1.2, 1: 1.3}, "fitted"),
        ({0: 1.3, 1: 1.0}, "fitted"),
        ({10: 1.1, 9: 1.2}, "underfitted"),  # epochs are numbers
        ({0: 0.9, 1: 1.4, 3: 1.3}, "underfitted"),
    ],
)
def test_losses(tmp_path: Path, losses: dict[int, float], state: str):
    lines = "".join(f"artist,ann,{epoch},100,0.1,{loss}\n" for epoch, loss in losses.items())
    assert load(tmp_path, losses=lines).of_class == {"ann": state}


def test_artists_of_one_class_are_taken_together_by_their_samples(tmp_path: Path):
    mapped = Styles.load(StylesConfig(map=write(tmp_path, "map.csv", "tag,style\nann,soft\nbob,soft\ncid,\n")))
    lines = (
        "artist,ann,0,300,0.1,1.0\nartist,bob,0,100,0.1,1.4\nartist,cid,0,100,0.1,9\ncontent_bucket,animal,0,5,1,9\n"
    )
    assert load(tmp_path, losses=lines, styles=mapped).of_class == {"soft": "underfitted"}  # 1.1
    assert load(tmp_path, losses=lines, styles=mapped, losses_above=1.11).of_class == {"soft": "fitted"}


def test_classes_without_samples_are_not_known_to_be_underfitted(tmp_path: Path):
    assert load(tmp_path, losses="artist,ann,0,0,0,9\n").of_class == {"ann": "fitted"}


def test_what_the_trainer_writes_is_read(tmp_path: Path):
    import numpy as np

    from animetune.records import Classes
    from animetune.train.class_losses import ClassLosses
    from animetune.train.tally import Observed

    losses = ClassLosses(["artist", "content_bucket"])
    for epoch, worse in ((0, 0.9), (1, 0.8)):
        samples = [Classes(("animal",), ("ann",)), Classes(("animal",), ('bob, "b"',))]
        losses.add(Observed(np.array([worse, 0.1]), np.array([10, 20]), [epoch] * 2, ["64x64"] * 2, samples))
    path = write(tmp_path, "loss-by-class.csv", losses.table())
    found = States.load(AdaptiveBalance(name="adaptive", losses=path), STYLES)
    assert found.of_class == {"ann": "underfitted", 'bob, "b"': "fitted"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"table": "name,state\n"}, "states.csv:1: the first line has to name the column style"),
        ({"table": "style,state\na,good\n"}, r"states.csv:2: a: 'good' is no state; there are unfitted, underfitted"),
        ({"table": "style,state\na,\n"}, r"a: '' is no state"),
        ({"table": "style,state\n,fitted\n"}, "states.csv:2: names no style"),
        ({"table": "style,state\na,fitted\na,fitted\n"}, "states.csv:3: a is in the table twice"),
        ({"table": "style,state,repeats\na,fitted,3\n"}, "a is fitted, so it cannot have repeats"),
        ({"table": "style,state,repeats\na,,x\n"}, "states.csv:2: repeats: 'x' is no number"),
        ({"table": "style,state,repeats\na,,nan\n"}, "'nan' is no number"),
        ({"table": "style,state,repeats\na,,-1\n"}, "repeats: -1 is no factor; give a number above 0"),
        ({"losses": ""}, r"no line of the kind artist .*set `watch.classes: \[artist\]`"),
        ({"losses": "content_bucket,animal,0,1,1,1\n"}, "no line of the kind artist"),
        ({"losses": "artist,ann,0,1,1,much\n"}, "loss-by-class.csv:2: relative_loss: 'much' is no number"),
    ],
)
def test_mistakes(tmp_path: Path, files: dict[str, str], words: str):
    with pytest.raises(DataError, match=words):
        load(tmp_path, **files)


def test_states_of_every_adaptive_factor_and_their_digest(tmp_path: Path):
    factors = [
        SyntheticBalance(name="synthetic", max_share=0.1),
        AdaptiveBalance(name="adaptive", fitted=("ann",)),
        AdaptiveBalance(name="adaptive", fitted=("bob",)),
    ]
    found = states.load_states(factors, STYLES)
    assert {place: each.of_class for place, each in found.items()} == {1: {"ann": "fitted"}, 2: {"bob": "fitted"}}
    assert states.digest(found) != states.digest({1: found[1]})
    assert states.digest(found) == states.digest(states.load_states(factors, STYLES))
