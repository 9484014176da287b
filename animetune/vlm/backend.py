"""The backend of a model: its server, or its folder."""

from __future__ import annotations

from animetune.vlm.client import Encode, Server
from animetune.vlm.config import ClientConfig, ModelConfig
from animetune.vlm.replies import Backend
from animetune.vlm.usage import Usage


def open_backend(model: ModelConfig, client: ClientConfig, encode: Encode, usage: Usage) -> Backend:
    """Whoever answers as `model`. SetupError when its key is not there; inside a running event loop."""
    if model.folder is None:
        return Server(model, client, encode, usage)
    from animetune.vlm.local import LocalModel

    return LocalModel(model, encode, usage)
