"""The switches of the LoanPro stand-in: what its guide leaves open, and how strict it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bulkup.sandbox.vendor import VendorOptions


class LoanProOptions(VendorOptions):
    """How the LoanPro stand-in behaves; times are in seconds.

    Args:
        sections: the sections that exist; None: all.
        owners: the loans and customers that exist, such as ``loan:7``; None: all.
        url_life: how long an upload URL is good.
        check_size: bytes that differ from the declared size are no document.
        list_unfinished: whether records without bytes are listed.
        attachment_before: what a record says of its file before the bytes came: what was declared, or nothing.
        error_form: where an error's message stands.
    """

    sections: frozenset[str] | None = None
    owners: frozenset[str] | None = None
    url_life: float = Field(default=600, gt=0)
    check_size: bool = False
    list_unfinished: bool = True
    attachment_before: Literal["declared", "empty"] = "declared"
    error_form: Literal["value", "message", "d"] = "value"
