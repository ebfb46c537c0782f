"""The switches of the Kompliant stand-in: what its guide leaves open, and how strict it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from bulkup.sandbox.vendor import VendorOptions


class KompliantOptions(VendorOptions):
    """How the Kompliant stand-in behaves; times are in seconds.

    Args:
        subjects: the subject records that exist; None: all that begin with ``sr_``.
        workflows: each workflow's subject record (empty: any) and the type codes of its required documents.
        ended: workflows that have ended.
        extensions: the allowed file extensions, lower case, without the dot; None: any.
        max_size: the largest file, in bytes; None: there is no limit.
        check_type: what comes of a file whose content is not what its extension says: nothing is checked, or the upload
            fails after its 204.
        url_life: how long a form is good.
        token_life: how long the temporary credentials in a form are good; None: for ever.
        expired_token: the store's status for a form whose temporary credentials are over.
        more_fields: fields of a form beside those that the guide shows.
        status_delay: from the landing of the bytes to the final status.
        pending: the status before the bytes came.
        processing: the status from then to the final one; empty: it stays as it was.
        uploaded: the status after that.
        failed: the status of an upload that failed.
        hash_encoding: how ``hash`` is written; ``none``: it is never told.
        hash_before: what ``hash`` is before it is known: null, empty text, or it is missing.
        envelope: false: answers as the guide prints them, without ``meta`` and ``data``.
        batch_form: the answer of a batch: the guide's flat items, or results per item.
        batch_list: the name of the list that holds them.
        refusals: how bad items of a batch are answered: each in its result, or the whole batch is refused.
        duplicate: the words for a second fulfillment by the same document.
        decision: the ``decision_status`` of a new fulfillment.
        unauthorized_code: the error code of a 401.
        throttled_code: the error code of a 429.
        infrastructure: the body of 413, 415, 429, 503 and 504: text, an envelope without trace id (json), or none.
    """

    subjects: frozenset[str] | None = None
    workflows: Mapping[str, tuple[str, tuple[str, ...]]] = {
        "w_sandbox": ("", ("PASSPORT", "BANK_STATEMENT", "PROOF_OF_ADDRESS")),
        "w_ended": ("", ("PASSPORT",)),
    }
    ended: frozenset[str] = frozenset({"w_ended"})
    extensions: frozenset[str] | None = frozenset(
        {"pdf", "jpg", "jpeg", "png", "csv", "docx", "xlsx", "txt", "tif", "tiff"}
    )
    max_size: int | None = Field(default=None, ge=0)
    check_type: bool = False
    url_life: float = Field(default=300, gt=0)
    token_life: float | None = Field(default=None, gt=0)
    expired_token: Literal[400, 403] = 400
    more_fields: Mapping[str, str] = {}
    status_delay: float = Field(default=0.02, ge=0)
    pending: str = "PENDING"
    processing: str = ""
    uploaded: str = "UPLOADED"
    failed: str = "FAILED"
    hash_encoding: Literal["hex", "base64", "none"] = "hex"
    hash_before: Literal["null", "empty", "missing"] = "null"
    envelope: bool = True
    batch_form: Literal["flat", "items"] = "flat"
    batch_list: str = "fulfillments"
    refusals: Literal["item", "batch"] = "item"
    duplicate: str = "a duplicate of an existing fulfillment"
    decision: str = "PENDING"
    unauthorized_code: str = "UNAUTHORIZED"
    throttled_code: str = "TOO_MANY_REQUESTS"
    infrastructure: Literal["text", "json", "empty"] = "text"
