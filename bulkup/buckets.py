"""Objects in buckets and on web servers: the one place that knows obstore.

What is read of an object is bound to one version of it. Each answer says which version its bytes are of, and a read
that breaks goes on from where it stopped only if that is still the same one. So bytes of two versions never mix.

obstore's own futures run in its own threads, and are done in whatever event loop awaits them. It finds credentials by
itself: in the environment, or where the machine or container it runs on has them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from bulkup.errors import ConfigError, StepError
from bulkup.model import Failure
from bulkup.opening import changed
from bulkup.secret import is_plain_loopback, scrub
from bulkup.urls import is_http, split

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions, GetResult, ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

MISSING_EXTRA = "objects in buckets and on web servers are read with the extra cloud: pip install 'bulkup[cloud]'"

CHUNK = 256 * 1024
"""Bytes of a large object that are asked for at a time."""

_BREAKS = 3
"""Reads that break one after the other without a byte in between, after which an object is given up."""

_RETRIES = 1000
"""More than there is time for: `Reach.patience` ends them."""

_LONGEST = timedelta(days=7)
"""For one answer with all of its body, of which `Reach.stall` says enough."""

_SECOND = 1_000_000_000
_NO_RANGE = "416"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_BY_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}


@dataclass(frozen=True, slots=True)
class Reach:
    """How objects are asked for.

    Attributes:
        connect: seconds until a connection stands.
        stall: seconds without a byte moving.
        patience: seconds one question may be repeated after a server's trouble.
        authorities: certificates (PEM) to trust besides the system's.
    """

    connect: float = 10.0
    stall: float = 30.0
    patience: float = 60.0
    authorities: bytes | None = field(default=None, repr=False)


class Version(NamedTuple):
    """By which an object is known to be the same, unchanged.

    Attributes:
        size: bytes.
        modified: when it was last modified, in seconds since 1970, as stores tell it; 0: not told.
        tag: its ETag.
        id: its version, where the bucket keeps versions.
    """

    size: int
    modified: int
    tag: str | None
    id: str | None

    @property
    def mtime_ns(self) -> int:
        """Its modification time in ns, of which all below a second stands for ETag and version.

        Stores tell whole seconds. So an object that was replaced within one, by another as long, has another time too.
        """
        told = hashlib.sha256(repr((self.tag, self.id)).encode()).digest()
        return self.modified * _SECOND + int.from_bytes(told[:8], "big") % _SECOND


def _version(meta: ObjectMeta) -> Version:
    tag = meta["e_tag"]
    # a server may call the same tag weak in one answer and strong in another
    return Version(
        meta["size"],
        round(meta["last_modified"].timestamp()),
        None if tag is None else tag.removeprefix("W/"),
        meta["version"],
    )


class Buckets:
    """Reads objects by their URLs; see `bulkup.urls.url_problem` for which. Keeps a client for each bucket or server.

    Args:
        reach: deadlines, and whom to trust.
    """

    def __init__(self, reach: Reach | None = None) -> None:
        self._reach = reach or Reach()
        self._stores: dict[str, ObjectStore] = {}
        self._making = Lock()

    def __reduce__(self) -> tuple[type[Buckets], tuple[Reach]]:
        return Buckets, (self._reach,)

    @staticmethod
    def require() -> None:
        """Raises `ConfigError` if the library is not installed."""
        if find_spec("obstore") is None:
            raise ConfigError(MISSING_EXTRA)

    def prepare(self, urls: Iterable[str]) -> None:
        """Make the clients for some URLs; blocks, since certificates are read from the disk. Raises `StepError`."""
        for url in urls:
            self._at(url)

    def prepared(self, url: str) -> bool:
        """Whether its client is there."""
        return split(url)[0] in self._stores

    async def measure(self, url: str) -> Version:
        """Look at an object without reading it; raises `StepError`."""
        store, key = self._at(url)
        try:
            with _explaining(url):
                return _version(await store.head_async(key))
        except StepError:
            if not is_http(url):
                raise
        return (await self.beginning(url, 1))[0]  # a web server may answer GET only; a 405 looks like a 404 here

    async def beginning(self, url: str, size: int) -> tuple[Version, bytes]:
        """An object's version, and so many of its bytes, fewer if it has no more; raises `StepError`."""
        for attempt in range(1, _BREAKS + 1):
            answer = await self._get(url, {"range": (0, size)})
            begin, end = answer.range
            try:
                with _explaining(url):
                    if end - begin <= size:
                        return _version(answer.meta), bytes(await answer.bytes_async())
                    first = await anext(answer.stream(min_chunk_size=size))  # its server knows no ranges
                    return _version(answer.meta), first[:size]
            except StepError:
                if attempt == _BREAKS:
                    raise
        raise AssertionError

    async def unchanged(self, url: str, version: Version) -> None:
        """See that an object is still of a version; raises `StepError`."""
        now, _ = await self.beginning(url, 1)  # by GET, which is sure to work where the object was read
        if now != version:
            raise changed(url)

    async def stream(self, url: str, version: Version, start: int) -> tuple[BytesStream, int]:
        """Ask for a version's bytes from an offset on, and say how many come before that; raises `StepError`."""
        options: GetOptions = {"range": {"offset": start}} if start else {}
        if version.tag is not None and not is_http(url):  # a web server's tag may be weak, and match nothing
            options["if_match"] = version.tag
        answer = await self._get(url, options)
        if _version(answer.meta) != version:
            raise changed(url)
        return answer.stream(min_chunk_size=CHUNK), start - answer.range[0]

    async def whole(self, url: str) -> AsyncGenerator[bytes, None]:
        """All bytes of an object, of one version; raises `StepError`, before the last ones are given out."""
        version, chunk = await self.beginning(url, CHUNK)
        reading = Reading(self, url, version, len(chunk))
        try:
            while reading.left:
                yield chunk
                chunk = await reading.next()
            yield chunk
        finally:
            reading.close()

    def blocking(self, url: str) -> Iterator[bytes]:
        """As `whole`, for a thread without an event loop."""
        with asyncio.Runner() as runner:
            chunks = self.whole(url)

            async def following() -> bytes | None:
                return await anext(chunks, None)

            try:
                while (chunk := runner.run(following())) is not None:
                    yield chunk
            finally:
                runner.run(chunks.aclose())

    async def _get(self, url: str, options: GetOptions) -> GetResult:
        """Ask for an object; raises `StepError`."""
        store, key = self._at(url)
        with _explaining(url):
            try:
                return await store.get_async(key, options=options)
            except Exception as error:
                if "range" not in options or not _without_ranges(error):
                    raise
            return await store.get_async(key)  # all of it

    def _at(self, url: str) -> tuple[ObjectStore, str]:
        """The client for a URL, and what the object is called there; raises `StepError`."""
        root, key = split(url)
        store = self._stores.get(root)
        if store is None:
            with self._making:
                store = self._stores.setdefault(root, self._stores.get(root) or self._made(url, root))
        return store, key

    def _made(self, url: str, root: str) -> ObjectStore:
        try:
            from obstore.store import HTTPStore, from_url  # noqa: PLC0415 - an extra, and it takes long to load
        except ImportError:
            raise StepError(Failure("file_unreadable", f"{url!r} can't be read: {MISSING_EXTRA}")) from None
        reach = self._reach
        options: ClientConfig = {
            "connect_timeout": timedelta(seconds=reach.connect),
            "read_timeout": timedelta(seconds=reach.stall),
            "timeout": _LONGEST,
            "allow_http": _without_tls(root),
        }
        if reach.authorities is not None:
            options["root_certificate"] = reach.authorities
        retry: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=reach.patience)}
        make = HTTPStore if is_http(url) else from_url
        with _explaining(url):
            return make(root, client_options=options, retry_config=retry)


class Reading:
    """The bytes of a version of an object from an offset on; what breaks goes on by a range from where it stopped.

    Args:
        buckets: asks for them.
        url: the object's.
        version: whose bytes they have to be.
        start: the offset.

    Attributes:
        left: bytes that were not given out yet.
    """

    def __init__(self, buckets: Buckets, url: str, version: Version, start: int) -> None:
        self.left = version.size - start
        self._buckets = buckets
        self._url = url
        self._version = version
        self._stream: BytesStream | None = None
        self._surplus = 0
        self._ahead: asyncio.Future[bytes] | None = None

    async def next(self) -> bytes:
        """The next bytes, `CHUNK` or somewhat more, while what follows them is on its way already.

        Raises:
            StepError: ``file_changed``, before the last bytes are given out; or it can't be read any further.
        """
        chunk = await self._next()
        self.left -= len(chunk)
        if self.left == 0:
            await self._buckets.unchanged(self._url, self._version)
        return chunk

    async def _next(self) -> bytes:
        breaks = 0
        while True:
            if self._stream is None:
                start = self._version.size - self.left
                self._stream, self._surplus = await self._buckets.stream(self._url, self._version, start)
            coming, self._ahead = self._ahead or _begun(self._stream), None
            try:
                with _explaining(self._url):
                    chunk = await coming
            except StepError:
                breaks += 1
                if breaks == _BREAKS:
                    raise
                self._stream = None
                continue
            chunk, self._surplus = chunk[self._surplus :], max(0, self._surplus - len(chunk))
            if len(chunk) < self.left:
                self._ahead = _begun(self._stream)
            if chunk:
                return chunk

    def close(self) -> None:
        """Give up what is on its way."""
        if self._ahead is not None:
            self._ahead.cancel()
        self._stream = self._ahead = None


def _begun(stream: BytesStream) -> asyncio.Future[bytes]:
    """Begin to read the next chunk; obstore does it in its own threads, whether or not anybody waits for it."""
    future: asyncio.Future[bytes] = stream.__anext__()  # type: ignore[assignment]  # it is a future already
    future.add_done_callback(_retrieve)
    return future


def _retrieve(read: asyncio.Future[bytes]) -> None:
    """A read that was given up takes no interest in what it found."""
    if not read.cancelled():
        read.exception()


def _without_tls(root: str) -> bool:
    """Whether a store may be asked by plain HTTP: on this machine, or if the user says so as obstore has it."""
    scheme = root.partition("://")[0]
    if is_http(root):
        return is_plain_loopback(root)
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "") if scheme == "s3" else ""
    return is_plain_loopback(endpoint) or os.environ.get(_BY_HTTP[scheme], "").lower() in {"1", "true"}


_STATUS = re.compile(r"non-2xx status code: ((\d{3})[A-Za-z -]*)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_METADATA = re.compile(r"performing \w+ https?://(?:169\.254\.\d+\.\d+|metadata\.google\.internal|\[fd00:ec2::254\])")
_NO_CREDENTIALS = "no credentials are in the environment, and this machine gives none"
_LONGEST_REASON = 200


def _named(error: Exception, name: str) -> bool:
    """Whether it is an exception of obstore's, which is loaded only where it is needed."""
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _without_ranges(error: Exception) -> bool:
    """Whether it can only be had as a whole: its server knows no ranges, or it is empty."""
    status = _STATUS.search(str(error))
    return _named(error, "NotSupportedError") or (status is not None and status[2] == _NO_RANGE)


@contextmanager
def _explaining(url: str) -> Iterator[None]:
    """Turns what obstore raises into a `StepError`: its own exceptions, and several of Python's."""
    try:
        yield
    except StepError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, an object could not be read
        raise _explained(url, error) from None


def _explained(url: str, error: Exception) -> StepError:
    """What an object store says, in words that hold no secret: it may repeat keys and signatures."""
    text = str(error)
    code = _CODE.search(text)
    if isinstance(error, FileNotFoundError):
        no_bucket = code is not None and code[1] == "NoSuchBucket"
        return StepError(Failure("file_missing", f"{url!r} does not exist{': there is no such bucket' * no_bucket}"))
    if _named(error, "PreconditionError"):
        return changed(url)
    status = _STATUS.search(text)
    if _METADATA.search(text):
        reason = _NO_CREDENTIALS
    elif status is not None:
        reason = f"the store answers {status[1].strip()}{'' if code is None else f', {code[1]}'}"
    else:
        line = text.partition("\n")[0]
        reason = scrub(line.partition(" - ")[2] or line, limit=_LONGEST_REASON)
    return StepError(Failure("file_unreadable", f"{url!r} can't be read: {reason}"))
