"""The switches of the Auco stand-in: what its guide leaves open, and how strict it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bulkup.sandbox.vendor import VendorOptions


class AucoOptions(VendorOptions):
    """How the Auco stand-in behaves; times are in seconds.

    Args:
        generation: the form of answers: the guide's, or that of newer docs for ``/document/upload``.
        created: the status of a create call.
        error_form: the body of a refusal: a message and a word as JSON, the message as text, or nothing.
        url_life: how long a signed URL is good.
        content_type: the Content-Type that the PUT must have; empty: any.
        view_life: how long a URL to read a document is good.
        max_inline: the largest PDF that may come in base64, in bytes.
        check_pdf: the bytes in base64 must be those of a PDF.
        folders: the folders that exist; None: all.
        newer_fields: fields that only newer docs know are taken, such as ``custom``.
        strict: phones are required, ``options`` need ``camera`` or ``otpCode`` beside them, and each signer of a
            package needs exactly one of ``type``, ``label`` and ``position``.
        notifies: when signers get their message.
        without_bytes: what is said of a process whose bytes never came: it has no URL, or is not known.
    """

    generation: Literal["guide", "newer"] = "guide"
    created: int = Field(default=200, ge=200, le=299)
    error_form: Literal["json", "text", "empty"] = "json"
    url_life: float = Field(default=5, gt=0)
    content_type: str = ""
    view_life: float = Field(default=300, gt=0)
    max_inline: int = Field(default=5 * 1024 * 1024, ge=0)
    check_pdf: bool = True
    folders: frozenset[str] | None = None
    newer_fields: bool = True
    strict: bool = False
    notifies: Literal["at_once", "with_bytes"] = "at_once"
    without_bytes: Literal["no_url", "not_found"] = "no_url"
