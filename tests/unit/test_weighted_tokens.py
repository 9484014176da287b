"""Tokens of weighted text: chunks, weights and their places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animetune.tokens import BOS, CHUNK, EOS, PAD_L, count_chunks, count_tokens, tokenize, tokenize_weighted


@pytest.mark.parametrize("split", ["anywhere", "commas"])
@pytest.mark.parametrize("prompt", ["", "1girl, solo", ", ".join(["long hair"] * 60)])
def test_one_text_of_weight_one_is_plain(prompt, split):
    chunks = count_chunks([[(prompt, 1.0)]], split=split)
    ids, weights = tokenize_weighted([[(prompt, 1.0)]], chunks=chunks, split=split)
    np.testing.assert_array_equal(ids, tokenize(prompt, chunks=chunks, split=split))
    np.testing.assert_array_equal(weights, np.ones(CHUNK * chunks, np.float32))
    assert chunks >= max(1, -(-count_tokens(prompt) // 75))


def test_each_token_has_its_weight():
    ids, weights = tokenize_weighted([[("a ", 1.0), ("red hat", 1.3), (", b", 0.5)]], chunks=1)
    np.testing.assert_array_equal(ids, tokenize("a red hat, b", chunks=1))
    np.testing.assert_array_equal(weights[:8], np.array([1, 1, 1.3, 1.3, 0.5, 0.5, 1, 1], np.float32))


def test_weights_follow_their_tokens_into_the_next_chunk():
    parts = [[("tag " * 74, 1.0), ("one two", 1.4)]]
    assert count_chunks(parts) == 2
    ids, weights = tokenize_weighted(parts, chunks=2)
    assert ids[0, 75:80].tolist() == [*tokenize("one", chunks=1)[0, 1:2], EOS, BOS, *tokenize("two", chunks=1)[0, 1:3]]
    assert np.flatnonzero(weights == np.float32(1.4)).tolist() == [75, 78]


def test_a_part_begins_a_chunk():
    parts = [[("a", 1.0)], [("b", 2.0)]]
    assert count_chunks(parts) == 2
    ids, weights = tokenize_weighted(parts, chunks=2)
    np.testing.assert_array_equal(ids, np.concatenate([tokenize("a", chunks=1), tokenize("b", chunks=1)], axis=1))
    assert np.flatnonzero(weights != 1).tolist() == [78]
    assert (ids[0, 3:77] == PAD_L).all()


@given(st.lists(st.tuples(st.text(alphabet="ab, ", max_size=60), st.floats(0, 2)), max_size=8), st.integers(1, 3))
def test_places_hold_as_many_weights_as_tokens(pieces, chunks):
    ids, weights = tokenize_weighted([pieces], chunks=chunks)
    assert (ids.shape, weights.shape) == ((2, 77 * chunks), (77 * chunks,))
    assert set(weights.tolist()) <= {1.0, *(float(np.float32(weight)) for _, weight in pieces)}
