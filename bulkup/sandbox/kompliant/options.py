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
        extensions: the allowed file extensions, lower case, without the dot.
        check_type: what comes of a file whose content is not what its extension says: nothing is checked, or the upload
            fails after its 204.
        url_life: how long a form is good.
        status_delay: from the landing of the bytes to the final status.
        pending: the status before that.
        uploaded: the status after that.
        failed: the status of an upload that failed.
        hash_encoding: how ``hash`` is written.
        envelope: false: answers as the guide prints them, without ``meta`` and ``data``.
        batch_form: the answer of a batch: the guide's flat items, or results per item.
        refuse_duplicates: how a second fulfillment by the same document is answered: per item, or the whole batch.
    """

    subjects: frozenset[str] | None = None
    workflows: Mapping[str, tuple[str, tuple[str, ...]]] = {
        "w_sandbox": ("", ("PASSPORT", "BANK_STATEMENT", "PROOF_OF_ADDRESS")),
        "w_ended": ("", ("PASSPORT",)),
    }
    ended: frozenset[str] = frozenset({"w_ended"})
    extensions: frozenset[str] = frozenset({"pdf", "jpg", "jpeg", "png", "csv", "docx", "xlsx", "txt", "tif", "tiff"})
    check_type: bool = False
    url_life: float = Field(default=300, gt=0)
    status_delay: float = Field(default=0.02, ge=0)
    pending: str = "PENDING"
    uploaded: str = "UPLOADED"
    failed: str = "FAILED"
    hash_encoding: Literal["hex", "base64"] = "hex"
    envelope: bool = True
    batch_form: Literal["flat", "items"] = "flat"
    refuse_duplicates: Literal["item", "batch"] = "item"
