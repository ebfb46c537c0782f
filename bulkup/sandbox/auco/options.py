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
        url_life: how long a signed URL is good.
        view_life: how long a URL to read a document is good.
        max_inline: the largest PDF that may come in base64, in bytes.
        check_pdf: the bytes must be those of a PDF.
        folders: the folders that exist; None: all.
        strict: phones are required, and ``options`` need ``camera`` or ``otpCode`` beside them.
        without_bytes: what is said of a process whose bytes never came: it has no URL, or is not known.
    """

    generation: Literal["guide", "newer"] = "guide"
    created: Literal[200, 201] = 200
    url_life: float = Field(default=5, gt=0)
    view_life: float = Field(default=300, gt=0)
    max_inline: int = Field(default=5 * 1024 * 1024, ge=0)
    check_pdf: bool = False
    folders: frozenset[str] | None = None
    strict: bool = False
    without_bytes: Literal["no_url", "not_found"] = "no_url"
