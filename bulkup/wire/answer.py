"""The answers that come over one connection, one after the other, out of the bytes as they come. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import httptools

from bulkup.transport import ERROR, MOST_OF_AN_ERROR, Response

_MOST_OF_A_HEAD = 64 * 1024
_LONG_HEAD = "the answer's headers are too long"
_FINAL = 200
_WITHOUT_BODY = frozenset({204, 304})


@lru_cache(256)
def _lower(name: bytes) -> str:
    return name.lower().decode("latin-1")


class Headers(Mapping[str, str]):
    """The headers of an answer, decoded when somebody asks for one: nobody does of a store that took its bytes.

    Names are in lower case; of a repeated one it is the last.

    Args:
        fields: names and values as they came.
    """

    __slots__ = ("_decoded", "_fields")

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        self._fields = fields
        self._decoded: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._decoded is None:
            self._decoded = {_lower(name): value.decode("utf-8", "surrogateescape") for name, value in self._fields}
        return self._decoded

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class Answer:
    """The answer that is expected now.

    Attributes:
        status: once the head is complete; until then 0.
        waiting: bytes of its body that nobody took yet.
        began: something of it came.
        headed: its head is complete.
        complete: all of it came, or as much of a refusal as anybody reads.
        problem: why there will be nothing more of it, in words.
        keeps_alive: another may follow on this connection.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.expect(0)

    def expect(self, most: int | None) -> None:
        """A request was sent.

        Args:
            most: the longest body of a success, in bytes; None: it may have no end.
        """
        self._most = most
        self._length = self._named = self._unheaded = 0
        self._parts: list[bytes] = []
        self._fields: list[tuple[bytes, bytes]] = []
        self.status = self.waiting = 0
        self.began = self.headed = self.complete = self.keeps_alive = False
        self.problem: str | None = None

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        if self.complete:  # nobody asked for these
            self.keeps_alive = False
            return
        self.began = True
        if not self.headed:
            self._unheaded += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.keeps_alive = False
            if not self.complete:
                self.problem = self.problem or "the answer is not HTTP"
        if not self.headed and self._unheaded > _MOST_OF_A_HEAD:
            self.problem = _LONG_HEAD

    def end(self) -> None:
        """The connection was closed by the server: that ends an answer that says no length (RFC 9112, 6.3)."""
        if self.complete:
            return
        headers = self.headers
        framed = "content-length" in headers or "transfer-encoding" in headers
        self.keeps_alive = False
        if self.headed and not framed and self.status not in _WITHOUT_BODY:
            self.complete = True
        elif self.problem is None:
            self.problem = (
                "the connection broke in the middle of the answer"
                if self.began
                else "the server closed the connection without an answer"
            )

    @property
    def headers(self) -> Headers:
        """Those that came so far."""
        return Headers(self._fields)

    @property
    def endless(self) -> bool:
        """Whether it is a success that may have no end."""
        return self._most is None and self.headed and self.status < ERROR

    @property
    def over(self) -> bool:
        """Whether nothing more of it is to be waited for."""
        return self.complete or self.problem is not None

    @property
    def length(self) -> int:
        """Bytes of its body that came so far."""
        return self._length

    def take(self) -> bytes:
        """What came of its body since the last time."""
        if not self._parts:
            return b""
        taken = b"".join(self._parts)
        self._parts.clear()
        self.waiting = 0
        return taken

    def whole(self) -> Response:
        """The answer with its body."""
        return Response(self.status, Headers(self._fields), self.take() if self._parts else b"")

    # --- what httptools calls -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Another answer begins: after one that was complete, nobody asked for it."""
        if self.complete:
            self.keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or trailer."""
        if not self.headed:
            self._fields.append((name, value))
            return
        if not self._named:
            self._named = _length(self._fields)
        self._named += len(name) + len(value)
        if self._named > _MOST_OF_A_HEAD:
            self.problem = _LONG_HEAD

    def on_headers_complete(self) -> None:
        """The end of a head; an interim answer (RFC 9110, 15.2) is passed over."""
        if self.complete:
            return
        if self._unheaded > _MOST_OF_A_HEAD and _length(self._fields) > _MOST_OF_A_HEAD:
            self.problem = _LONG_HEAD
        status = self._parser.get_status_code()
        if status < _FINAL:
            self._fields.clear()
            return
        self.status, self.headed = status, True
        self.keeps_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        if self.complete or self.problem is not None:
            return
        self._parts.append(data)
        self.waiting += len(data)
        self._length += len(data)
        if self.status >= ERROR:
            if self._length >= MOST_OF_AN_ERROR:
                self.complete, self.keeps_alive = True, False
        elif self._most is not None and self._length > self._most:
            self.problem = f"the answer is longer than {self._most} bytes"

    def on_message_complete(self) -> None:
        """The end of an answer."""
        if self.headed and self.problem is None:
            self.complete = True


def _length(fields: Sequence[tuple[bytes, bytes]]) -> int:
    """Of names and values, in bytes."""
    return sum(len(name) + len(value) for name, value in fields)
