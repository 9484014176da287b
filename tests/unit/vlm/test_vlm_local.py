"""The local backend: requests that wait together are one batch, and a tiny model with random weights really answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from animetune.errors import RequestLimitError, SetupError
from animetune.evaluate.config.vision import VisionConfig
from animetune.evaluate.questions import PictureQuestions, ask_questions
from animetune.vlm.config import ModelConfig, SentPictureConfig
from animetune.vlm.local import LocalModel, TransformersGenerator
from animetune.vlm.replies import Reply
from animetune.vlm.requests import PictureRef, first_request
from animetune.vlm.usage import Usage
from tests.builders import picture


async def no_pictures(ref: PictureRef) -> bytes:
    raise AssertionError("no picture was to be opened")


def test_requests_that_wait_together_are_answered_together():
    cfg = ModelConfig(folder=Path("/nowhere"), model="tiny", batch=3)
    batches: list[int] = []

    def generate(prompts) -> list[Reply]:
        batches.append(len(prompts))
        return [Reply(request.messages[0]["content"].upper(), "stop", 2, 3) for request, _ in prompts]

    async def ask() -> list[Reply]:
        backend = LocalModel(cfg, no_pictures, usage, generate)
        found = await asyncio.gather(*(backend.complete(first_request(cfg, f"say {n}", 0, None)) for n in range(7)))
        await backend.close()
        return found

    usage = Usage()
    replies = asyncio.run(ask())
    assert [reply.text for reply in replies] == [f"SAY {n}" for n in range(7)]
    assert batches == [3, 3, 1]
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (7, 14, 21)


def test_requests_of_other_lengths_are_not_answered_together():
    short = ModelConfig(folder=Path("/nowhere"), model="tiny", batch=4)
    long = short.model_copy(update={"max_tokens": 2048})
    batches: list[list[int]] = []

    def generate(prompts) -> list[Reply]:
        batches.append([request.model.max_tokens for request, _ in prompts])
        return [Reply(request.messages[0]["content"]) for request, _ in prompts]

    async def ask() -> list[Reply]:
        backend = LocalModel(short, no_pictures, Usage(), generate)
        models = [short, long, short, short, long, short, short]
        asked = (backend.complete(first_request(each, f"{n}", 0, None)) for n, each in enumerate(models))
        found = await asyncio.gather(*asked)
        await backend.close()
        return found

    assert [reply.text for reply in asyncio.run(ask())] == [str(n) for n in range(7)]
    assert batches == [[512] * 4, [2048] * 2, [512]]


def test_an_error_reaches_all_of_the_batch_and_the_limit_holds():
    cfg = ModelConfig(folder=Path("/nowhere"), model="tiny")

    async def ask() -> list[object]:
        backend = LocalModel(cfg, no_pictures, Usage(2))
        asked = (backend.complete(first_request(cfg, "say", 0, None)) for _ in range(3))
        found = await asyncio.gather(*asked, return_exceptions=True)
        await backend.close()
        return list(found)

    found = asyncio.run(ask())
    assert [type(each) for each in found] == [SetupError, SetupError, RequestLimitError]
    assert "no config.json" in str(found[0])


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory) -> Path:
    """A LLaVA of two layers with random weights, and a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("llava")
    words = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "USER:", "ASSISTANT:", *(f"word{n}" for n in range(40))]
    raw = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    template = (
        "{% for message in messages %}{{ message['role'].upper() + ': ' }}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '<image> ' }}{% else %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}"
        "{% endfor %}ASSISTANT:"
    )
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    )
    vision = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=1, image_size=16, patch_size=8
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=1,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(LlavaConfig(vision, text, image_token_index=4, image_seq_length=4))
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 3
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_real_model_answers_a_batch(tiny_model: Path, tmp_path: Path):
    import io

    import torch

    cfg = ModelConfig(folder=tiny_model, model="tiny", device="cpu", max_tokens=5)
    generate = TransformersGenerator(cfg)
    prompts = []
    for number, text in enumerate(["word1 word2", "word3 word4 word5 word6"]):
        stream = io.BytesIO()
        picture(number, 20, 30).save(stream, "PNG")
        ref = PictureRef(str(number), f"{number}", SentPictureConfig())
        prompts.append((first_request(cfg, text, 0, ref), stream.getvalue()))
    state = torch.random.get_rng_state()
    replies = generate(prompts)
    assert torch.equal(state, torch.random.get_rng_state())
    assert generate(prompts) == replies
    # USER:, the words, four patches of the picture, ASSISTANT:
    assert [reply.prompt_tokens for reply in replies] == [8, 10]
    for reply in replies:
        assert reply.finish in ("stop", "length")
        assert reply.completion_tokens == 5 or reply.finish == "stop"
        assert all(word.startswith(("word", "<", "USER", "ASSISTANT")) for word in reply.text.split())
    greedy = TransformersGenerator(cfg.model_copy(update={"temperature": 0.0}))
    cold = [(first_request(cfg.model_copy(update={"temperature": 0.0}), "word1", n, None), None) for n in range(2)]
    one, two = greedy(cold)
    assert one == two
    assert one.prompt_tokens == 3


@pytest.mark.slow
def test_a_local_model_answers_questions(tiny_model: Path, tmp_path: Path):
    """Words at random, which are neither yes nor no, from the same chain as those of a server."""
    picture(1, 40, 30).save(tmp_path / "1.png")
    cfg = VisionConfig(folder=tiny_model, model="tiny", device="cpu", max_tokens=5, per_request=2)
    asked = [PictureQuestions(tmp_path / "1.png", ("word1 ?", "word2 ?", "word3 ?"))]
    said = ask_questions(cfg, asked, tmp_path)
    assert {each.problem for each in said.values()} <= {"cut_off", "unclear", "empty"}
    assert [text for _, text in said] == ["word1 ?", "word2 ?", "word3 ?"]
    assert all(each.prompt_tokens > 0 for each in said.values())
    assert ask_questions(cfg.model_copy(update={"folder": Path("/nowhere")}), asked, tmp_path) == said


def test_a_folder_without_safetensors_is_not_loaded(tiny_model: Path, tmp_path: Path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SetupError, match="cannot be loaded"):
        TransformersGenerator(ModelConfig(folder=folder, model="tiny", device="cpu"))
