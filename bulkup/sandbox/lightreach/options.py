"""The switches of the LightReach stand-in: what the guide leaves open, and how strict it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bulkup.sandbox.objectstore.answers import Dialect
from bulkup.sandbox.sse import HeartbeatForm
from bulkup.sandbox.vendor import VendorOptions

Variants = Literal["after", "before", "never", "instead"]


class LightReachOptions(VendorOptions):
    """How the LightReach stand-in behaves; times are in seconds.

    Args:
        signed_urls: false: init answers 503, "fall back to v1".
        allowed_accounts: the accounts that the token can access; None: all.
        forbidden_accounts: accounts that it can't.
        username: of the machine-to-machine user.
        password: of the machine-to-machine user.
        login_field: the name of the user's field at login.
        token_life: how long a token from a login is good; the fixed token always is.
        extensions: the allowed file extensions, lower case, without the dot.
        name_offender: whether the refusal of an extension names the file, besides the allowed values.
        types: the valid document types; None: any.
        split_types: types that are split into one document per file where ``grouped`` is omitted.
        max_size: the largest file, in bytes; None: no limit.
        check_size: a job fails where the bytes that came differ from the declared size.
        url_life: how long an upload URL is good.
        view_life: how long a view URL is good.
        store: whose errors the object store answers with.
        first_event: what a new job says of itself.
        job_delay: from the landing of a job's last file to ``complete``.
        variants: when ``imageVariantsReady`` comes: after or before ``complete``, never, or instead of it.
        variants_delay: the time between the two events.
        heartbeat: silence on a stream after which a heartbeat is sent.
        heartbeat_form: how a heartbeat looks.
        default_sort: the list's order where the request gives none.
        md5_encoding: how ``md5Hash`` is written.
        size_rounding: how ``sizeKB`` is rounded.
        sensitive_types: types whose documents are read through the vendor's own host, with the bearer.
    """

    signed_urls: bool = True
    allowed_accounts: frozenset[str] | None = None
    forbidden_accounts: frozenset[str] = frozenset()
    username: str = "machine@sandbox.invalid"
    password: str = Field(default="sandbox-password", repr=False)
    login_field: Literal["username", "email"] = "username"
    token_life: float = Field(default=3600, gt=0)
    extensions: frozenset[str] = frozenset(
        "csv doc docx gif heic jpeg jpg pdf png tif tiff txt webp xls xlsx".split()  # noqa: SIM905 # easier to read
    )
    name_offender: bool = True
    types: frozenset[str] | None = None
    split_types: frozenset[str] = frozenset({"roofPhoto"})
    max_size: int | None = Field(default=None, ge=0)
    check_size: bool = True
    url_life: float = Field(default=3600, gt=0)
    view_life: float = Field(default=3600, gt=0)
    store: Dialect = "s3"
    first_event: Literal["queued", "awaitingUpload"] = "awaitingUpload"
    job_delay: float = Field(default=0.02, ge=0)
    variants: Variants = "after"
    variants_delay: float = Field(default=0.02, ge=0)
    heartbeat: float = Field(default=30, gt=0)
    heartbeat_form: HeartbeatForm = "comment"
    default_sort: Literal["ID_DESC", "ID_ASC"] = "ID_DESC"
    md5_encoding: Literal["hex", "base64"] = "hex"
    size_rounding: Literal["floor", "nearest"] = "floor"
    sensitive_types: frozenset[str] = frozenset()
