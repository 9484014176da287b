"""What can become of an answer: a draft of captions, or a coded reason why it is not used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from animetune.errors import AnimetuneError

Form = Literal["long", "short", "both", "characters", "compress"]
"""What is asked for, and so the form of the answer."""
FORMS: tuple[str, ...] = get_args(Form)

CODES: dict[str, str] = {
    "empty": "there is no text",
    "too_big": "the answer is longer than any caption",
    "not_json": "a JSON object was asked for, and the answer holds none",
    "wrong_schema": "the JSON object is not of the form that was asked for",
    "cut_off": "the text ends in the middle",
    "refusal": "the model says that it will not or cannot describe the picture",
    "loop": "the text repeats itself",
    "too_long": "the caption has more words or tokens than allowed",
    "too_short": "the caption has fewer words than allowed",
    "wrong_language": "the text is not English",
    "control_characters": "the text holds control characters, invisible ones, or what was no text",
    "markup": "the text holds HTML, Markdown, remains of JSON, or special tokens of a model",
    "tag_list": "a list of tags instead of sentences",
    "prompt_echo": "the text repeats the instruction",
    "injection": "the text follows words in the picture or the tags instead of describing",
    "chatter": "the text speaks to the reader instead of describing the picture",
    "style": "style is still mentioned",
    "people": "the number of people is not that of the tags",
    "gender": "the people are not of the sex that the tags state",
    "hair": "the colour of the hair is not that of the tags",
    "eyes": "the colour of the eyes is not that of the tags",
    "clothes": "the colour of a garment is not that of the tags",
}
"""Code -> what it means."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Captions as a model wrote them, before style is removed and before they are checked."""

    long: tuple[str, ...] = ()
    short: tuple[str, ...] = ()


class Problem(NamedTuple):
    """What is wrong with a caption: a key of CODES, and the words that show it."""

    code: str
    detail: str


class Rejected(AnimetuneError):
    """An answer that holds no caption; `code` is a key of CODES."""

    def __init__(self, code: str, detail: str = ""):
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}" if detail else code)
