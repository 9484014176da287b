"""A vision-language model of transformers in a local folder, behind the same protocol as a server.

For models that no server serves, and small jobs: vLLM or SGLang behind `base_url` give several times as many captions a
second, since they begin with a request while others are under way. Weights are safetensors; no code of the folder runs.
"""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from animetune.errors import SetupError
from animetune.seeding import Purpose, key_for
from animetune.vlm.config import ModelConfig
from animetune.vlm.errand import Errand
from animetune.vlm.replies import Reply
from animetune.vlm.requests import PICTURE, PictureRef, Request
from animetune.vlm.usage import Usage

if TYPE_CHECKING:
    import torch

Encode = Callable[[PictureRef], Awaitable[bytes]]
Prompt = tuple[Request, bytes | None]
"""A request and its encoded picture."""


class Generator(Protocol):
    """Answers several prompts at once."""

    def __call__(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """A reply each."""


class LocalModel:
    """The backend of a local model. Requests that wait together are answered together, up to `batch`."""

    def __init__(self, model: ModelConfig, encode: Encode, usage: Usage, generator: Generator | None = None):
        self._model, self._encode, self._usage = model, encode, usage
        self._thread = ThreadPoolExecutor(1, "vision-model")
        self._generator = generator
        self._waiting: list[tuple[Prompt, asyncio.Future[Reply]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def complete(self, request: Request, *, is_last: bool = True) -> Reply:
        """The reply. SetupError when the model cannot be loaded; PictureError; RequestLimitError."""
        encoded = None if request.picture is None else await self._encode(request.picture)
        self._usage.sending()
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append(((request, encoded), reply))
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._serve())
        answered = await reply
        self._usage.answered(answered)
        return answered

    async def close(self) -> None:
        """Wait for the batch that is under way, and free the model."""
        if self._worker is not None and not self._worker.done():
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._generator = None

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # so that those who ask in the same moment are in one batch
        while self._waiting:
            batch = self._take()
            try:
                replies = await loop.run_in_executor(self._thread, self._generate, [prompt for prompt, _ in batch])
            except Exception as error:
                for _, waiting in batch:
                    if not waiting.done():
                        waiting.set_exception(error)
                continue
            for (_, waiting), reply in zip(batch, replies, strict=True):
                if not waiting.done():
                    waiting.set_result(reply)

    def _take(self) -> list[tuple[Prompt, asyncio.Future[Reply]]]:
        """The next to be answered together: those that wait longest of one sampling and one length of answers."""
        (first, _), _ = self._waiting[0]
        alike = [place for place, ((request, _), _) in enumerate(self._waiting) if request.model == first.model]
        taken = set(alike[: self._model.batch])
        batch = [self._waiting[place] for place in sorted(taken)]
        self._waiting = [each for place, each in enumerate(self._waiting) if place not in taken]
        return batch

    def _generate(self, prompts: Sequence[Prompt]) -> list[Reply]:
        if self._generator is None:
            self._generator = TransformersGenerator(self._model, self._usage.errand)
        return self._generator(prompts)


class TransformersGenerator:
    """AutoModelForImageTextToText and its processor, from a folder."""

    def __init__(self, cfg: ModelConfig, errand: Errand | None = None):
        name = (errand or Errand()).name
        assert cfg.folder is not None
        if not (cfg.folder / "config.json").is_file():
            raise SetupError(f"{name}: {cfg.folder}: holds no model of transformers: there is no config.json")
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        has_cuda = torch.cuda.is_available()
        if cfg.device == "cuda" and not has_cuda:
            raise SetupError(f"{name}: device: cuda: torch sees no GPU; set device: auto or cpu")
        self._device = "cuda" if has_cuda and cfg.device != "cpu" else "cpu"
        dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
        only_this = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor = AutoProcessor.from_pretrained(cfg.folder, **only_this)
            model: Any = AutoModelForImageTextToText.from_pretrained(
                cfg.folder, use_safetensors=True, torch_dtype=dtype, **only_this
            )
        except (OSError, ValueError, ImportError) as error:
            raise SetupError(f"{name}: {cfg.folder}: cannot be loaded by transformers: {error}") from error
        self._model = model.to(self._device).eval()
        self._takes = inspect.signature(self._model.forward).parameters
        tokenizer = self._processor.tokenizer
        tokenizer.padding_side = "left"  # answers begin where prompts end, at the same place in all of a batch
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def __call__(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Answers, by sampling that depends on the seeds of the requests of the batch."""
        import torch

        texts = [self._text(request) for request, _ in prompts]
        pictures = [[_opened(encoded)] for _, encoded in prompts if encoded is not None]
        inputs = self._processor(text=texts, images=pictures or None, padding=True, return_tensors="pt")
        if "token_type_ids" in inputs and "token_type_ids" not in self._takes:
            del inputs["token_type_ids"]  # of tokenizers that were saved for other models
        inputs = inputs.to(self._device)
        with torch.random.fork_rng(), torch.inference_mode():
            digests = [int(request.digest[:15], 16) for request, _ in prompts]
            torch.manual_seed(key_for(prompts[0][0].seed, Purpose.DRAW, *digests) % 2**63)
            made = self._model.generate(**inputs, **_sampling(prompts[0][0].model))
        return [self._reply(row, inputs["attention_mask"], place, inputs) for place, row in enumerate(made)]

    def _text(self, request: Request) -> str:
        messages = [{**each, "content": _parts(each["content"])} for each in request.messages]
        return self._processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def _reply(self, row: torch.Tensor, mask: torch.Tensor, place: int, inputs: Any) -> Reply:
        tokenizer = self._processor.tokenizer
        answer = row[inputs["input_ids"].shape[1] :]
        ends = {tokenizer.eos_token_id, *_listed(self._model.generation_config.eos_token_id)}
        length = next((at for at, token in enumerate(answer.tolist()) if token in ends), None)
        tokens = answer if length is None else answer[:length]
        return Reply(
            text=tokenizer.decode(tokens, skip_special_tokens=True).encode("utf-8", "replace").decode(),
            finish="length" if length is None else "stop",
            prompt_tokens=int(mask[place].sum()),
            completion_tokens=len(tokens),
        )


def _sampling(cfg: ModelConfig) -> dict[str, Any]:
    chosen = {"max_new_tokens": cfg.max_tokens, **cfg.extra_body}
    if cfg.temperature == 0:
        return {**chosen, "do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {**chosen, "do_sample": True, "temperature": cfg.temperature, "top_p": cfg.top_p, "top_k": 0}


def _parts(content: Any) -> list[dict[str, Any]]:
    """Content as chat templates of transformers have it."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [{"type": "image"} if part["type"] == PICTURE else part for part in content]


def _opened(encoded: bytes) -> Image.Image:
    with Image.open(io.BytesIO(encoded)) as image:
        return image.convert("RGB")


def _listed(value: int | list[int] | None) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]
