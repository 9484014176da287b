"""Small things that tests are built from: posts, pictures, shard roots, tiny models."""

from __future__ import annotations
