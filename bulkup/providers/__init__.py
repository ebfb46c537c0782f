"""The vendors, in a dict you can read. How to add one: see README.md beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bulkup.model import Columns, Traits
from bulkup.providers.base import Adapter
from bulkup.providers.lightreach import LightReach, LightReachColumns


@dataclass(frozen=True, slots=True)
class Provider:
    """What the rest of bulkup knows of a vendor.

    Attributes:
        columns: its columns of the manifest.
        traits: facts about its flow.
        adapter: makes its adapter; takes the settings, and ``base_url`` if it is replaced.
        settings: names of what the environment may set, as ``BULKUP_<PROVIDER>_<NAME>``, besides ``base_url``.
        credentials: alternatives, each a set of settings that suffices.
    """

    columns: type[Columns]
    traits: Traits
    adapter: Callable[..., Adapter]
    settings: tuple[str, ...]
    credentials: tuple[tuple[str, ...], ...]


PROVIDERS: Mapping[str, Provider] = {
    "lightreach": Provider(
        columns=LightReachColumns,
        traits=LightReach.traits,
        adapter=LightReach,
        settings=("token", "username", "password", "login_field"),
        credentials=(("token",), ("username", "password")),
    ),
}

COLUMNS: Mapping[str, type[Columns]] = {name: provider.columns for name, provider in PROVIDERS.items()}

MAX_BUNDLE: Mapping[str, int] = {name: provider.traits.max_batch for name, provider in PROVIDERS.items()}
"""How many files one document may have: all of them go into one init."""
