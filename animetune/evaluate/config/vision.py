"""The server that questions about pictures are put to."""

from __future__ import annotations

from animetune.config import StrictModel


class VisionConfig(StrictModel):
    """A vision model behind an OpenAI-compatible server."""

    base_url: str
    """Address of the server up to `/v1`."""
    model: str
    """Name of the model there."""
