"""Alloy's documents: what a describe call may say, and how all calls answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from bulkup.sandbox.alloy.errors import bad_body
from bulkup.sandbox.alloy.options import AlloyOptions
from bulkup.sandbox.objectstore.objects import StoredObject

_TYPES: Final = ("contract", "license", "passport", "utility", "other", "internal")
_FIELDS: Final = frozenset({"name", "extension", "type", "note", "note_author_agent_email"})


@dataclass(slots=True)
class AlloyDocument:
    """A document, from its description on.

    Args:
        token: ``D-...``.
        entity: the entity's token.
        description: what the describe call said of it.
        timestamp: when, in epoch milliseconds.
        stored: the bytes, once they came.
        puts: how often bytes were accepted.
    """

    token: str
    entity: str
    description: Mapping[str, str]
    timestamp: int
    stored: StoredObject | None = None
    puts: int = field(default=0)

    @property
    def key(self) -> str:
        """Where its bytes are in the object store."""
        return f"alloy/{self.entity}/{self.token}"

    def render(self, *, uploaded: bool) -> Mapping[str, object]:
        """As all calls answer it."""
        notes = []
        if "note" in self.description:
            author = self.description.get("note_author_agent_email")
            at = {"created_at": self.timestamp, "updated_at": self.timestamp}
            notes = [{"note": self.description["note"], "note_author_agent_email": author, **at}]
        return {
            "document_token": self.token,
            "type": self.description.get("type"),
            "name": self.description.get("name"),
            "extension": self.description.get("extension"),
            "uploaded": uploaded,
            "timestamp": self.timestamp,
            "approved": None,
            "approval_agent_email": None,
            "approval_timestamp": None,
            "notes": notes,
        }


def description(body: bytes, options: AlloyOptions) -> Mapping[str, str]:
    """What a describe call says, by the guide."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        bad_body("the body is not valid JSON")
    if not isinstance(given, dict):
        bad_body("the body must be a JSON object")
    if extra := sorted(given.keys() - _FIELDS):
        bad_body(f"unknown: {', '.join(extra)}", extra[0])
    for name in sorted(options.required):
        if name not in given:
            bad_body(f"{name} is required", name)
    for name, value in given.items():
        if not isinstance(value, str) or not value:
            bad_body(f"{name} must be text", name)
    if given.get("type", _TYPES[0]) not in _TYPES:
        bad_body(f"type must be one of {', '.join(_TYPES)}", "type")
    _check_extension(given.get("extension"), options)
    _check_agent(given.get("note_author_agent_email"), options)
    return given


def _check_extension(extension: str | None, options: AlloyOptions) -> None:
    if extension is None:
        return
    if "." in extension:
        bad_body("extension must be without a dot", "extension")
    if options.extensions is not None and extension.lower() not in options.extensions:
        bad_body(f"extension must be one of {', '.join(sorted(options.extensions))}", "extension", breach=False)


def _check_agent(email: str | None, options: AlloyOptions) -> None:
    """The address must correlate with an Alloy account (guide)."""
    if email is None:
        return
    known = "@" in email if options.agents is None else email in options.agents
    if not known:
        bad_body(f"{email} is no agent of this account", "note_author_agent_email", breach=False)
