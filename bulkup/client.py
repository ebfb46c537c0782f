"""What vendors offer beside the upload: their documents listed, read, downloaded, archived, updated, linked."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

from bulkup import config, private
from bulkup.api import Api
from bulkup.carrier import carrier
from bulkup.clock import Clock
from bulkup.errors import ConfigError
from bulkup.providers import PROVIDERS
from bulkup.providers.base import (
    Archiver,
    Downloader,
    Getter,
    Json,
    Lister,
    Requirements,
    Updater,
    UrlRefresher,
)
from bulkup.providers.remote import RemoteDocument
from bulkup.track import Tracker
from bulkup.traffic import Traffic

T = TypeVar("T")


class Client:
    """The documents that a vendor holds. Made by `connect`.

    ``container`` is the vendor's, such as ``account:A-1``, ``loan:7``, ``customer:9``, ``entity:TOKEN`` or
    ``subject:ID``; its id alone where the vendor has one kind of container; empty where a document's id is enough. Each
    call raises `bulkup.StepError` with what the vendor said, if it is not a success, and `bulkup.ConfigError` if the
    vendor has no such call.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    async def list_documents(
        self, container: str, *, archived: bool = False, newest_first: bool = True
    ) -> list[RemoteDocument]:
        """The container's documents; ``archived`` answers only the archived ones."""
        lister = self._able(Lister, "list documents")
        return await lister.list_documents(self._api, container, archived=archived, newest_first=newest_first)

    async def get_document(self, container: str, document_id: str) -> RemoteDocument:
        """One document, with fresh URLs."""
        getter = self._able(Getter, "get a document")
        return await getter.get_document(self._api, self._known(container), document_id)

    async def refresh_urls(self, container: str, document_id: str) -> RemoteDocument:
        """One document, with all its URLs made anew."""
        refresher = self._able(UrlRefresher, "refresh URLs")
        return await refresher.refresh_urls(self._api, self._known(container), document_id)

    async def archive_document(self, container: str, document_id: str) -> None:
        """Archive one document."""
        archiver = self._able(Archiver, "archive a document")
        await archiver.archive_document(self._api, self._known(container), document_id)

    async def update_document(self, container: str, document_id: str, changes: Mapping[str, str | bool]) -> None:
        """Change properties of one document, such as ``{"description": "signed", "customer_visible": True}``.

        Raises:
            ConfigError: the vendor has no such property; the text names those it has.
        """
        updater = self._able(Updater, "update a document")
        known = updater.updatable
        for name, value in changes.items():
            if not isinstance(value, known.get(name, ())):
                kinds = {str: "text", bool: "true or false"}
                names = ", ".join(f"{each} ({kinds[kind]})" for each, kind in known.items())
                raise ConfigError(f"{self._name} can't set {name!r} to that; what can be set: {names}")
        await updater.update_document(self._api, self._known(container), document_id, changes)

    async def download_document(self, container: str, document_id: str) -> list[tuple[str, bytes]]:
        """Name and bytes of each file of one document."""
        downloader = self._able(Downloader, "download a document")
        return await downloader.download_document(self._api, self._known(container), document_id)

    async def list_required(self, workflow_id: str) -> list[Json]:
        """A workflow's required documents, as the vendor gives them."""
        return await self._able(Requirements, "list required documents").list_required(self._api, workflow_id)

    async def list_fulfillments(
        self, required_id: str, *, decision_status: str | None = None, upload_status: str | None = None
    ) -> list[Json]:
        """What fulfils a required document, as the vendor gives it."""
        able = self._able(Requirements, "list fulfillments")
        return await able.list_fulfillments(
            self._api, required_id, decision_status=decision_status, upload_status=upload_status
        )

    async def link_document(self, workflow_id: str, required_ids: Sequence[str], document_id: str) -> None:
        """Let one document fulfil several required ones."""
        able = self._able(Requirements, "link a document")
        await able.link_document(self._api, workflow_id, required_ids, document_id)

    @property
    def _name(self) -> str:
        return self._api.adapter.name

    def _able(self, capability: type[T], what: str) -> T:
        adapter = self._api.adapter
        if not isinstance(adapter, capability):
            raise ConfigError(f"{self._name} has no way to {what}")
        return adapter

    def _known(self, container: str) -> str:
        adapter = self._api.adapter
        if not container and isinstance(adapter, Getter) and adapter.contained:
            raise ConfigError(
                f"{self._name} must be told which container (--in) the document is in, such as account:A-1 or loan:7"
            )
        return container


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
        ConfigError: an unknown vendor, or a missing credential.
    """
    if provider not in PROVIDERS:
        raise ConfigError(f"unknown provider {provider!r}: known are {', '.join(PROVIDERS)}")
    settings = config.settings(**options)
    terms = settings.terms()
    env = os.environ if environment is None else environment
    adapter = config.adapters([provider], env, base_url)[provider]
    clock = Clock()
    with private.logs(private=terms.private_names):
        async with carrier(settings.tls()) as transport:
            api = Api(
                adapter,
                transport,
                limits=terms.limits,
                backoff=terms.backoff,
                clock=clock,
                tracker=Tracker(terms.following, terms.limits, clock),
                asking=anyio.Semaphore(terms.concurrency),
                traffic=Traffic(provider, terms, clock),
            )
            yield Client(api)
