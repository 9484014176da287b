"""The records that travel between stages, and the table of every column: name, type, unit, meaning.

    Post  --curate-->  Row  --labels-->  Label  --data-->  Sample  --collate-->  Batch

A Row is a line of the curated table (parquet), a Label a line of a label set (Arrow, in shard order), a Batch one
micro-batch of one size. Tensors are named for what they hold; torch is imported only for type checkers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import torch

NO_ROW = -1
"""Padding in arrays of rows."""

LATENT_CHANNELS = 4
PIXELS_PER_CELL = 8
"""How much smaller a latent is than its picture, each way."""


class Column(NamedTuple):
    """One column: `dtype` is `str`, `i64`, `i32`, `f32`, `bool`, `datetime` (UTC, microseconds) or `list[str]`."""

    name: str
    dtype: str
    unit: str
    meaning: str


CONTENT_BUCKETS = (
    "1girl_with_emotion",
    "1girl_only",
    "1boy_with_emotion",
    "1boy_only",
    "multiple_girls",
    "multiple_boys",
    "animal",
    "object",
    "no_human",
)
"""The nine content buckets of DashAnime XL, in the published order."""

RATINGS = ("g", "s", "q", "e")
"""general, sensitive, questionable, explicit."""

POST_COLUMNS = (
    Column("key", "str", "", "<source>/<id>; a close-up is <parent key>#<n>. Unique in a table."),
    Column("source", "str", "", "name of the source in the config"),
    Column("id", "i64", "", "id of the post at its source"),
    Column(
        "image",
        "str",
        "",
        "where the picture is: URL, or URL!member@offset+length inside a tar; #xywh=left,top,width,height behind it is "
        "a region in pixels of the upright picture",
    ),
    Column(
        "mask",
        "str",
        "",
        "where the mask of its loss is, as for `image`; of the whole picture where `image` is a region; null for none: "
        "all counts alike",
    ),
    Column("md5", "str", "", "hex MD5 of the original file as the site states it; null when unknown"),
    Column("post_width", "i32", "pixels", "width that the post states; null when unknown"),
    Column("post_height", "i32", "pixels", "height that the post states; null when unknown"),
    Column("post_bytes", "i64", "bytes", "size of the original file that the post states; null when unknown"),
    Column("pixel_hash", "str", "", "the site's hash of the decoded pixels; null when unknown"),
    Column("file_ext", "str", "", "lower-case extension that the post states; never trusted for decoding"),
    Column("created_at", "datetime", "UTC", "upload time; null when unknown or unparsable"),
    Column("rating", "str", "", "g, s, q or e; null when unknown"),
    Column("score", "i64", "votes", "score at the source; null when unknown"),
    Column("fav_count", "i64", "users", "favourites at the source; null when unknown"),
    Column("aesthetic_score", "f32", "", "a model's score that the source brings along; null when unknown"),
    Column("is_deleted", "bool", "", "deleted, banned or pending at the source"),
    Column("is_synthetic", "bool", "", "drawn by a model, of ours or of others: in no percentile, and capped in share"),
    Column(
        "parent", "str", "", "key of the parent post, or of the picture that a close-up was cut from; null for none"
    ),
    Column(
        "tags_general",
        "list[str]",
        "",
        "general tags, underscored as on the site, in the site's order, without duplicates",
    ),
    Column("tags_character", "list[str]", "", "character tags"),
    Column("tags_copyright", "list[str]", "", "series tags"),
    Column("tags_artist", "list[str]", "", "artist tags"),
    Column("tags_meta", "list[str]", "", "meta tags (highres, absurdres, comic ...)"),
    Column("captions_long", "list[str]", "", "long natural-language captions; may be empty"),
    Column("captions_short", "list[str]", "", "short natural-language captions; may be empty"),
)
"""What `ingest` makes of every post, whatever the source's format."""

PICTURE_COLUMNS = (
    Column("width", "i32", "pixels", "width of the DECODED picture, after EXIF rotation"),
    Column("height", "i32", "pixels", "height of the decoded picture, after EXIF rotation"),
    Column("image_format", "str", "", "true format by content: JPEG, PNG, WEBP, GIF, AVIF, BMP"),
    Column("image_bytes", "i64", "bytes", "size of the encoded file"),
    Column("had_alpha", "bool", "", "had transparent pixels, composited on the background colour"),
    Column("focus_x", "f32", "share of width", "0 to 1: where a crop is centred; null for the centre of the picture"),
    Column("focus_y", "f32", "share of height", "0 to 1: where a crop is centred; null for the centre of the picture"),
)
"""What is known from looking at the picture."""

CURATED_COLUMNS = (
    Column("tags_count", "list[str]", "", "people-count tags (1girl, 2boys, solo ...), taken out of tags_general"),
    Column(
        "tags_special", "list[str]", "", "special tags kept for the prompt (lowres, highres, absurdres, monochrome ...)"
    ),
    Column("content_bucket", "str", "", "what the picture shows, exactly one of the configured content buckets"),
    Column("content_reason", "str", "", "the rule that decided the content bucket"),
    Column(
        "content_conflict", "str", "", "the other content buckets whose rule also held, comma-separated; empty for none"
    ),
    Column("quality", "str", "", "quality class (`best`), not its words; null for none"),
    Column("aesthetic", "str", "", "aesthetic class; null for none"),
    Column("year", "str", "", "year class; null for none"),
    Column("style_class", "str", "", "what is learned as one style: an artist, or as a map says; null for none"),
    Column("repeats", "f32", "per epoch", "expected number of times that the picture is seen in an epoch; 0 is never"),
    Column("loss_weight", "f32", "", "factor on the sample's loss"),
    Column("split", "str", "", "train or val, equal for a whole family of posts"),
)
"""What curation decides."""

TABLE_COLUMNS = POST_COLUMNS + PICTURE_COLUMNS + CURATED_COLUMNS
"""Every column of a curated table, in order."""

LABEL_COLUMNS = (
    Column("key", "str", "", "the sample's key, as in the shards"),
    Column("repeats", "f32", "per epoch", "expected number of times that this sample is seen in an epoch; 0 is never"),
    Column("loss_weight", "f32", "", "factor on the sample's loss"),
    *(
        column
        for column in TABLE_COLUMNS
        if column.name
        in {
            "content_bucket", "rating", "quality", "aesthetic", "year", "tags_count", "tags_character",
            "tags_copyright", "tags_artist", "tags_general", "tags_special", "captions_long", "captions_short",
        }
    ),
)  # fmt: skip
"""Every column of a label set; row i belongs to row i of the shard root's samples.parquet."""


class Size(NamedTuple):
    """A size in pixels. Its name is `<width>x<height>`, as in the shard path."""

    width: int
    height: int

    @property
    def name(self) -> str:
        """`<width>x<height>`."""
        return f"{self.width}x{self.height}"

    @property
    def area(self) -> int:
        """Pixels."""
        return self.width * self.height

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of its latent, for a size of whole cells."""
        return self.height // PIXELS_PER_CELL, self.width // PIXELS_PER_CELL

    @classmethod
    def parse(cls, name: str) -> Size:
        """The size named `<width>x<height>`; ValueError otherwise."""
        width, _, height = name.partition("x")
        return cls(int(width), int(height))


@dataclass(frozen=True, slots=True)
class Label:
    """All that prompts are composed from, for one sample; lists are tuples of raw tags."""

    key: str
    rating: str | None = None
    quality: str | None = None
    aesthetic: str | None = None
    year: str | None = None
    content_bucket: str | None = None
    tags_count: tuple[str, ...] = ()
    tags_character: tuple[str, ...] = ()
    tags_copyright: tuple[str, ...] = ()
    tags_artist: tuple[str, ...] = ()
    tags_general: tuple[str, ...] = ()
    tags_special: tuple[str, ...] = ()
    captions_long: tuple[str, ...] = ()
    captions_short: tuple[str, ...] = ()


class Classes(NamedTuple):
    """What a sample belongs to, for figures by class; a class that is unknown or that it has none of is empty."""

    content_bucket: tuple[str, ...] = ()
    artist: tuple[str, ...] = ()
    character: tuple[str, ...] = ()


NO_CLASSES = Classes()


@dataclass(slots=True)
class Sample:
    """One training sample as a data worker makes it; arrays are NumPy."""

    row: int
    """Row in the shard root's samples.parquet."""
    copy: int
    """Ordinal of this occurrence of the row in the epoch's plan."""
    size: Size
    prompt: str
    token_ids: np.ndarray
    """int64 (2, 77 * chunks): CLIP-L and CLIP-G ids, which differ in padding only."""
    time_ids: np.ndarray
    """float32 (6,): original height, width, crop top, left, target height, width, in pixels."""
    loss_weight: float
    classes: Classes = NO_CLASSES
    latent: np.ndarray | None = None
    """float16 or float32 (4, h / 8, w / 8): the VAE's posterior mean or a sample of it, NOT multiplied by the scaling
    factor."""
    pixels: np.ndarray | None = None
    """uint8 (h, w, 3), RGB."""
    mask: np.ndarray | None = None
    """float32 (1, h / 8, w / 8), 0 to 1: how much each latent cell counts in the loss; None: all alike."""


@dataclass(frozen=True, slots=True)
class Init:
    """A picture that drawing begins from, instead of pure noise."""

    name: str
    """What records call it; with the strength all that counts when two are compared."""
    strength: float
    """How much is drawn anew, 0 to 1: of the sampler's n steps the last floor(n * strength). 0 returns the picture as
    the VAE gives it back."""
    read: Callable[[], np.ndarray] = field(compare=False, repr=False)
    """The picture, uint8 RGB (height, width, 3), of the request's size; called when its turn comes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One picture to draw; it depends on nothing but this, the model and the settings of drawing."""

    prompt: str
    seed: int
    size: Size
    """Of the first pass; an upscaling second pass makes it larger."""
    negative: str = ""
    init: Init | None = None


@dataclass(slots=True)
class Batch:
    """One micro-batch: samples of one size. Exactly one of `latents` and `pixels` is set."""

    size: Size
    epoch: int
    step: int
    """Optimizer step inside the epoch that this micro-batch belongs to."""
    rows: torch.Tensor
    """int64 (b,)"""
    copies: torch.Tensor
    """int64 (b,)"""
    slots: torch.Tensor
    """int64 (b,): the sample's place in the global batch of the step, for stratified timesteps."""
    token_ids: torch.Tensor
    """int64 (b, 2, 77 * chunks)"""
    time_ids: torch.Tensor
    """float32 (b, 6), pixels; see Sample.time_ids"""
    loss_weights: torch.Tensor
    """float32 (b,)"""
    share: float
    """This micro-batch's samples / (samples of the step / micro-batches of the step): the mean of `share * loss` over
    the micro-batches of a step, on all ranks, is the mean over its samples."""
    global_batch: int
    """Samples of the whole optimizer step, on all ranks."""
    prompts: list[str]
    classes: list[Classes] = field(default_factory=list)
    """Of each sample, or of none."""
    latents: torch.Tensor | None = None
    """float32 (b, 4, h / 8, w / 8), unscaled"""
    pixels: torch.Tensor | None = None
    """uint8 (b, 3, h, w), channels last in memory"""
    masks: torch.Tensor | None = None
    """float32 (b, 1, h / 8, w / 8), 0 to 1: how much each latent cell counts in the loss; None: all alike"""

    def map_tensors(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """A copy in which `function` was applied to every tensor."""
        changed: dict[str, Any] = {
            each.name: function(value)
            for each in dataclasses.fields(self)
            if hasattr(value := getattr(self, each.name), "device")
        }
        return dataclasses.replace(self, **changed)

    def to(self, device: torch.device | str) -> Batch:
        """A copy on `device`, asynchronous from pinned memory; rows, copies and slots stay on the CPU.

        They are keys of random draws, which happen on the CPU: on a GPU, reading them would wait for its queue.
        """
        moved = self.map_tensors(lambda tensor: tensor.to(device, non_blocking=True))
        return dataclasses.replace(moved, rows=self.rows, copies=self.copies, slots=self.slots)

    def pin_memory(self) -> Batch:
        """A copy in pinned memory (called by DataLoader)."""
        return self.map_tensors(lambda tensor: tensor.pin_memory())
