"""A vendor's other operations beside the upload: list, get, download, refresh URLs, archive."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from bulkup import config
from bulkup.api import Api
from bulkup.clock import Clock
from bulkup.errors import ConfigError
from bulkup.http import Http
from bulkup.pace import Pacer
from bulkup.providers import PROVIDERS
from bulkup.providers.base import Library
from bulkup.providers.remote import RemoteDocument
from bulkup.track import Tracker


class Client:
    """The documents that a vendor holds. Made by `connect`.

    ``container`` is the vendor's: for LightReach the account's id. Each call raises `bulkup.StepError` with what the
    vendor said, if it is not a success.
    """

    def __init__(self, api: Api, library: Library) -> None:
        self._api = api
        self._library = library

    async def list_documents(
        self, container: str, *, archived: bool = False, newest_first: bool = True
    ) -> list[RemoteDocument]:
        """The container's documents; ``archived`` answers only the archived ones."""
        return await self._library.list_documents(self._api, container, archived=archived, newest_first=newest_first)

    async def get_document(self, container: str, document_id: str) -> RemoteDocument:
        """One document, with fresh URLs."""
        return await self._library.get_document(self._api, container, document_id)

    async def refresh_urls(self, container: str, document_id: str) -> RemoteDocument:
        """One document, with all its URLs made anew."""
        return await self._library.refresh_urls(self._api, container, document_id)

    async def archive_document(self, container: str, document_id: str) -> None:
        """Archive one document."""
        await self._library.archive_document(self._api, container, document_id)

    async def download_document(self, container: str, document_id: str) -> list[tuple[str, bytes]]:
        """Name and bytes of each file of one document."""
        return await self._library.download_document(self._api, container, document_id)


@asynccontextmanager
async def connect(
    provider: str,
    *,
    base_url: str | None = None,
    environment: Mapping[str, str] | None = None,
    **options: object,
) -> AsyncIterator[Client]:
    """Talk to one vendor about the documents it holds.

    Args:
        provider: such as ``lightreach``.
        base_url: replaces the vendor's host.
        environment: where credentials are looked up; by default the process's.
        options: the settings of `bulkup.config.Settings`, such as ``timeout=10``.

    Raises:
        ConfigError: an unknown vendor, or one without such operations, or a missing credential.
    """
    if provider not in PROVIDERS:
        raise ConfigError(f"unknown provider {provider!r}: known are {', '.join(PROVIDERS)}")
    terms = config.settings(**options).terms()
    env = os.environ if environment is None else environment
    adapter = config.adapters([provider], env, base_url)[provider]
    if not isinstance(adapter, Library):
        raise ConfigError(f"{provider} has no way to ask for its documents")
    clock = Clock()
    async with Http() as transport:
        api = Api(
            adapter,
            transport,
            limits=terms.limits,
            backoff=terms.backoff,
            clock=clock,
            tracker=Tracker(terms.following, terms.limits, clock),
            asking=anyio.Semaphore(terms.concurrency),
            pacer=Pacer(clock, terms.backoff.patience),
        )
        yield Client(api, adapter)
