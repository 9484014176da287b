"""The training loader against stock StreamingDataset on the very same shards, WebDataset tars and plain files.

All read the same samples in random order in one process (workers 0), decode pictures with Pillow, and yield tensors of
eight samples. What only ours does (geometry, labels, keyed draws, prompts, tokens) is what it is slower by. A process
first reads an epoch that is not timed, so that files lie in the page cache.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import side_by_side as bench
import synthetic

SAMPLES = {"pixels": 32, "latents": 64} if bench.QUICK else {"pixels": 256, "latents": 1024}
SECONDS = 0.1 if bench.QUICK else 3.0
"""For which each contender is timed, in whole epochs."""
ROUNDS = 3
BATCH = 8
SIDE = 1024
PROMPTS = {
    "no prompts": {"order": ["prefix"]},
    "prompts": {
        "order": ["count", "character", "series", "general", "rating", "quality", "aesthetic", "year"],
        "shuffle": ["general"],
    },
}
"""As bare as prompts can be, which still tokenizes an empty one; and Animagine XL 3.1's."""


def build(*, folder: str, kind: str) -> dict[str, Any]:
    """A shard root by the shard stage with its labels, and the same samples as tars and as files."""
    from animetune.shards import labels, run, write
    from animetune.shards.config import LabelsConfig, ShardConfig

    here = Path(folder)
    pictures = synthetic.write_pictures(here / "pictures", 8 if bench.QUICK else 32, SIDE)
    synthetic.write_table(here / "table", SAMPLES[kind], pictures=pictures, side=SIDE)
    vae = Path(write.__file__).parents[1] / "demo" / "base" / "vae"
    store = {"name": "pixels"} if kind == "pixels" else {"name": "latents", "vae": str(vae)}
    write._Latents._posteriors = _random_posteriors  # type: ignore[method-assign]  # encoding is not measured
    shard = {"stage": "shard", "table": here / "table", "out": here / "shards", "store": store}
    run.run(ShardConfig.model_validate(shard | {"sizes": {"area": SIDE * SIDE}, "executor": {"workers": 0}}))
    labels.run(LabelsConfig(stage="labels", table=here / "table", shards=here / "shards", out=here / "labels"))

    (here / "files").mkdir()
    (here / "tars").mkdir()
    for number, sample in enumerate(_stored(here)):
        name, data = f"{number:06}.{'jpg' if kind == 'pixels' else 'f16'}", _payload(sample)
        (here / "files" / name).write_bytes(data)
        with tarfile.open(here / "tars" / f"{number * 4 // SAMPLES[kind]}.tar", "a") as tar:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return {}


def ours(*, folder: str, kind: str, prompts: str = "no prompts") -> dict[str, float]:
    """`animetune.data.loader.build_loader`."""
    from animetune.data.config import DataConfig
    from animetune.data.loader import build_loader
    from animetune.prompts import PromptConfig

    def make() -> Iterable[Any]:
        cfg = DataConfig(
            shards=f"{folder}/shards", labels=f"{folder}/labels", global_batch=BATCH, micro_batch=BATCH, workers=0
        )
        return build_loader(cfg, PromptConfig.model_validate(PROMPTS[prompts]), seed=0)

    return _time(make, lambda batch: batch.latents if kind == "latents" else batch.pixels)


def with_prompts(*, folder: str, kind: str) -> dict[str, float]:
    """Ours, with prompts composed of tags and tokenized in three chunks."""
    return ours(folder=folder, kind=kind, prompts="prompts")


def stock(*, folder: str, kind: str) -> dict[str, float]:
    """StreamingDataset over the folder of our one size, with its own shuffle."""
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    def make() -> Iterable[Any]:
        dataset = StreamingDataset(
            local=str(_group(Path(folder))), shuffle=True, batch_size=BATCH, num_canonical_nodes=1
        )
        return DataLoader(dataset, batch_size=BATCH, collate_fn=lambda samples: _stack(map(_payload, samples), kind))

    return _time(make, lambda batch: batch)


def webdataset(*, folder: str, kind: str) -> dict[str, float]:
    """Four tars in random order, shuffled in a buffer of 128."""
    import webdataset as wds
    from torch.utils.data import DataLoader

    def make() -> Iterable[Any]:
        tars = [str(path) for path in sorted(Path(folder, "tars").iterdir())]
        samples = wds.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(128).to_tuple("jpg;f16")
        return DataLoader(
            samples, batch_size=BATCH, collate_fn=lambda samples: _stack((data for (data,) in samples), kind)
        )

    return _time(make, lambda batch: batch)


def files(*, folder: str, kind: str) -> dict[str, float]:
    """A file for each sample and a map-style torch Dataset."""
    from torch.utils.data import DataLoader

    def make() -> Iterable[Any]:
        paths = sorted(Path(folder, "files").iterdir())
        return DataLoader(
            paths,  # type: ignore[arg-type]  # a list is a map-style data set
            batch_size=BATCH,
            shuffle=True,
            collate_fn=lambda chosen: _stack((path.read_bytes() for path in chosen), kind),
        )

    return _time(make, lambda batch: batch)


def _time(make: Callable[[], Iterable[Any]], data: Callable[[Any], Any]) -> dict[str, float]:
    """Seconds to the first batch; samples a second of wall-clock and of processor time; bytes of memory."""
    import torch

    torch.set_num_threads(1)
    begun = time.perf_counter()
    loader = make()
    batches = iter(loader)
    next(batches)
    first = time.perf_counter() - begun
    for _ in batches:
        pass
    samples, wall, cpu = 0, 0.0, 0.0
    while wall < SECONDS:
        batches = iter(loader)
        next(batches)  # where an epoch begins, which real ones seldom do
        begun, begun_cpu = time.perf_counter(), time.process_time()
        samples += sum(len(data(batch)) for batch in batches)
        wall, cpu = wall + time.perf_counter() - begun, cpu + time.process_time() - begun_cpu
    found = {"rate": samples / wall, "per_core": samples / cpu, "first": first, "memory": bench.memory_of_tree()}
    if hasattr(loader, "close"):
        loader.close()
    return found


def _stack(payloads: Iterable[bytes], kind: str) -> Any:
    """A batch in the fastest way that we know of: no picture is transposed, latents are converted all at once."""
    import torch
    from PIL import Image

    if kind == "pixels":
        pictures = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in payloads])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)
    values = torch.frombuffer(bytearray(b"".join(payloads)), dtype=torch.float16)
    return values.float().view(-1, 4, SIDE // 8, SIDE // 8)


def _payload(sample: dict[str, Any]) -> bytes:
    return sample["image"] if "image" in sample else sample["latent"]


def _group(folder: Path) -> Path:
    from animetune.shardset import open_root

    root = open_root(folder / "shards")
    (group,) = root.groups
    return root.folder / group.folder


def _stored(folder: Path) -> Iterable[dict[str, Any]]:
    from streaming import LocalDataset

    return LocalDataset(str(_group(folder)))


def _random_posteriors(self: Any, pixels: Any) -> list[Any]:
    """Latents as random as real ones are, and as hard to compress."""
    import torch

    shape = (len(pixels), 4, SIDE // 8, SIDE // 8)
    return [torch.randn(shape).to(getattr(torch, self.store.dtype))]


CONTENDERS = {
    "ours": ours,
    "ours with prompts": with_prompts,
    "stock StreamingDataset": stock,
    "WebDataset": webdataset,
    "plain files": files,
}

if __name__ == "__main__":
    builder = {"build": build}
    bench.child(CONTENDERS | builder)
    rows = []
    for kind in SAMPLES:
        with tempfile.TemporaryDirectory(prefix="bench-loader-") as folder:
            bench.fresh(builder, "build", folder=folder, kind=kind)
            # Beside decoding a megapixel, prompts are nothing.
            entered = {name: each for name, each in CONTENDERS.items() if kind == "latents" or each != with_prompts}
            found = bench.alternate(entered, rounds=ROUNDS, folder=folder, kind=kind)
        for name in entered:
            ratios = bench.paired(found, "per_core", of=name, to="stock StreamingDataset")
            row = {
                "samples": kind,
                "loader": name,
                "samples/s per core": f"{bench.middle(found[name], 'per_core'):.0f}",
                "of stock": bench.ratio_text(ratios),
                "samples/s": f"{bench.middle(found[name], 'rate'):.0f}",
                "first batch": f"{bench.middle(found[name], 'first'):.2f} s",
                "memory": f"{bench.middle(found[name], 'memory') / 1e6:.0f} MB",
            }
            rows.append(row)
    notes = [
        f"JPEGs of {SIDE}x{SIDE} to uint8, latents of fp16 to float32; batches of {BATCH}; no workers; warm page cache",
        "per core: by processor time; first batch: without imports; memory: of a rank",
        "`ours` composes an empty prompt; with prompts: Animagine XL 3.1's of some 30 tags, in three chunks of tokens",
        "the untimed epoch has also filled the caches of words and tags: the first sight of a word costs more",
    ]
    bench.report("loader", "The training loader against others on the same samples", rows, notes=notes)
