"""Server-Sent Events, decoded from bytes as they come (WHATWG HTML, 9.2.6). Pure: feed it, take what is complete."""

from __future__ import annotations

from dataclasses import dataclass

_LINE_ENDS = (b"\r", b"\n")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event: its name (``message`` if the server gave none) and its data."""

    event: str
    data: str


class OversizedEventError(ValueError):
    """The server sends an event without end."""


class SseDecoder:
    """Splits on CR, LF and CRLF only (a str would also split on U+2028), whatever the chunks look like.

    Args:
        limit: the longest event, in bytes; more raises `OversizedEventError`.
    """

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._held = 0
        self._pending = 0
        self._skip_lf = False
        self._fresh = True
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that ``chunk`` completes. A stream's end dispatches nothing: an event needs its blank line."""
        if self._skip_lf and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._skip_lf = False
        if not chunk:
            return []
        events: list[ServerSentEvent] = []
        *lines, last = chunk.splitlines(keepends=True)
        # the CR may be the first half of a CRLF whose LF comes with the next chunk
        self._skip_lf = last.endswith(b"\r")
        if last.endswith(_LINE_ENDS):
            lines.append(last)
            last = b""
        for line in lines:
            event = self._line(self._whole(line.rstrip(b"\r\n")))
            if event is not None:
                events.append(event)
        if last:
            self._parts.append(last)
            self._pending += len(last)
            self._hold(len(last))
        return events

    def _whole(self, end: bytes) -> bytes:
        """A line whose end came, with what came of it before."""
        if not self._parts:
            return end
        line = b"".join((*self._parts, end))
        self._parts.clear()
        self._held -= self._pending
        self._pending = 0
        return line

    def _hold(self, length: int) -> None:
        self._held += length
        if self._held > self._limit:
            msg = f"an event is longer than {self._limit} bytes"
            raise OversizedEventError(msg)

    def _line(self, line: bytes) -> ServerSentEvent | None:
        if self._fresh:
            self._fresh = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        if line.startswith(b":"):
            return None
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if name == b"data":
            self._data.append(text)
            self._hold(len(line))
        elif name == b"event":
            self._event = text
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event, data = self._event, self._data
        self._event, self._data, self._held = "", [], 0
        return ServerSentEvent(event or "message", "\n".join(data)) if data else None
