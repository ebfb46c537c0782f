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
        created: the status of a describe call.
        put_answer: an object by the guide, or an array of one.
        max_size: the largest file, in bytes; None: no limit.
        overwrite: a second PUT to a document that has its bytes is accepted.
        never_uploaded: the PUT is answered with ``uploaded: false``.
    """

    entities: frozenset[str] | None = None
    agents: frozenset[str] | None = None
    bearer_life: float = Field(default=3600, gt=0)
    created: Literal[200, 201] = 200
    put_answer: Literal["object", "array"] = "object"
    max_size: int | None = Field(default=None, ge=0)
    overwrite: bool = True
    never_uploaded: bool = False
