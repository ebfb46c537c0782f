"""The switches of the Alloy stand-in: what its guide leaves open, and how strict it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bulkup.sandbox.vendor import VendorOptions


class AlloyOptions(VendorOptions):
    """How the Alloy stand-in behaves; times are in seconds.

    Args:
        entities: the entities that exist; None: all.
        agents: the e-mail addresses of the account's agents; None: any address.
        bearer_life: how long a bearer token is good.
        login_answer: which form a login answers in: that of how it was asked (``asked``), OAuth2's (``oauth``), or the
            one before it (``former``).
        created: the status of a describe call.
        required: what a describe call must have.
        extensions: the allowed file types; None: all.
        max_size: the largest file, in bytes; None: no limit.
        put_answer: an object by the guide, or an array of one.
        overwrite: a second PUT to a document that has its bytes is accepted.
        never_uploaded: the PUT is answered with ``uploaded: false``.
        list_unfinished: whether documents without bytes are listed.
        download_type: the Content-Type of a download.
        download_before: a document without bytes is answered 404 (``missing``), or as an empty file.
        details: how a refused body's ``details`` are written, if at all.
        rate_headers: the headers of a 429: all four, or without ``retry-after``.
        rate_reset: for how long a 429 asks to wait.
    """

    entities: frozenset[str] | None = None
    agents: frozenset[str] | None = None
    bearer_life: float = Field(default=3600, gt=0)
    login_answer: Literal["asked", "oauth", "former"] = "asked"
    created: Literal[200, 201] = 200
    required: frozenset[str] = frozenset({"name", "extension", "type"})
    extensions: frozenset[str] | None = None
    max_size: int | None = Field(default=None, ge=0)
    put_answer: Literal["object", "array"] = "object"
    overwrite: bool = True
    never_uploaded: bool = False
    list_unfinished: bool = True
    download_type: str = "application/octet-stream"
    download_before: Literal["missing", "empty"] = "missing"
    details: Literal["object", "list", "none"] = "object"
    rate_headers: Literal["all", "reset"] = "all"
    rate_reset: int = Field(default=0, ge=0)
