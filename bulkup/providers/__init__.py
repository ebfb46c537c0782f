"""The vendors, in a dict you can read. How to add one: see README.md beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, NonNegativeInt, PositiveFloat

from bulkup.model import Columns, Traits
from bulkup.providers.alloy import Alloy
from bulkup.providers.alloy_columns import AlloyColumns
from bulkup.providers.auco import Auco
from bulkup.providers.auco_columns import AucoColumns
from bulkup.providers.base import Adapter
from bulkup.providers.kompliant import Kompliant, checked_secret_key
from bulkup.providers.kompliant_columns import KompliantColumns
from bulkup.providers.lightreach import LightReach
from bulkup.providers.lightreach_columns import LightReachColumns
from bulkup.providers.loanpro import LoanPro
from bulkup.providers.loanpro_columns import LoanProColumns


@dataclass(frozen=True, slots=True)
class Provider:
    """What the rest of bulkup knows of a vendor.

    Attributes:
        columns: its columns of the manifest.
        traits: facts about its flow.
        adapter: makes its adapter; takes the settings, and ``base_url`` if it is replaced.
        settings: what the environment may set, as ``BULKUP_<PROVIDER>_<NAME>``, besides ``base_url``, and the type that
            it must have.
        credentials: alternatives, each a set of settings that suffices.
    """

    columns: type[Columns]
    traits: Traits
    adapter: Callable[..., Adapter]
    credentials: tuple[tuple[str, ...], ...]
    settings: Mapping[str, Any]


PROVIDERS: Mapping[str, Provider] = {
    "lightreach": Provider(
        columns=LightReachColumns,
        traits=LightReach.traits,
        adapter=LightReach,
        credentials=(("token",), ("username", "password")),
        settings={"token": str, "username": str, "password": str, "login_field": Literal["username", "email"]},
    ),
    "loanpro": Provider(
        columns=LoanProColumns,
        traits=LoanPro.traits,
        adapter=LoanPro,
        credentials=(("token", "instance_id"),),
        settings={"token": str, "instance_id": str, "update_path": str, "download_path": str},
    ),
    "alloy": Provider(
        columns=AlloyColumns,
        traits=Alloy.traits,
        adapter=Alloy,
        credentials=(("token", "secret"),),
        settings={
            "token": str,
            "secret": str,
            "auth": Literal["basic", "bearer"],
            "extensions": str,
            "max_size": NonNegativeInt,
        },
    ),
    "kompliant": Provider(
        columns=KompliantColumns,
        traits=Kompliant.traits,
        adapter=Kompliant,
        credentials=(("api_key", "secret_key", "auth_token"),),
        settings={
            "api_key": str,
            "secret_key": Annotated[str, AfterValidator(checked_secret_key)],
            "auth_token": str,
            "uploaded_statuses": str,
            "pending_statuses": str,
            "processing_statuses": str,
            "failed_statuses": str,
            "max_size": NonNegativeInt,
            "url_life": PositiveFloat,
            "extensions": str,
        },
    ),
    "auco": Provider(
        columns=AucoColumns,
        traits=Auco.traits,
        adapter=Auco,
        credentials=(("private_key", "public_key"),),
        settings={
            "private_key": str,
            "public_key": str,
            "url_life": PositiveFloat,
            "inline_limit": NonNegativeInt,
            "content_type": str,
        },
    ),
}

COLUMNS: Mapping[str, type[Columns]] = {name: provider.columns for name, provider in PROVIDERS.items()}

MAX_BUNDLE: Mapping[str, int] = {name: provider.traits.max_batch for name, provider in PROVIDERS.items()}
"""How many files one document may have: all of them go into one init."""

SCATTERED = frozenset(name for name, kind in COLUMNS.items() if not kind.contained)
"""The providers whose rows have no container that would hold them together; see `bulkup.sharding.cohort`."""
