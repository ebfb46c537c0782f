"""Whether a vendor shows the bytes that it took."""

from __future__ import annotations

from collections.abc import Sequence

from bulkup.api import Api
from bulkup.providers.base import Finder, Found, Outgoing, Trace, able
from bulkup.tools import Tools


async def arrived(
    api: Api, outgoing: Sequence[Outgoing], ids: Sequence[str | None], tools: Tools, settle: float
) -> bool:
    """Whether the vendor's records have their bytes.

    Args:
        outgoing: what was sent.
        ids: the vendor's records of it.
        settle: how long the vendor is given to notice the bytes, in seconds.

    Raises:
        StepError: the vendor can't be asked.
    """
    if not able(api.adapter, Finder) or not any(ids):
        return False
    ends = tools.clock.monotonic() + settle
    traces = [Trace(document, "", id_) for document, id_ in zip(outgoing, ids, strict=True)]
    while True:
        found = await api.adapter.find(api, traces, frozenset())
        if all(isinstance(each, Found) and each.arrived for each in found):
            return True
        waiting = any(each is not None and not (isinstance(each, Found) and each.arrived) for each in found)
        if not waiting or tools.clock.monotonic() >= ends:
            return False
        await tools.clock.sleep(tools.terms.following.poll_every)
