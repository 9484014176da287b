"""Settings for every test: one thread, no network, no model hub."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["ANIMETUNE_PROGRESS"] = "0"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# Time limits of single examples and a database of past failures would make a test depend on the machine and its past.
hypothesis.settings.register_profile(
    "animetune",
    deadline=None,
    database=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("animetune")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real pictures and posts that are not part of the repository; tests that need them are skipped without them."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real pictures (../shared/data beside the checkout) is not on this machine")
    return folder
