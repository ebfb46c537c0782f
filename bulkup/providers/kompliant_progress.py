"""How far an upload to Kompliant is, by its ``upload_status``; the words are settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from bulkup.providers.base import Json
from bulkup.providers.reading import text


class Progress(Enum):
    """What the vendor says of an upload."""

    FAILED = auto()
    DONE = auto()
    CAME = auto()
    """The bytes are there, and are looked at."""
    WAITS = auto()
    """For the bytes, as far as the vendor has noticed."""
    UNCLEAR = auto()
    """A word that no setting has."""

    @property
    def arrived(self) -> bool:
        """Whether the bytes are there, and not refused."""
        return self in {Progress.DONE, Progress.CAME}

    @property
    def final(self) -> bool:
        """Whether nothing more comes."""
        return self in {Progress.DONE, Progress.FAILED}


def progress(document: Json, settings: Mapping[Progress, str]) -> Progress:
    """How far a document is: by its word, else by its hash.

    Args:
        settings: the words of each, with commas between; the first that has the word counts.
    """
    said = word(text(document.get("upload_status")) or "")
    for what, given in settings.items():
        if said in words(given):
            return what
    if document.get("hash"):
        return Progress.DONE
    return Progress.UNCLEAR if said else Progress.WAITS


def words(given: str) -> frozenset[str]:
    """The words of a setting."""
    return frozenset(word(each) for each in given.split(",") if each.strip())


def word(given: str) -> str:
    """A word as it is compared: in any case of letters, a file extension with or without its dot."""
    return "_".join(given.strip(" .").replace("-", " ").upper().split())
