"""Our MDS writer and reader against mosaicml-streaming's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animetune.mds import ShardLayout, read_sample, write_shard

# Importing streaming takes seconds: once is enough.
pytestmark = pytest.mark.xdist_group("streaming")

COLUMNS = {"key": "str", "latent": "bytes", "source": "ndarray:int32:2", "square": "ndarray:float32:2,2"}
SAMPLES = st.fixed_dictionaries(
    {
        "key": st.text(max_size=8),
        "latent": st.binary(max_size=40),
        "source": st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=2).map(
            lambda pair: np.array(pair, np.int32)
        ),
        "square": st.floats(width=32).map(lambda value: np.full((2, 2), value, np.float32)),
    }
)


@settings(max_examples=25)
@given(samples=st.lists(SAMPLES, max_size=6))
def test_bytes_equal_those_of_streamings_writer(samples, tmp_path_factory):
    from streaming import MDSWriter

    folder = tmp_path_factory.mktemp("mds")
    theirs = MDSWriter(columns=COLUMNS, out=str(folder / "theirs"), hashes=["xxh64"], size_limit=None)
    for sample in samples:
        theirs.write(sample)
    theirs.finish()
    (folder / "ours").mkdir()
    assert write_shard(folder / "ours", COLUMNS, iter(samples)) == len(samples)
    names = sorted(path.name for path in (folder / "theirs").iterdir())
    assert names == sorted(path.name for path in (folder / "ours").iterdir())
    for name in names:
        assert (folder / "ours" / name).read_bytes() == (folder / "theirs" / name).read_bytes()


def test_a_sample_of_another_size_is_refused(tmp_path):
    sample = {"source": np.zeros(3, np.int32)}
    with pytest.raises(ValueError, match="column source has 12 bytes, ndarray:int32:2 has 8"):
        write_shard(tmp_path, {"source": "ndarray:int32:2"}, [sample])
    assert not list(tmp_path.iterdir())


def test_an_exception_in_the_samples_leaves_no_index(tmp_path):
    def samples():
        yield {"key": "a"}
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_shard(tmp_path, {"key": "str"}, samples())
    assert not list(tmp_path.iterdir())


@settings(max_examples=25)
@given(samples=st.lists(SAMPLES, min_size=1, max_size=6))
def test_samples_are_read_as_by_streamings_reader(samples, tmp_path_factory):
    from streaming.base.format import reader_from_json

    folder = tmp_path_factory.mktemp("mds")
    write_shard(folder, COLUMNS, samples)
    (shard,) = json.loads((folder / "index.json").read_text())["shards"]
    theirs = reader_from_json(str(folder), None, shard)
    layout = ShardLayout.of(shard)
    for place in range(len(samples)):
        ours = read_sample(str(folder / "shard.00000.mds"), place, layout)
        assert ours.keys() == theirs[place].keys()
        for name, value in theirs[place].items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(ours[name], value, strict=True)
            else:
                assert ours[name] == value


def test_a_shard_that_is_not_what_its_index_says_raises(tmp_path):
    write_shard(tmp_path, {"key": "str", "square": "ndarray:float32:2"}, [{"key": "a", "square": np.ones(2, "f4")}] * 3)
    (shard,) = json.loads((tmp_path / "index.json").read_text())["shards"]
    path, layout = tmp_path / "shard.00000.mds", ShardLayout.of(shard)
    assert read_sample(str(path), 2, layout)["key"] == "a"
    with pytest.raises(ValueError, match="a sample has 13 bytes, its columns 21"):
        read_sample(str(path), 0, layout._replace(sizes=(None, 16), shapes=((), (2,))))
    data = path.read_bytes()
    for cut in (len(data) - 1, 20, 6, 0):
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match="the file ends before byte"):
            read_sample(str(path), 2, layout)
    path.write_bytes(bytes(len(data)))
    with pytest.raises(ValueError, match="a sample has 0 bytes"):
        read_sample(str(path), 2, layout)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_sample(str(path), 2, layout)
