"""The servers of the speed benchmark, each in a process of its own: nginx and SeaweedFS as stores, the cheap vendor."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from bulkup.sandbox.objectstore.objects import ObjectStore
from bulkup.sandbox.objectstore.seaweed import SeaweedFS
from bulkup.sandbox.objectstore.signing import Signer

_CONFIGURATION = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_buffer_size 64k;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  ssl_certificate {folder}/certificate.pem;
  ssl_certificate_key {folder}/key.pem;
  server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{tls} ssl;
    root {folder}/objects;
    location / {{ dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""
_STARTS_WITHIN = 20.0


@dataclass(frozen=True)
class Store:
    """nginx, taking PUTs into a folder in memory.

    Attributes:
        plain, tls: its URLs.
        objects: where it keeps what comes.
        authority: whose certificate it shows, a file.
    """

    plain: str
    tls: str
    objects: Path
    authority: Path

    def clear(self) -> None:
        """Forget what came."""
        shutil.rmtree(self.objects, ignore_errors=True)
        self.objects.mkdir(mode=0o777)
        self.objects.chmod(0o777)


@contextmanager
def nginx(folder: Path) -> Iterator[Store]:
    """Start Debian's nginx; raises FileNotFoundError if it is not here."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") or shutil.which("nginx")
    if program is None:
        raise FileNotFoundError("nginx")
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    authority, (plain, tls) = trustme.CA(), _free_ports(2)
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(str(folder / "certificate.pem"), append=True)
    store = Store(f"http://127.0.0.1:{plain}", f"https://localhost:{tls}", folder / "objects", folder / "authority.pem")
    store.clear()
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, plain=plain, tls=tls))
    process = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        _listens(plain)
        yield store
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Vendor:
    """The cheap LightReach stand-in.

    Attributes:
        url: its base URL.
    """

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """By which bulkup finds it."""
        return {"BULKUP_LIGHTREACH_BASE_URL": self.url, "BULKUP_LIGHTREACH_TOKEN": "benchmark-token"}

    def asked(self) -> dict[str, int]:
        """How often it was asked for what."""
        with urllib.request.urlopen(f"{self.url}/state") as answer:
            found: dict[str, int] = json.load(answer)["requests"]
        return found


@contextmanager
def vendor(
    documents: Path, store: Path, objects: str = "", *, latency: float = 0.0, job: float = 0.0, secret: str = ""
) -> Iterator[Vendor]:
    """Start it; see `benchmarks.vendor`."""
    command = [sys.executable, "-m", "benchmarks.vendor", "--documents", str(documents), "--store", str(store)]
    command += ["--objects", objects, "--latency", str(latency), "--job", str(job), "--secret", secret]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Vendor(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()


class _Deaf(SeaweedFS):
    """Nobody reads back what lands."""

    async def _watch(self) -> None:
        await asyncio.Event().wait()


@contextmanager
def seaweed(secret: str, folder: Path) -> Iterator[str]:
    """Start SeaweedFS with one bucket; gives the bucket's URL. Raises FileNotFoundError if it is not here."""
    command = [sys.executable, "-m", "benchmarks.servers", secret, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise FileNotFoundError("SeaweedFS (make bench installs it)")
            yield url
        finally:
            process.stdin.close()  # which it takes for the end
            process.wait(_STARTS_WITHIN)


async def _serve_seaweed(secret: str, folder: Path) -> None:
    async with _Deaf(Signer(secret), time.time, ObjectStore(folder), lambda _key: None) as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _listens(port: int) -> None:
    ends = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < ends:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


if __name__ == "__main__":
    asyncio.run(_serve_seaweed(sys.argv[1], Path(sys.argv[2])))
