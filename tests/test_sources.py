"""Documents and manifests at URLs: as true as those on disk, whatever the server does."""

from __future__ import annotations

import asyncio
import csv
import gc
import gzip
import hashlib
import io
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
import trustme
import zstandard

from bulkup import manifest
from bulkup.buckets import CHUNK, Buckets, Reach
from bulkup.content import SMALL
from bulkup.errors import ConfigError, ManifestError, StepError
from bulkup.model import Again, Failure
from bulkup.providers import COLUMNS
from bulkup.readable import Readable
from bulkup.rows import Complaint, Invalid, Row
from bulkup.sandbox import Sandbox
from bulkup.sources import Sources
from tests.bucket import Web, serving
from tests.conftest import Archive, stored
from tests.tls import served_by, written

THIS = Path(__file__).read_bytes()
BOTH = frozenset({"md5", "sha256"})
SIZES = [1, 1000, SMALL, SMALL + 1, CHUNK, 3 * CHUNK + 7]
QUICK = Reach(connect=2, stall=2, patience=0)

pytestmark = pytest.mark.usefixtures("no_credentials")


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's buckets."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Web]:
    """A web server with objects."""
    async with serving() as server:
        yield server


@pytest.fixture
def executor() -> Iterator[Executor]:
    """Two threads."""
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def sources() -> Sources:
    """Impatient ones."""
    return Sources(Buckets(QUICK))


async def look(
    sources: Sources, executor: Executor, *urls: str, allow_empty: bool = False, magic: bytes = b""
) -> list[Readable | Failure]:
    """What becomes of some URLs."""
    return await sources.inspect(urls, BOTH, executor, allow_empty=allow_empty, magic=magic)


async def source(sources: Sources, executor: Executor, url: str) -> Readable:
    """An object that can be sent."""
    (found,) = await look(sources, executor, url)
    assert not isinstance(found, Failure), found
    return found


async def read(found: Readable, executor: Executor) -> tuple[bytes, str]:
    """What was given out, and the code of the error or an empty text."""
    given = bytearray()
    try:
        async for chunk in found.chunks(executor):
            given += chunk
    except StepError as error:
        failure = error.failure
    else:
        return bytes(given), ""
    assert failure.again is (Again.FRESH if failure.code == "file_changed" else Again.NEVER)
    return bytes(given), failure.code


def hashes(data: bytes) -> tuple[str, str]:
    """MD5 and SHA-256."""
    return hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()  # noqa: S324


def fingerprint(sources: Sources, url: str) -> object:
    """Size and time of one object."""
    return sources.fingerprints([url], lambda: False)[0]


async def in_thread(executor: Executor, call: Callable[[], object]) -> object:
    """What a run does in a thread."""
    return await asyncio.get_running_loop().run_in_executor(executor, call)


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.loops
@pytest.mark.parametrize("size", SIZES)
async def test_content_and_hashes(server: Web, sources: Sources, executor: Executor, size: int) -> None:
    """The bytes come complete and in order, each time, with their hashes; a small object by one request."""
    data = os.urandom(size)
    server.put("/a b/%41+é#~.bin", data)
    found = await source(sources, executor, f"{server.url}/a%20b/%2541+é%23~.bin")
    assert (found.data is not None) == (size <= SMALL)
    assert len(server.asked) == 1
    assert (await read(found, executor), await read(found, executor)) == ((data, ""), (data, ""))
    assert (found.content.size, found.content.md5, found.content.sha256) == (size, *hashes(data))
    assert (len(server.asked) == 1) == (size <= SMALL)


async def test_a_large_object_costs_one_hold_of_its_bytes(server: Web, sources: Sources, executor: Executor) -> None:
    """A look takes the first bytes, a transfer the others once, and one byte shows that nothing changed."""
    size = 3 * CHUNK
    found = await source(sources, executor, server.put("/large", os.urandom(size)))
    await read(found, executor)
    rest = f"bytes={SMALL}-"
    assert [asked for _, _, asked in server.asked] == [f"bytes=0-{SMALL - 1}", rest, "bytes=0-0"]


async def test_hashes_are_known_with_the_last_chunk(server: Web, sources: Sources, executor: Executor) -> None:
    """A vendor's answer may come before the generator is asked again: by then the hashes are there."""
    data = os.urandom(2 * CHUNK + 5)
    found = await source(sources, executor, server.put("/large", data))
    given = 0
    async for chunk in found.chunks(executor):
        given += len(chunk)
        if given == len(data):
            assert (found.content.md5, found.content.sha256) == hashes(data)
            break
    found.close(executor)


async def test_only_the_hashes_asked_for(server: Web, sources: Sources, executor: Executor) -> None:
    """A hash that no proof needs is not computed."""
    for size in (10, SMALL + 1):
        url = server.put("/object", os.urandom(size))
        (found,) = await sources.inspect([url], frozenset({"md5"}), executor, allow_empty=False)
        assert not isinstance(found, Failure)
        await read(found, executor)
        assert found.content.md5 is not None
        assert found.content.sha256 is None


async def test_what_can_not_be_sent(server: Web, sources: Sources, executor: Executor) -> None:
    """Each kind of trouble has its code, in words without secrets, and one object does not spoil the others."""
    good, empty = server.put("/good", b"x"), server.put("/empty", b"")
    server.refusals = {"/denied": 403, "/who": 401, "/broken": 500}
    urls = [f"{server.url}/{name}" for name in ("missing", "denied", "who", "broken")]
    found = await look(sources, executor, good, *urls, empty, "http://127.0.0.1:1/x", good)
    codes = [each.code if isinstance(each, Failure) else "" for each in found]
    assert codes == ["", "file_missing", *["file_unreadable"] * 3, "file_empty", "file_unreadable", ""]
    assert [each.text for each in found if isinstance(each, Failure)] == [
        f"'{server.url}/missing' does not exist",
        f"'{server.url}/denied' can't be read: the store answers 403 Forbidden",
        f"'{server.url}/who' can't be read: the store answers 401 Unauthorized",
        f"'{server.url}/broken' can't be read: the store answers 500 Internal Server Error",
        f"'{server.url}/empty' is empty (--allow-empty sends it)",
        "'http://127.0.0.1:1/x' can't be read: HTTP error: error sending request",
    ]
    (allowed,) = await look(sources, executor, empty, allow_empty=True)
    assert not isinstance(allowed, Failure)
    assert (allowed.data, allowed.content.md5) == (b"", hashes(b"")[0])


@pytest.mark.parametrize("size", [10, SMALL + 1])
async def test_a_wrong_type(server: Web, sources: Sources, executor: Executor, size: int) -> None:
    """What a vendor would refuse by its first bytes is found out before the init."""
    urls = [server.put("/bad", b"x" * size), server.put("/good", b"\n%PDF-" + b"x" * size)]
    bad, good = await look(sources, executor, *urls, magic=b"%PDF-")
    assert isinstance(bad, Failure)
    assert bad.code == "wrong_type"
    assert not isinstance(good, Failure)


async def test_a_batch_is_asked_for_side_by_side(server: Web, sources: Sources, executor: Executor) -> None:
    """Small objects of a batch are read eight at a time, in their order; files of the disk may be among them."""
    urls = [server.put(f"/{number}", b"%d" % number) for number in range(25)]
    server.together = 8
    found = await look(sources, executor, *urls[:10], __file__, *urls[10:], urls[0])
    data = [each.data for each in found if not isinstance(each, Failure)]
    assert data == [
        *(b"%d" % n for n in range(10)),
        THIS if len(THIS) <= SMALL else None,
        *(b"%d" % n for n in range(10, 25)),
        b"0",
    ]
    assert found[0] is not found[-1]
    assert server.most_in_flight == 8


async def test_a_server_that_knows_little(server: Web, sources: Sources, executor: Executor) -> None:
    """Without ranges, HEAD and ETags: what does not break can be read all the same."""
    server.ranges = server.heads = server.tells_etag = False
    for size in (0, 10, 3 * CHUNK):
        data = os.urandom(size)
        url = server.put("/object", data)
        (found,) = await look(sources, executor, url, allow_empty=True)
        assert not isinstance(found, Failure)
        seen = await in_thread(executor, partial(fingerprint, sources, url))
        assert seen == (found.content.size, found.content.mtime_ns)
        assert await read(found, executor) == (data, "")


# --- reads that break, objects that change -------------------------------------------------------------------------


@pytest.mark.loops
@pytest.mark.parametrize("etag", [True, False], ids=["etag", "last-modified"])
async def test_a_read_that_breaks_goes_on_where_it_stopped(
    server: Web, sources: Sources, executor: Executor, *, etag: bool
) -> None:
    """Each break is followed by a request for the rest; no byte comes twice, and the hashes are of all of them."""
    server.tells_etag = etag
    data = os.urandom(8 * CHUNK)
    found = await source(sources, executor, server.put("/large", data))
    server.breaks["/large"] = [3 * CHUNK, 100, 2 * CHUNK]
    assert await read(found, executor) == (data, "")
    assert (found.content.md5, found.content.sha256) == hashes(data)
    starts = [int(asked[6:].partition("-")[0]) for _, _, asked in server.asked[1:-1]]
    assert len(starts) == 4
    assert starts[0] == SMALL
    assert starts == sorted(starts)
    assert not server.breaks["/large"]
    read_again = [start for start in starts[1:] if start < SMALL + 2 * CHUNK]
    assert not read_again, "what had come before the break was asked for again"


async def test_a_small_object_that_breaks_is_asked_for_again(server: Web, sources: Sources, executor: Executor) -> None:
    """Twice; the third time it is given up."""
    url = server.put("/small", b"x" * 1000)
    server.breaks["/small"] = [10, 20]
    assert (await source(sources, executor, url)).data == b"x" * 1000
    server.breaks["/small"] = [10, 20, 30]
    (found,) = await look(sources, executor, url)
    assert isinstance(found, Failure)
    assert found.code == "file_unreadable"


async def test_a_read_that_never_gets_on_is_given_up(server: Web, sources: Sources, executor: Executor) -> None:
    """Three breaks without a byte in between are the end."""
    data = os.urandom(3 * CHUNK)
    found = await source(sources, executor, server.put("/large", data))
    server.breaks["/large"] = [0] * 100
    given, code = await read(found, executor)
    assert (code, data.startswith(given)) == ("file_unreadable", True)
    assert len(server.asked) < 10


async def test_a_server_without_ranges_sends_all_again(server: Web, sources: Sources, executor: Executor) -> None:
    """What had come before is dropped."""
    server.ranges = False
    data = os.urandom(6 * CHUNK)
    found = await source(sources, executor, server.put("/large", data))
    server.breaks["/large"] = [3 * CHUNK + 11]
    assert await read(found, executor) == (data, "")


def grown(server: Web) -> None:
    """More at the end."""
    server.items["/large"].data += b"more"


def another(server: Web) -> None:
    """Other bytes, as many."""
    server.items["/large"].data = os.urandom(len(server.items["/large"].data))


def newer(server: Web) -> None:
    """Only the time."""
    server.items["/large"].modified += 1


def gone(server: Web) -> None:
    """No more."""
    del server.items["/large"]


CHANGES = [grown, another, newer]


@pytest.mark.parametrize("breaks", [True, False], ids=["breaking", "to-the-end"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_in_the_middle(
    server: Web, sources: Sources, executor: Executor, change: Callable[[Web], None], *, breaks: bool
) -> None:
    """Bytes of two versions never mix: what was given out is a beginning of the first, and not all of it."""
    data = os.urandom(8 * CHUNK)
    found = await source(sources, executor, server.put("/large", data))
    server.midway["/large"] = lambda: change(server)
    if breaks:
        server.breaks["/large"] = [5 * CHUNK]
    given, code = await read(found, executor)
    assert code == "file_changed"
    assert data.startswith(given)
    assert len(given) < len(data)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_before_the_transfer(
    server: Web, sources: Sources, executor: Executor, change: Callable[[Web], None]
) -> None:
    """Between the look and the first byte."""
    found = await source(sources, executor, server.put("/large", os.urandom(3 * CHUNK)))
    change(server)
    given, code = await read(found, executor)
    assert (code, len(given)) == ("file_changed", SMALL)


async def test_an_object_that_vanishes(server: Web, sources: Sources, executor: Executor) -> None:
    """It is missing then; the last bytes are not given out."""
    data = os.urandom(8 * CHUNK)
    found = await source(sources, executor, server.put("/large", data))
    server.midway["/large"] = lambda: gone(server)
    given, code = await read(found, executor)
    assert (code, len(given) < len(data)) == ("file_missing", True)


async def test_whoever_gives_up_leaves_nothing(server: Web, sources: Sources, executor: Executor) -> None:
    """After a first chunk the rest is not read, and nothing complains of it."""
    found = await source(sources, executor, server.put("/large", os.urandom(40 * CHUNK)))
    async for _ in found.chunks(executor):
        break
    found.close(executor)
    del found
    gc.collect()
    async with asyncio.timeout(5):
        while server.in_flight:  # noqa: ASYNC110 - the server notices by itself
            await asyncio.sleep(0.01)


# --- what is known of objects without reading them -----------------------------------------------------------------


async def test_fingerprints(server: Web, sources: Sources, executor: Executor) -> None:
    """Many objects are looked at side by side, in order; what is not there, or can't be looked at, is None."""
    urls = [server.put(f"/{number}", bytes(number)) for number in range(200)]
    server.refusals["/7"] = 403
    server.together = 64

    def fingerprints() -> Sequence[tuple[int, int] | None]:
        return sources.fingerprints([*urls, __file__, f"{server.url}/missing"], lambda: False)

    found = await in_thread(executor, fingerprints)
    assert isinstance(found, list)
    sizes = [None if each is None else each[0] for each in found]
    assert sizes == [None if n == 7 else n for n in range(200)] + [len(THIS), None]
    assert server.most_in_flight == 64


async def test_a_fingerprint_tells_versions_apart(server: Web, sources: Sources, executor: Executor) -> None:
    """Of equal size and from the same second: the ETag makes the difference. As seen by a look and by a read."""

    async def seen() -> object:
        return await in_thread(executor, partial(fingerprint, sources, url))

    url = server.put("/object", b"one")
    first = await seen()
    content = (await source(sources, executor, url)).content
    assert first == (content.size, content.mtime_ns)
    assert await seen() == first
    server.put("/object", b"two")
    assert await seen() != first
    assert content.mtime_ns // 10**9 == 1_700_000_000


async def test_weak_tags_are_the_same(server: Web, sources: Sources, executor: Executor) -> None:
    """A server that calls an ETag weak now and then has not changed the object."""
    data = os.urandom(2 * CHUNK)
    url = server.put("/large", data)
    server.items["/large"].etag = 'W/"1"'
    found = await source(sources, executor, url)
    server.items["/large"].etag = '"1"'
    assert await read(found, executor) == (data, "")


async def test_digests(server: Web, sources: Sources, executor: Executor) -> None:
    """Objects are hashed side by side; None for what can't be read, or once nobody waits for it."""
    data = os.urandom(3 * CHUNK)
    url, small = server.put("/large", data), server.put("/small", b"x")
    server.breaks["/large"] = [2 * CHUNK]
    wanted = [(url, "md5"), (url, "sha256"), (small, "md5"), (f"{server.url}/missing", "md5"), (__file__, "md5")]
    of_this = hashes(THIS)[0]
    found = await in_thread(executor, lambda: sources.digests(wanted, lambda: False))
    assert found == [*hashes(data), hashes(b"x")[0], None, of_this]
    assert await in_thread(executor, lambda: sources.digests(wanted[:3], lambda: True)) == [None] * 3


async def test_nothing_outside_of_a_root_is_asked_for(server: Web, executor: Executor, tmp_path: Path) -> None:
    """With --root an object is refused by name, and its server never hears of it."""
    url = server.put("/object", b"x")
    sources = Sources(Buckets(QUICK), str(tmp_path))
    (found,) = await look(sources, executor, url)
    assert isinstance(found, Failure)
    assert (found.code, found.text) == (
        "outside_root",
        f"'{url}' is not on this machine, and only files below --root '{tmp_path}' are sent",
    )
    assert await in_thread(executor, lambda: sources.fingerprints([url], lambda: False)) == [None]
    assert await in_thread(executor, lambda: sources.digests([(url, "md5")], lambda: False)) == [None]
    assert not server.asked


# --- the names that clients of buckets go by -----------------------------------------------------------------------


async def test_buckets_of_google_and_microsoft(
    server: Web, sources: Sources, executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What gs:// and az:// stand for, as their own clients ask for it; where, is told as those have it."""
    server.put("/archive/in/a b+c.pdf", b"google")
    server.put("/devstoreaccount1/archive/in/a b+c.pdf", b"microsoft")
    account = tmp_path / "account.json"
    account.write_text(json.dumps({
        "gcs_base_url": server.url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": "",
    }))  # fmt: skip
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", server.url)
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    found = await look(sources, executor, "gs://archive/in/a b+c.pdf", "az://archive/in/a b+c.pdf")
    assert [each if isinstance(each, Failure) else each.data for each in found] == [b"google", b"microsoft"]


async def test_plain_http_needs_a_word_of_the_user(
    server: Web, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket's server on another machine is asked by TLS, unless the user allows plain HTTP as obstore has it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    other = server.url.replace("127.0.0.1", "0.0.0.0")  # this machine too, but not by a name of loopback
    server.put("/archive/a", b"x")
    for endpoint, allowed, good in ((other, "", False), (other, "true", True), (server.url, "", True)):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ALLOW_HTTP", allowed)
        (found,) = await look(Sources(Buckets(QUICK)), executor, "s3://archive/a")
        assert isinstance(found, Failure) is not good, found
    assert len(server.asked) == 2


# --- whole runs -----------------------------------------------------------------------------------------------------


class Remote:
    """An archive whose documents and manifest are objects.

    Args:
        archive: has the ledger.
        server: has the objects.
        folder: where they are.
        url: the folder's URL.
    """

    def __init__(self, archive: Archive, server: Web, folder: str = "/archive", url: str | None = None) -> None:
        self.archive = archive
        self.server = server
        self.folder = folder
        self.url = url or server.url + folder

    def add(self, name: str, data: bytes, **columns: str) -> None:
        """An object, and its row."""
        self.server.put(f"{self.folder}/{name}", data)
        self.archive.row(name, **columns)

    def manifest(self, name: str = "manifest.csv") -> str:
        """The rows as an object; gives its URL."""
        names = dict.fromkeys(name for row in self.archive.rows for name in row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(names), restval="")
        writer.writeheader()
        writer.writerows(self.archive.rows)
        self.server.put(f"{self.folder}/{name}", text.getvalue().encode())
        return f"{self.url}/{name}"

    def data(self) -> Mapping[str, str]:
        """The SHA-256 of each object but the manifest."""
        return {
            path.rpartition("/")[2]: hashes(item.data)[1]
            for path, item in self.server.items.items()
            if not path.endswith("manifest.csv")
        }


@pytest.fixture
def remote(archive: Archive, server: Web) -> Remote:
    """An empty one."""
    return Remote(archive, server)


def held(sandbox: Sandbox) -> dict[str, str]:
    """Name and SHA-256 of all that LightReach has."""
    return {name: digest for *_, files in stored(sandbox) for name, digest in files}


async def test_a_run_from_a_bucket(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest in a bucket names what lies beside it; the second run looks at all and reads none."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", remote.server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for number, size in enumerate((1, 1000, SMALL, 2 * CHUNK + 3)):
        remote.add(f"in/{number} ä+%20.pdf", os.urandom(size))
    remote.url = "s3://archive"
    async with Sandbox() as sandbox:
        summary = await remote.archive.upload(sandbox, remote.manifest())
        assert (summary.completed, summary.exit_code) == (4, 0), remote.archive.ended()
        assert held(sandbox) == remote.data()
        assert not sandbox.breaches
        remote.server.asked.clear()
        summary = await remote.archive.upload(sandbox, remote.manifest())
        assert (summary.skipped, summary.exit_code) == (4, 0)
        methods = [method for method, path, _ in remote.server.asked if not path.endswith("manifest.csv")]
        assert methods == ["HEAD"] * 4
    assert [row["path"] for row in remote.archive.ledger_rows()] == [
        f"s3://archive/in/{number} ä+%20.pdf" for number in range(4)
    ]


@pytest.mark.parametrize("on_change", ["upload", "skip", "fail"])
async def test_what_changed_since(remote: Remote, on_change: str) -> None:
    """A changed object is sent again, skipped or refused; one of equal size is hashed before."""
    for name in ("same", "touched", "longer", "another", "deleted"):
        remote.add(f"{name}.pdf", name[:4].encode())
    items = remote.server.items
    async with Sandbox() as sandbox:
        await remote.archive.upload(sandbox, remote.manifest())
        items["/archive/touched.pdf"].modified += 1
        items["/archive/longer.pdf"].data = b"longer than before"
        items["/archive/another.pdf"].data = b"rehtona"[:4]
        before = [files for *_, files in stored(sandbox)]
        after = sorted([*before, *(((f"{name}.pdf", remote.data()[f"{name}.pdf"]),) for name in ("longer", "another"))])
        del items["/archive/deleted.pdf"]
        summary = await remote.archive.upload(sandbox, remote.manifest(), on_change=on_change)
        changed = {"upload": summary.completed, "skip": summary.skipped - 3, "fail": summary.failed}[on_change]
        assert (changed, summary.rows) == (2, 5)
        assert summary.skipped == {"upload": 3, "skip": 5, "fail": 3}[on_change]
        assert sorted(files for *_, files in stored(sandbox)) == (after if on_change == "upload" else sorted(before))


async def test_rows_that_fail(remote: Remote) -> None:
    """What is missing, denied or empty fails its own row, at preflight; the others of its batch go on."""
    for name in ("good", "denied", "empty", "gone"):
        remote.add(f"{name}.pdf", b"" if name == "empty" else b"x")
    remote.server.refusals["/archive/denied.pdf"] = 403
    del remote.server.items["/archive/gone.pdf"]
    async with Sandbox() as sandbox:
        summary = await remote.archive.upload(sandbox, remote.manifest())
        assert (summary.completed, summary.failed, summary.exit_code) == (1, 3, 1)
        ends = {end.filename[:-4]: (end.stage, end.error_code) for end in remote.archive.ended().values()}
        assert ends == {
            "good": (None, None),
            "denied": ("preflight", "file_unreadable"),
            "empty": ("preflight", "file_empty"),
            "gone": ("preflight", "file_missing"),
        }
        summary = await remote.archive.upload(sandbox, remote.manifest(), allow_empty=True)
        assert (summary.completed, summary.failed, summary.skipped) == (1, 2, 1)


@pytest.mark.parametrize("changes", [1, 2])
async def test_an_object_that_changes_while_it_is_sent(remote: Remote, changes: int) -> None:
    """Once: it is read anew. Twice: the row fails. Nothing that arrives is a mixture."""
    versions = [os.urandom(8 * CHUNK) for _ in range(3)]
    remote.add("large.pdf", versions[0])
    item = remote.server.items["/archive/large.pdf"]
    later = iter(versions[1:])

    def change() -> None:
        item.data = next(later)
        if changes == 2 and item.data is versions[1]:
            remote.server.midway["/archive/large.pdf"] = change

    remote.server.midway["/archive/large.pdf"] = change
    async with Sandbox() as sandbox:
        summary = await remote.archive.upload(sandbox, remote.manifest())
        (end,) = remote.archive.ended().values()
        if changes == 1:
            assert (summary.completed, held(sandbox)) == (1, {"large.pdf": hashes(versions[1])[1]})
        else:
            assert (summary.failed, end.stage, end.error_code) == (1, "transfer", "file_changed")
            assert not held(sandbox)


async def test_a_row_that_was_left_half_way(remote: Remote) -> None:
    """What an earlier run stored and never hashed is found at the vendor by its hash, read from its URL again."""
    remote.add("large.pdf", os.urandom(2 * CHUNK))
    async with Sandbox() as sandbox:
        await remote.archive.upload(sandbox, remote.manifest())
        remote.archive.sql(
            "UPDATE documents SET state = 'initiated', document_id = NULL, md5 = NULL, sha256 = NULL, job_id = 'gone'"
        )
        summary = await remote.archive.upload(sandbox, remote.manifest(), settle=0.1)
        assert summary.exit_code == 0, remote.archive.ended()
        assert len(sandbox.lightreach.documents) == 1
        (row,) = remote.archive.ledger_rows()
        assert (row["state"], row["attempts"]) == ("completed", 1)


async def test_an_archive_behind_tls(archive: Archive, tmp_path: Path) -> None:
    """Private authorities are trusted with --ca-file only."""
    authority = trustme.CA()
    async with serving(served_by(authority)) as server, Sandbox() as sandbox:
        archive.row(server.put("/a%b.pdf", b"x").replace("%", "%25"))
        summary = await archive.upload(sandbox)
        assert (summary.failed, [end.error_code for end in archive.ended().values()]) == (1, ["file_unreadable"])
        summary = await archive.upload(sandbox, ca_file=written(authority, tmp_path / "ca.pem"))
        assert (summary.completed, list(held(sandbox))) == (1, ["a%b.pdf"])


# --- manifests ------------------------------------------------------------------------------------------------------


def large_manifest(server: Web, name: str, pack: Callable[[bytes], bytes]) -> str:
    """A manifest of 100 rows that takes more than two chunks, however it is packed; gives its URL."""
    rows = [
        {"path": f"{n}.pdf", "account_id": "A-1", "type": "bill", "note": os.urandom(30_000).hex()} for n in range(100)
    ]
    data = pack(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    assert len(data) > 2 * CHUNK
    return server.put(f"/archive/{name}", data)


async def listed(url: str, executor: Executor) -> tuple[list[str], list[str]]:
    """The paths and the complaints of a manifest."""

    def rows() -> list[Row | Invalid | Complaint]:
        buckets = Buckets(QUICK)
        read = manifest.read(url, COLUMNS, provider="lightreach", ignore_extra=True, fetch=buckets.blocking)
        return list(read)

    found = await asyncio.get_running_loop().run_in_executor(executor, rows)
    paths = [each.path for each in found if isinstance(each, Row)]
    return paths, [each.text for each in found if isinstance(each, Complaint)]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
async def test_a_packed_manifest_that_breaks(server: Web, executor: Executor, suffix: str) -> None:
    """A manifest is read on from where a read broke, packed or not."""
    packs: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
    url = large_manifest(server, f"m.jsonl{suffix}", packs[suffix])
    server.breaks[f"/archive/m.jsonl{suffix}"] = [CHUNK + 1]
    paths, complaints = await listed(url, executor)
    assert paths == [f"{server.url}/archive/{number}.pdf" for number in range(100)]
    assert not complaints


@pytest.mark.parametrize("change", ["another", "gone"])
async def test_a_manifest_that_changes_in_the_middle(server: Web, executor: Executor, change: str) -> None:
    """It ends with a complaint, so nothing of it is taken."""
    url = large_manifest(server, "m.jsonl", bytes)
    item = server.items["/archive/m.jsonl"]

    def happen() -> None:
        if change == "gone":
            del server.items["/archive/m.jsonl"]
        item.data = item.data[::-1]

    server.midway["/archive/m.jsonl"] = happen
    _, (complaint,) = await listed(url, executor)
    assert {"another": "changed while it was read", "gone": "does not exist"}[change] in complaint
    paths, (complaint,) = await listed(f"{server.url}/missing.csv", executor)
    assert (paths, complaint) == ([], f"'{server.url}/missing.csv' does not exist")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/passwd", "is a path of this machine, which the manifest is not on: a relative path, or a URL"),
        ("../../x", "has an empty part, '.' or '..' in it, which no object store can be asked for"),
    ],
)
async def test_a_manifest_elsewhere_names_nothing_here(remote: Remote, path: str, text: str) -> None:
    """Neither a file of this machine, nor what is above its bucket."""
    remote.archive.row(path)
    async with Sandbox() as sandbox:
        with pytest.raises(ManifestError) as raised:
            await remote.archive.upload(sandbox, remote.manifest())
    assert [complaint.text for complaint in raised.value.complaints] == [text]


@pytest.mark.parametrize("secret", ["user:hush@", "?X-Amz-Signature=hush", "#hush"])
async def test_a_url_that_may_be_signed(remote: Remote, secret: str) -> None:
    """Of a manifest or of a row: it is refused, and what was secret in it is neither said nor kept."""

    def with_secret(url: str) -> str:
        return url.replace("//", f"//{secret}") if secret.endswith("@") else url + secret

    async with Sandbox() as sandbox:
        with pytest.raises(ManifestError) as raised:
            await remote.archive.upload(sandbox, with_secret(f"{remote.url}/manifest.csv"))
        assert "hush" not in str(raised.value)
        remote.archive.row(with_secret("https://files.example.com/a.pdf"))
        remote.archive.row(with_secret("ftp://files.example.com/a.pdf"))
        remote.add("good.pdf", b"x")
        with pytest.raises(ManifestError) as raised:
            await remote.archive.upload(sandbox, remote.manifest())
        assert len(raised.value.complaints) == 2
        assert "hush" not in " ".join(map(str, raised.value.complaints))
        summary = await remote.archive.upload(sandbox, remote.manifest(), skip_invalid=True)
        assert (summary.completed, summary.failed) == (1, 2)
    assert "hush" not in repr(remote.archive.events) + repr(remote.archive.ledger_rows())
    assert b"hush" not in b"".join(each.read_bytes() for each in remote.archive.folder.glob("bulkup.db*"))
    assert not [asked for _, _, asked in remote.server.asked if "hush" in asked]


async def test_without_the_extra(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line says what to install, before anything is sent or kept; local files need nothing."""
    monkeypatch.setattr("bulkup.buckets.find_spec", lambda _name: None)
    text = r"pip install 'bulkup\[cloud\]'$"
    async with Sandbox() as sandbox:
        with pytest.raises(ConfigError, match=text):
            await remote.archive.upload(sandbox, remote.manifest())
        remote.archive.row("s3://archive/a.pdf")
        with pytest.raises(ConfigError, match=text):
            await remote.archive.upload(sandbox)
        assert not remote.archive.ledger_rows()
        assert not sandbox.requests
        remote.archive.rows.clear()
        remote.archive.add("here.pdf")
        assert (await remote.archive.upload(sandbox)).completed == 1
