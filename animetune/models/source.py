"""One set of SDXL's weights that can be read: its architecture, its tensors under our names, what is known of it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from animetune import checkpoint, fsio
from animetune.assets import sha256_of
from animetune.models.lazy import LazyTensor, State, at, held
from animetune.models.networks import canonical_name, canonical_state, check_state
from animetune.models.sdxl import COMPONENTS, EPSILON, LOGIT_SCALE, Architecture, Component, Parameterization, Sdxl

TIMESTEPS_FACT = "timestep_range"
"""Fact: first timestep that was trained and the one behind the last, of those trained on a part of the 1000."""


@dataclass(frozen=True)
class Source:
    """Weights that can be read."""

    name: str
    """As the configuration names it."""
    architecture: Architecture
    stored: Callable[[Component], State]
    """The tensors of one network under our names, as they are found; `state` checks them."""
    files: Mapping[Component, tuple[Path, ...]]
    """What each network is read from; a checkpoint is vouched for by its manifest."""
    parameterization: Parameterization = EPSILON
    logit_scale: float = LOGIT_SCALE
    facts: Mapping[str, str] = field(default_factory=dict)
    """How the weights were trained: `step`, `config_sha256`, `weights` ...; empty when nothing is known."""
    licence: str | None = None
    """Licence of the weights, as they or the page they were published on state it; None when nothing is said."""

    def state(self, component: Component) -> State:
        """The tensors of one network under our names, each read when it is asked for.

        Raises DataError naming missing, unexpected and wrongly shaped tensors.
        """
        return check_state(self.architecture, component, self.stored(component), origin=self.name)

    def read(self, component: Component) -> Iterator[tuple[str, Tensor]]:
        """The same, loaded one after another; DataError as of `state`."""
        state = dict(self.state(component))
        for name in list(state):  # each is gone once it was taken: what is made and not read is never there twice
            yield name, state.pop(name).load()

    def digests(self, components: Sequence[Component] = COMPONENTS) -> dict[str, str]:
        """What tells these weights from others: network, and file name where it has several files -> SHA-256 in hex;
        `settings` -> that of what the weights are said to be, which may stand in other files."""
        said = [
            dataclasses.asdict(self.architecture),
            list(self.parameterization),
            self.logit_scale,
            dict(self.facts),
            [component for component in components if not self.files[component]] and self.name,
        ]
        settings = hashlib.sha256(fsio.canonical_json(said).encode()).hexdigest()
        return {"settings": settings} | {
            component if len(self.files[component]) == 1 else f"{component}/{file.name}": sha256_of(file)
            for component in components
            for file in self.files[component]
        }

    def with_vae(self, vae: Source) -> Source:
        """This source, but with the VAE of another, which errors then name."""
        return dataclasses.replace(
            self,
            architecture=dataclasses.replace(self.architecture, vae=vae.architecture.vae),
            stored=lambda component: vae.state(component) if component == "vae" else self.stored(component),
            files={**self.files, "vae": vae.files["vae"]},
        )

    def with_weights(self, weights: checkpoint.Tensors, manifest: Path) -> Source:
        """This source, but with UNet and text encoders from a training checkpoint, which its manifest vouches for."""

        def stored(component: Component) -> State:
            if component == "vae":
                return self.stored(component)
            prefix = f"{component}."
            found = {
                canonical_name(name.removeprefix(prefix), component): _of_checkpoint(weights, name)
                for name in weights
                if name.startswith(prefix)
            }
            return check_state(self.architecture, component, found, origin=str(manifest.parent))

        files = {**dict.fromkeys(COMPONENTS, (manifest,)), "vae": self.files["vae"]}
        return dataclasses.replace(self, stored=stored, files=files)


def source_of(models: Sdxl, name: str = "models in memory") -> Source:
    """Networks that are at hand, on any device, as a source without files."""

    def stored(component: Component) -> State:
        network = getattr(models, component)
        state = {} if network is None else canonical_state(network, component)
        return {each: held(tensor) for each, tensor in state.items()}

    return Source(
        name=name,
        architecture=models.architecture,
        stored=stored,
        files=dict.fromkeys(COMPONENTS, ()),
        parameterization=models.parameterization,
        logit_scale=models.logit_scale,
    )


def _of_checkpoint(weights: checkpoint.Tensors, name: str) -> LazyTensor:
    return at(weights.place(name)) if isinstance(weights, checkpoint.Stored) else held(weights[name])
