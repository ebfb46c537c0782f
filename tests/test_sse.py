"""Server-Sent Events, whatever way the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.sse import OversizedEventError, ServerSentEvent, SseDecoder

COMMON = ("data: x", "data:x", "data", "data: ", "data:  two", "event: ping", "event", ": heart", ":", "id: 7", "", "")
RARE = ("retry: 1", "datax: 1", "nonsense", "data: a\u2028b\u0085c\x0b", "data: é\U0001f600", "\ufeffdata: y", "{}")
LINE = st.sampled_from(COMMON + RARE)
END = st.sampled_from(["\n", "\r", "\r\n"])
STREAM = st.lists(st.tuples(LINE, END)).map(lambda lines: "".join(line + end for line, end in lines).encode())


def decode(stream: bytes, cuts: list[int] | None = None, limit: int = 1 << 20) -> list[ServerSentEvent]:
    """The events of a stream that is cut at these places."""
    decoder = SseDecoder(limit)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts or [])})
    return [
        event for a, b in zip(places, [*places[1:], len(stream)], strict=True) for event in decoder.feed(stream[a:b])
    ]


def data(stream: bytes) -> list[str]:
    """Only the data of a stream's events."""
    return [event.data for event in decode(stream)]


def reference(stream: bytes) -> list[ServerSentEvent]:
    """The standard's algorithm (WHATWG HTML, 9.2.6), on a whole stream."""
    text = stream.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events = []
    name = ""
    lines: list[str] = []
    for line in text.split("\n")[:-1]:
        if not line:
            if lines:
                events.append(ServerSentEvent(name or "message", "\n".join(lines)))
            name, lines = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            lines.append(value)
        elif field == "event":
            name = value
    return events


@given(stream=STREAM | st.binary(max_size=60), cuts=st.lists(st.integers(0, 2000)))
@example(stream=b"data: a\r\n\r\ndata: b\r\n\r\n", cuts=[8, 9, 10, 11])
@example(stream=b"\xef\xbb\xbfdata: a\n\n", cuts=[1, 2])
def test_any_cut_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    """Chunk borders don't matter, not even inside a CRLF, a BOM or a character; nor does one byte at a time."""
    whole = decode(stream)
    assert decode(stream, cuts) == whole
    assert decode(stream, list(range(len(stream)))) == whole


@given(STREAM)
def test_as_the_standard_says(stream: bytes) -> None:
    """The decoder agrees with the standard's algorithm."""
    assert decode(stream) == reference(stream)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_line_ends(end: str) -> None:
    """LF, CR and CRLF end lines."""
    assert data(f"data: a{end}data: b{end}{end}data: c{end}{end}".encode()) == ["a\nb", "c"]


def test_mixed_line_ends() -> None:
    """LF CR is two line ends, CR LF one."""
    assert data(b"data: a\n\rdata: b\r\n\r\n") == ["a", "b"]


def test_event_comes_at_its_blank_line() -> None:
    """An event is given out as soon as the CR of its blank line is there, without waiting for an LF."""
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [ServerSentEvent("message", "a")]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: b\n\n") == [ServerSentEvent("message", "b")]


def test_other_separators_are_data() -> None:
    """U+2028, NEL and their like, at which str.splitlines would split, stay inside the data."""
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf"
    assert data(f"data: {text}\n\n".encode()) == [text]


def test_bom_only_at_the_start() -> None:
    """A BOM at the start is dropped; a later one is part of a field's name, which nobody knows."""
    assert data(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n") == ["a"]


def test_fields() -> None:
    """One blank after the colon belongs to the syntax; a field without colon is empty; comments say nothing."""
    stream = b": hello\ndata:  a\ndata\ndata:b\nid: 3\nretry: 9\nevent: ping\n\nevent: gone\n\ndata: c\n\n"
    assert decode(stream) == [ServerSentEvent("ping", " a\n\nb"), ServerSentEvent("message", "c")]


def test_end_of_stream_dispatches_nothing() -> None:
    """An event without its blank line is incomplete."""
    assert decode(b"data: a\n\ndata: b\n") == [ServerSentEvent("message", "a")]


def test_bytes_that_are_no_utf8() -> None:
    """They are replaced, not raised."""
    assert data(b"data: \xff\n\n") == ["\ufffd"]


@pytest.mark.parametrize(
    "chunk", [b"data: " + b"x" * 93, b"data: 34567890\n" * 10, b"data: 3456789\n", b"x", b": 345678"]
)
def test_huge_event_is_refused(chunk: bytes) -> None:
    """An event or a line without end is refused, also if every chunk ends with its line."""
    decoder = SseDecoder(limit=1000)
    with pytest.raises(OversizedEventError, match="1000 bytes"):
        _ = [decoder.feed(chunk) for _ in range(2000)]


def test_huge_event_in_one_chunk_is_refused() -> None:
    """The limit holds whatever the cut."""
    with pytest.raises(OversizedEventError):
        SseDecoder(limit=1000).feed(b"data: 123456789\n" * 100 + b"\n")


def test_long_stream_of_small_events() -> None:
    """The limit is one event's, not the stream's: comments and past events don't count."""
    decoder = SseDecoder(limit=100)
    events = [event for _ in range(1000) for event in decoder.feed(b": heartbeat\n\ndata: " + b"x" * 50 + b"\n\n")]
    assert len(events) == 1000
    for _ in range(1000):
        assert decoder.feed(b": heartbeat\n") == []


def test_large_event_in_small_pieces() -> None:
    """An event of some MiB in many pieces is put together, in time that grows with its length only."""
    decoder = SseDecoder()
    events: list[ServerSentEvent] = []
    for _ in range(200_000):
        events += decoder.feed(b"xxxxxxxxxx" if events or _ else b"data: xxxx")
    events += decoder.feed(b"\n\n")
    assert [len(event.data) for event in events] == [200_000 * 10 - 6]
