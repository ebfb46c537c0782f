"""Which client carries the requests."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from urllib.request import getproxies

from bulkup.tls import Resuming
from bulkup.transport import Transport
from bulkup.wire import Wire


def carrier(tls: Resuming) -> AbstractAsyncContextManager[Transport]:
    """Our own client; aiohttp's if ``HTTPS_PROXY`` names a proxy, which ours can't use.

    Args:
        tls: whom connections trust.
    """
    proxy = getproxies().get("https")
    if proxy is None:
        return Wire(tls)
    from bulkup.http import Http  # noqa: PLC0415 - a quarter of a second that few need

    return Http(tls, proxy)
