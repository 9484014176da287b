"""Whether models can be merged: the same networks, which predict the same."""

from __future__ import annotations

from collections.abc import Mapping

from animetune.errors import ConfigError, DataError
from animetune.merge.config import MergeConfig
from animetune.models.likeness import network_difference
from animetune.models.sdxl import COMPONENTS, Parameterization
from animetune.models.source import Source


def check_fit(cfg: MergeConfig, sources: Mapping[str, Source]) -> None:
    """Raise DataError, naming the models and what differs, unless all can be merged: networks of the same shapes and
    settings, VAEs only where they are merged; the same prediction, unless the configuration states it."""
    first, *others = cfg.merged
    for other in others:
        for component in COMPONENTS:
            if component == "vae" and not cfg.merges_vae:
                continue
            difference = network_difference(sources[first], sources[other], component)
            if difference:
                raise DataError(f"models: {first} and {other} are of different architecture: {difference}")
        ours, theirs = (parameterization(cfg, sources[name]) for name in (first, other))
        if ours != theirs:
            raise DataError(
                f"models: {first} predicts {_words(ours)}, {other} {_words(theirs)}, and their sum neither. If one of "
                "the files does not say what it is, set prediction (and zero_terminal_snr) to what both are"
            )
    scales = {name: sources[name].architecture.vae.get("scaling_factor") for name in (*cfg.merged, cfg.vae_from)}
    if len(set(scales.values())) > 1:
        told = ", ".join(f"{name} {scale}" for name, scale in scales.items())
        raise DataError(f"models: their VAEs scale latents differently ({told}), so their UNets do not fit each other")


def parameterization(cfg: MergeConfig, source: Source) -> Parameterization:
    """What a model predicts, as `cfg` says or else as itself does.

    Raises ConfigError for zero terminal SNR without v prediction, which no model has.
    """
    known = source.parameterization
    prediction = known.prediction if cfg.prediction is None else cfg.prediction
    zero_terminal_snr = known.zero_terminal_snr if cfg.zero_terminal_snr is None else cfg.zero_terminal_snr
    if zero_terminal_snr and prediction != "v":
        raise ConfigError(
            f"zero_terminal_snr: {source.name} predicts {prediction}, and only v prediction has it; set prediction: v, "
            "or zero_terminal_snr: false"
        )
    return (
        known._replace(prediction=prediction)
        if prediction == "flow"
        else Parameterization(prediction, zero_terminal_snr)
    )


def _words(given: Parameterization) -> str:
    words = {"epsilon": "epsilon", "v": "v", "flow": f"a flow (shift {given.shift:g})"}[given.prediction]
    if given.shift_by_area:
        words += " with a shift by area"
    return f"{words} with zero terminal SNR" if given.zero_terminal_snr else words
