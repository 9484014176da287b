"""The pictures of an arena: what several models drew of the same prompt and seed, at the same size.

A picture's id is a hash of its model, prompt, seed, size and bytes: the same over restarts, and another one as soon as
the file changes, so that no vote on one picture is ever taken for one on another. Files may go or change while people
vote; whoever asks for such a picture hears `Stale`, it is shown no more, and `notes` say so.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from animetune import fsio
from animetune.arena.battles import NothingToShow, Stale
from animetune.arena.config import ArenaConfig
from animetune.arena.texts import asks_for, plain, read_list
from animetune.arena.votes import Mode
from animetune.errors import DataError, SetupError
from animetune.manifest import check_place
from animetune.progress import first_of, track
from animetune.records import Size
from animetune.samples.found import find_pictures

ARENA_KIND = "arena"
"""What `out` is, to those who ask before they write."""
INDEX_NAME = "pictures.jsonl"
"""In `out`: what files hash to, so that a start reads only those that are new or changed."""
PLAYERS: Mapping[Mode, int] = {"fixed": 2, "duel": 2, "four": 4}
"""Pictures of a battle."""
NAMED = 3
"""Files that a note names."""
_ID_BITS = 52
"""Of an id: whole numbers that JavaScript knows exactly; of a million pictures, two meet once in 9,000 arenas."""


class Subject(NamedTuple):
    """What all pictures of a battle have in common."""

    prompt: str
    """With single spaces."""
    seed: int
    size: Size
    """Of the pictures themselves, in pixels, whatever was asked for."""


class Known(NamedTuple):
    """What the index knows of a file, for as long as its size and time stay the same."""

    bytes: int
    nanoseconds: int
    """Since 1970, of the last change."""
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class GalleryPicture:
    """One picture of one model."""

    id: int
    model: str
    subject: Subject
    file: Path
    sha256: str
    """Of the file's bytes."""


class Gallery:
    """Pictures that can be shown. Threads may share it."""

    def __init__(
        self,
        models: Sequence[str],
        pictures: Iterable[GalleryPicture],
        prompts: Mapping[Mode, frozenset[str] | None],
        notes: Sequence[str] = (),
    ):
        """`prompts`: the modes that are played, each with the prompts that it is limited to, if it is."""
        self.models = tuple(models)
        self.notes = list(notes)
        self.version = 0
        """Grows when a picture goes."""
        self._prompts = dict(prompts)
        self._lock = threading.Lock()
        self._pictures = {picture.id: picture for picture in pictures}

    @property
    def pictures(self) -> Mapping[int, GalleryPicture]:
        """Those that are left, by id."""
        return self._pictures

    def subjects(self, mode: Mode) -> dict[Subject, dict[str, int]]:
        """What the mode is played with: the ids by model, where enough models have a picture; in their order."""
        if mode not in self._prompts:
            return {}
        limit = self._prompts[mode]
        found: dict[Subject, dict[str, int]] = defaultdict(dict)
        for picture in self._pictures.values():
            if limit is None or picture.subject.prompt in limit:
                found[picture.subject][picture.model] = picture.id
        return {subject: ids for subject, ids in sorted(found.items()) if len(ids) >= PLAYERS[mode]}

    def read(self, picture: int) -> bytes:
        """The file of a picture, its bytes as they were when it was first shown; Stale where it is gone or changed."""
        known = self.known(picture)
        try:
            data = known.file.read_bytes()
        except OSError as error:
            raise self._gone(known, f"cannot be read any more ({error.strerror})") from error
        if hashlib.sha256(data).hexdigest() != known.sha256:
            raise self._gone(known, "has changed since the arena was started")
        return data

    def known(self, picture: int) -> GalleryPicture:
        """The picture of an id; Stale where there is none."""
        try:
            return self._pictures[picture]
        except KeyError:
            raise Stale("a picture of this battle is gone, or its model is; ask for the next battle") from None

    def check(self, picture: int) -> GalleryPicture:
        """The picture, if its file is still there; Stale otherwise. Does not look into it: `read` does."""
        known = self.known(picture)
        if not known.file.is_file():
            raise self._gone(known, "is gone")
        return known

    def drop(self, picture: int, why: str) -> None:
        """Show a picture no more; `why` completes `<file> ...` for whoever runs the arena."""
        self._drop([picture], why)

    def drop_missing(self) -> None:
        """Show no more those whose files are gone."""
        self._drop([id_ for id_, picture in self._pictures.items() if not picture.file.is_file()], "is gone")

    def _drop(self, pictures: Sequence[int], why: str) -> None:
        with self._lock:
            gone = {id_: self._pictures[id_] for id_ in pictures if id_ in self._pictures}
            if not gone:
                return
            self._pictures = {id_: each for id_, each in self._pictures.items() if id_ not in gone}
            self.version += 1
            for model in sorted({each.model for each in gone.values()}):
                files = [str(each.file) for each in gone.values() if each.model == model]
                self.notes.append(f"models.{model}: {first_of(files, NAMED)} {why}; not shown until the next start")

    def _gone(self, known: GalleryPicture, why: str) -> Stale:
        self.drop(known.id, why)
        return Stale("a picture of this battle is gone or has changed; ask for the next battle")


def read_gallery(cfg: ArenaConfig) -> Gallery:
    """Look at the pictures of all models, and keep those that two or more have of the same prompt, seed and size.

    Raises SetupError for folders that are not there, ConfigError for lists of prompts that cannot be read and an `out`
    that holds something else, DataError for two pictures of one model that answer the same, NothingToShow where no two
    models have anything in common.
    """
    check_place(cfg.out, ARENA_KIND)
    modes = {mode: getattr(cfg.modes, mode) for mode in PLAYERS}
    lists = {
        mode: None if each.prompts is None else read_list(each.prompts, f"modes.{mode}.prompts")
        for mode, each in modes.items()
        if each.share
    }
    notes: list[str] = []
    pictures = _pictures_of(cfg, notes)
    explicit = () if cfg.explicit else cfg.explicit_words
    hidden = {prompt for prompt in {each.subject.prompt for each in pictures} if asks_for(prompt, explicit)}
    if hidden:
        notes.append(f"prompts that ask for explicit pictures, not shown (explicit: true shows them): {len(hidden):,}")
    shown = [each for each in pictures if each.subject.prompt not in hidden]
    models_of = Counter(each.subject for each in shown)
    partnered = [each for each in shown if models_of[each.subject] > 1]
    for model, alone in Counter(each.model for each in shown if models_of[each.subject] == 1).items():
        notes.append(f"models.{model}: pictures whose prompt, seed and size no other model has, left out: {alone:,}")
    gallery = Gallery(tuple(cfg.models), partnered, lists, notes)
    _check_playable(gallery, lists)
    return gallery


def _check_playable(gallery: Gallery, lists: Mapping[Mode, frozenset[str] | None]) -> None:
    """Note modes that nothing can be shown in; NothingToShow where those are all."""
    playable = [mode for mode in lists if gallery.subjects(mode)]
    if not playable:
        said = "".join(f"\n  {note}" for note in gallery.notes)
        raise NothingToShow(
            "models: no two of them have a picture of the same prompt, seed and size that may be shown; draw the same "
            f"prompts with the same seeds for all, and look at modes.<mode>.prompts{said}"
        )
    for mode in lists:
        if mode not in playable:
            gallery.notes.append(f"modes.{mode}: is not played: no prompt has pictures of {PLAYERS[mode]} models")
    played = {model for mode in playable for ids in gallery.subjects(mode).values() for model in ids}
    for model in gallery.models:
        if model not in played:
            gallery.notes.append(f"models.{model}: is never shown: it has no picture of what others have drawn")


def _pictures_of(cfg: ArenaConfig, notes: list[str]) -> list[GalleryPicture]:
    """All of all models; what cannot be opened is noted and left out."""
    index = cfg.out / INDEX_NAME
    before = {line["file"]: Known(*line["known"]) for line in fsio.read_lines(index)}
    known: dict[str, Known] = {}
    pictures: dict[tuple[str, Subject], GalleryPicture] = {}
    with track("arena: pictures") as progress:
        for model, file, prompt, seed in _found(cfg):
            progress.advance()
            try:
                known[str(file)] = seen = _look_at(file, before.get(str(file)))
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                notes.append(f"models.{model}: {file} cannot be opened ({error}) and is left out")
                continue
            subject = Subject(plain(prompt), seed, Size(seen.width, seen.height))
            picture = GalleryPicture(picture_id(model, subject, seen.sha256), model, subject, file, seen.sha256)
            first = pictures.setdefault((model, subject), picture)
            if first is not picture:
                raise DataError(
                    f"models.{model}.pictures: {first.file} and {file} answer the same prompt, seed and size; remove "
                    "one of them"
                )
    if known != before:
        lines = [fsio.canonical_json({"file": file, "known": list(seen)}) for file, seen in sorted(known.items())]
        fsio.atomic_write(index, "".join(f"{line}\n" for line in lines))
    return list(pictures.values())


def _found(cfg: ArenaConfig) -> Iterator[tuple[str, Path, str, int]]:
    """Model, file, prompt and seed of every picture."""
    for name, model in cfg.models.items():
        if not model.pictures.is_dir():
            raise SetupError(f"models.{name}.pictures: {model.pictures}: there is no such folder")
        count = 0
        for found in find_pictures(model.pictures):
            count += 1
            yield name, found.file.absolute(), found.request.prompt, found.request.seed
        if not count:
            raise DataError(
                f"models.{name}.pictures: {model.pictures}: holds no picture whose prompt, seed and size are known; "
                f"leave {first_of([name])} out, or add an images.jsonl (docs/arena.md)"
            )


def _look_at(file: Path, before: Known | None) -> Known:
    state = file.stat()
    stamp = (state.st_size, state.st_mtime_ns)
    if before is not None and (before.bytes, before.nanoseconds) == stamp:
        return before
    with Image.open(file) as image:
        size = image.size
    return Known(*stamp, fsio.sha256_file(file), *size)


def picture_id(model: str, subject: Subject, sha256: str) -> int:
    """The id of a picture, a whole number of 52 bits."""
    text = fsio.canonical_json([model, subject.prompt, subject.seed, *subject.size, sha256])
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) >> (256 - _ID_BITS)
