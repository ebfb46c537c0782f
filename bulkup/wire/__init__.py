"""An HTTP/1.1 client made for uploads: asyncio's protocols and transports, answers parsed by httptools.

Why not a library: for a small file the client's own work is most of what it costs, and a library does much that an
upload must not have (redirects, cookies, re-sending, re-encoded URLs). `docs/performance.md` has the figures.

``head`` composes what goes out, ``connection`` is one connection and its exchanges, ``pool`` keeps those that can be
used again and opens new ones, ``client`` is the `bulkup.transport.Transport`.
"""

from bulkup.wire.client import Wire

__all__ = ["Wire"]
