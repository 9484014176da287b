"""Captions against a server that takes 50 ms for an answer: what share of the ideal pace is reached.

python scripts/bench/captions.py

Ideal is `concurrency / 0.05` answers a second: a server of models answers many requests at once, in the same time.
The server is a process of its own, in asyncio, and does nothing but wait. What is measured is all that the step does
for a picture: the request, the picture (768x1024, JPEG, sent as it is), the answer to the disk, its checks. `large` is
the same with pictures of 1536x2048, which are decoded, scaled and encoded anew. `bare` is the same client with a
request of words, without pictures, log and checks: what of the difference to ideal is its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import side_by_side as bench

LATENCY = 0.05
SMALL, LARGE = "small.jpg", "large.jpg"
CONCURRENCIES = (1, 16, 64)
SECONDS = 1.0 if bench.QUICK else 3.0
"""That an ideal client would take."""
ANSWER = (
    "A girl stands in a quiet garden beside a pond, looking up at a pale sky while the wind moves the leaves. "
    "Her long hair falls over her shoulders. A gate in the wall is half open, and the afternoon light lies on the path."
)
BODY = json.dumps(
    {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960},
    }
).encode()
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if line)
            await reader.readexactly(int(fields[b"content-length"]))
            await asyncio.sleep(LATENCY)
            writer.write(RESPONSE)
            await writer.drain()
    writer.close()


def serve(pipe: Any) -> None:
    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**20, backlog=256)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextlib.contextmanager
def server() -> Iterator[str]:
    near, far = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(far,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{near.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def settings(base_url: str, concurrency: int) -> Any:
    from animetune.curate.config.captions import CaptionsConfig

    return CaptionsConfig.model_validate(
        {
            "long": {"base_url": base_url, "model": "eyes"},
            "client": {"concurrency": concurrency},
            "on_refused": "keep",
        }
    )


def captions(*, folder: str, concurrency: int, picture: str = SMALL) -> dict[str, float]:
    """All that the step does for a picture."""
    from animetune.curate.caption.facts import PictureFacts
    from animetune.curate.caption.write import Wanted, Writer
    from animetune.curate.config.pictures import PicturesConfig
    from animetune.vlm.asking import Asker
    from animetune.vlm.client import Server
    from animetune.vlm.encode import PictureEncoder, decoding_in_threads
    from animetune.vlm.log import AnswerLog
    from animetune.vlm.pool import work_through
    from animetune.vlm.usage import Usage

    count = round(SECONDS * concurrency / LATENCY)
    facts = PictureFacts("bench/1", ("1girl", "solo"), tags_general=("long_hair", "garden", "pond", "sky", "standing"))
    url = str(Path(folder, picture))

    async def run(base_url: str, log: AnswerLog, encoder: PictureEncoder) -> float:
        cfg, usage = settings(base_url, concurrency), Usage()
        asker = Asker(Server(cfg.long, cfg.client, encoder, usage), log, usage)
        writer = Writer(cfg, asker, None)

        async def one(number: int) -> None:
            found = await writer.write(Wanted(facts, url, f"{number:032x}"))
            assert found.by == "model", found

        await work_through(range(-concurrency, 0), one, concurrency)  # connections, tokenizer, threads
        begun = time.perf_counter()
        await work_through(range(count), one, concurrency)
        seconds = time.perf_counter() - begun
        await asker.close()
        return seconds

    with server() as base_url, tempfile.TemporaryDirectory(dir=folder) as answers, decoding_in_threads():
        encoder = PictureEncoder(PicturesConfig())
        with AnswerLog(Path(answers)) as log:
            seconds = asyncio.run(run(base_url, log, encoder))
        encoder.close()
    return {"per_second": count / seconds, "share": count * LATENCY / concurrency / seconds}


def large(*, folder: str, concurrency: int) -> dict[str, float]:
    """The same for large pictures."""
    return captions(folder=folder, concurrency=concurrency, picture=LARGE)


def bare(*, folder: str, concurrency: int) -> dict[str, float]:
    """The client alone."""
    from animetune.vlm.client import Server
    from animetune.vlm.pool import work_through
    from animetune.vlm.requests import first_request
    from animetune.vlm.usage import Usage

    count = round(SECONDS * concurrency / LATENCY)

    async def run(base_url: str) -> float:
        cfg = settings(base_url, concurrency)
        backend = Server(cfg.long, cfg.client, None, Usage())  # type: ignore[arg-type]

        async def one(number: int) -> None:
            await backend.complete(first_request(cfg.long, f"Say {number}.", 0, None))

        await work_through(range(concurrency), one, concurrency)
        begun = time.perf_counter()
        await work_through(range(count), one, concurrency)
        seconds = time.perf_counter() - begun
        await backend.close()
        return seconds

    with server() as base_url:
        seconds = asyncio.run(run(base_url))
    return {"per_second": count / seconds, "share": count * LATENCY / concurrency / seconds}


def write_pictures(folder: str) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.Generator(np.random.Philox(key=1))
    small = Image.fromarray(rng.integers(0, 256, (64, 48, 3), np.uint8))
    for name, size in ((SMALL, (768, 1024)), (LARGE, (1536, 2048))):
        small.resize(size, Image.Resampling.BICUBIC).save(Path(folder, name), quality=90)


CONTENDERS = {"captions": captions, "large": large, "bare": bare}

if __name__ == "__main__":
    bench.child(CONTENDERS)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-captions-") as folder:
        write_pictures(folder)
        for concurrency in CONCURRENCIES:
            found = bench.alternate(CONTENDERS, rounds=3, folder=folder, concurrency=concurrency)
            rows.append(
                {
                    "asked at once": str(concurrency),
                    "ideal, answers/s": f"{concurrency / LATENCY:.0f}",
                    "answers/s": f"{bench.middle(found['captions'], 'per_second'):.0f}",
                    "share of ideal": bench.ratio_text([each["share"] for each in found["captions"]]),
                    "with large pictures": bench.ratio_text([each["share"] for each in found["large"]]),
                    "client alone": bench.ratio_text([each["share"] for each in found["bare"]]),
                }
            )
    notes = [
        "server and client share the machine; pictures 768x1024, large ones 1536x2048, JPEG; every answer on the disk"
    ]
    bench.report("captions", "Captions against a server that takes 50 ms for an answer", rows, notes=notes)
