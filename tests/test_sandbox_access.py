"""Login, bearer tokens and accounts of the LightReach stand-in."""

from __future__ import annotations

import pytest

from bulkup.sandbox import LightReachOptions
from tests.test_sandbox_support import Clock, sandboxed

OPTIONS = LightReachOptions()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "lr"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ""),
        ("GET", ""),
        ("GET", "/d"),
        ("DELETE", "/d"),
        ("POST", "/d/refresh-urls"),
        ("GET", "/d/files/0"),
        ("GET", "/jobs/j"),
        ("GET", "/upload-progress?jobId=j"),
    ],
)
async def test_api_needs_the_bearer(method: str, path: str, headers: dict[str, str]) -> None:
    """Each API call without a good bearer token is answered 401, and is a breach."""
    async with sandboxed() as client:
        status, error = await client.api(method, client.documents(path), headers=headers)
        assert status == 401
        assert "bearer token" in error["message"]
        assert len(client.sandbox.breaches) == 1


async def test_v1_needs_the_bearer() -> None:
    """The v1 upload without a bearer token is answered 401."""
    async with sandboxed() as client:
        url = f"{client.sandbox.url}/lightreach/api/accounts/A-1/documents"
        status, _ = await client.api("POST", url, headers={}, data={"type": "utilityBill"})
        assert status == 401


async def test_forbidden_account() -> None:
    """An account that the token can't access is answered 403, which is no breach."""
    async with sandboxed(options=LightReachOptions(forbidden_accounts=frozenset({"A-2"}))) as client:
        assert (await client.api("GET", client.documents(account="A-2")))[0] == 403
        assert (await client.api("GET", client.documents(account="A-1")))[0] == 200
        assert client.sandbox.breaches == []


async def test_allowed_accounts() -> None:
    """Where the accounts are listed, any other is answered 403."""
    async with sandboxed(options=LightReachOptions(allowed_accounts=frozenset({"A-2"}))) as client:
        assert (await client.api("GET", client.documents(account="A-2")))[0] == 200
        assert (await client.api("GET", client.documents(account="A-1")))[0] == 403


async def test_token_of_a_login_expires() -> None:
    """A token from a login is good for ``expires_in`` seconds, then it is answered 401."""
    clock = Clock()
    async with sandboxed(options=LightReachOptions(token_life=60), clock=clock) as client:
        url = f"{client.sandbox.url}/lightreach/api/auth/login"
        user = {"username": OPTIONS.username, "password": OPTIONS.password}
        status, answer = await client.api("POST", url, headers={}, json=user)
        assert (status, answer["expires_in"], answer["token_type"]) == (200, 60, "Bearer")
        bearer = {"Authorization": f"Bearer {answer['access_token']}"}
        clock.now += 59
        assert (await client.api("GET", client.documents(), headers=bearer))[0] == 200
        clock.now += 1
        assert (await client.api("GET", client.documents(), headers=bearer))[0] == 401
        assert (await client.api("GET", client.documents()))[0] == 200


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"username": OPTIONS.username, "password": "x"}, 401),
        ({"username": "x", "password": OPTIONS.password}, 401),
        ({"email": OPTIONS.username, "password": OPTIONS.password}, 400),
        (["username"], 400),
    ],
)
async def test_bad_login(body: object, expected: int) -> None:
    """A wrong user or password is answered 401, a login without them 400."""
    async with sandboxed() as client:
        url = f"{client.sandbox.url}/lightreach/api/auth/login"
        assert (await client.api("POST", url, headers={}, json=body))[0] == expected


async def test_login_by_email() -> None:
    """A switch makes the login want ``email`` instead of ``username``."""
    async with sandboxed(options=LightReachOptions(login_field="email")) as client:
        url = f"{client.sandbox.url}/lightreach/api/auth/login"
        user = {"email": OPTIONS.username, "password": OPTIONS.password}
        assert (await client.api("POST", url, headers={}, json=user))[0] == 200


async def test_token_is_made_from_the_seed() -> None:
    """Two sandboxes of one seed have the same fixed token."""
    async with sandboxed() as one, sandboxed() as other:
        assert one.sandbox.lightreach.token == other.sandbox.lightreach.token
