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
        ids: how document ids are written: in the init's answer as text and elsewhere as numbers (``guide``), or
            everywhere the same.
        list_unfinished: whether records without bytes are listed.
        attachment_before: what a record says of its file before the bytes came: what was declared, or nothing.
        page: how many records a list has at most, whatever is asked for.
        paging: False: a list knows no ``$top`` and ``$start``, and has all records.
        list_summary: whether a list says how many records there are.
        file_url: whether a record's file has a URL; else it is read at the API.
        update_answer: the document, or an empty body.
        error_form: where an error's message stands: the forms of the vendor's SDK, or plain text.
    """

    sections: frozenset[str] | None = None
    owners: frozenset[str] | None = None
    url_life: float = Field(default=600, gt=0)
    check_size: bool = False
    ids: Literal["guide", "text", "number"] = "guide"
    list_unfinished: bool = True
    attachment_before: Literal["declared", "empty"] = "declared"
    page: int = Field(default=50, gt=0)
    paging: bool = True
    list_summary: bool = False
    file_url: bool = True
    update_answer: Literal["document", "empty"] = "document"
    error_form: Literal["value", "message", "d", "full", "text"] = "value"
