"""Settings of a run and credentials of the vendors: flags over environment over defaults.

Credentials come from the environment (``BULKUP_LIGHTREACH_TOKEN``) or from a file that it names
(``BULKUP_LIGHTREACH_TOKEN_FILE``), never from the command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bulkup.buckets import Buckets, Reach
from bulkup.budget import Budget, Failures, duration, failures, size
from bulkup.errors import ConfigError
from bulkup.location import Location, located
from bulkup.plan import OnChange
from bulkup.providers import PROVIDERS
from bulkup.providers.base import Adapter
from bulkup.schedule import Backoff
from bulkup.secret import is_plain_loopback
from bulkup.sharding import Shard, shard_named
from bulkup.terms import Terms
from bulkup.tls import Resuming, trusting
from bulkup.transport import Limits


class Engine(StrEnum):
    """What carries out a run."""

    PROCESSES = "processes"
    """This process, or several of this machine."""
    DASK = "dask"


def _given(parse: Callable[[str], object]) -> Callable[[object], object]:
    """Read a setting's text; what is no text stays as it is."""
    return lambda value: parse(value) if isinstance(value, str) else value


def _processes(value: object) -> object:
    """How many cores this process may use, where that is asked for."""
    return len(os.sched_getaffinity(0)) if value == "auto" else value


def _authorities(value: Path) -> Path:
    """See that it is a file of certificates."""
    trusting(value)
    return value


def _folder(value: Path) -> Path:
    """Where a folder really is."""
    try:
        real = value.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"can't use {str(value)!r}: {getattr(error, 'strerror', None) or 'links in a circle'}"
        ) from None
    if not real.is_dir():
        raise ValueError(f"{str(value)!r} is no folder")
    return real


class Settings(BaseSettings):
    """What the command line and ``BULKUP_...`` set; seconds where not said otherwise. See `bulkup.terms.Terms`."""

    model_config = SettingsConfigDict(env_prefix="BULKUP_", extra="forbid", frozen=True)

    ledger: Annotated[Location, NoDecode, BeforeValidator(located)] = Location(Path("bulkup.db"))
    concurrency: int = Field(16, ge=1, le=1000)
    adaptive: bool = True
    rate: float | None = Field(None, gt=0)
    timeout: float = Field(30.0, gt=0)
    connect_timeout: float = Field(10.0, gt=0)
    stall_timeout: float = Field(30.0, gt=0)
    retry_for: float = Field(60.0, ge=0)
    job_timeout: float = Field(600.0, gt=0)
    settle: float = Field(10.0, ge=0)
    drain: float = Field(30.0, ge=0)
    processes: Annotated[Annotated[int, Field(ge=1, le=1024)] | None, BeforeValidator(_processes)] = None
    engine: Engine = Engine.PROCESSES
    scheduler: str | None = None
    lease: float = Field(30.0, ge=1)
    on_change: OnChange = OnChange.UPLOAD
    allow_empty: bool = False
    verify: bool | None = None
    memory: Annotated[int, BeforeValidator(_given(size)), Field(gt=0)] = 256 * 1024 * 1024
    max_failures: Annotated[Failures | None, BeforeValidator(_given(failures))] = None
    max_duration: Annotated[float | None, BeforeValidator(_given(duration))] = None
    max_requests: int | None = Field(None, gt=0)
    shard: Annotated[Shard | None, NoDecode, BeforeValidator(_given(shard_named))] = None
    root: Annotated[Path, AfterValidator(_folder)] | None = None
    private_names: bool = False
    ca_file: Annotated[Path, AfterValidator(_authorities)] | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.engine is Engine.DASK and self.scheduler is None:
            raise ValueError("--engine dask needs --scheduler ADDRESS, such as tcp://10.0.0.1:8786")
        if self.engine is Engine.DASK and self.ledger.url is None:
            raise ValueError(
                "--engine dask needs a ledger that all machines can reach: --ledger postgresql://HOST/DATABASE, "
                f"not the file {str(self.ledger)!r}"
            )
        if self.engine is not Engine.DASK and self.scheduler is not None:
            raise ValueError("--scheduler is for --engine dask")
        return self

    def tls(self) -> Resuming:
        """Whom connections trust."""
        return trusting(self.ca_file)

    def buckets(self) -> Buckets:
        """Reads what is not on this machine; raises `ConfigError`."""
        try:
            authorities = None if self.ca_file is None else self.ca_file.read_bytes()
        except OSError as error:
            raise ConfigError(f"--ca-file: can't read {str(self.ca_file)!r}: {error.strerror}") from None
        return Buckets(Reach(self.connect_timeout, self.stall_timeout, self.retry_for, authorities))

    def terms(self) -> Terms:
        """The same, as the engine takes it."""
        return Terms(
            concurrency=self.concurrency,
            adaptive=self.adaptive,
            rate=self.rate,
            limits=Limits(self.connect_timeout, self.timeout, self.stall_timeout),
            backoff=Backoff(patience=self.retry_for),
            job_timeout=self.job_timeout,
            settle=self.settle,
            drain=self.drain,
            on_change=self.on_change,
            allow_empty=self.allow_empty,
            verify=self.verify,
            shard=self.shard,
            private_names=self.private_names,
            root=None if self.root is None else str(self.root),
            memory=self.memory,
            buckets=self.buckets(),
            budget=Budget(self.max_failures, self.max_duration, self.max_requests),
        )


def settings(**flags: object) -> Settings:
    """Settings from the environment, under the flags that were given (None: not given).

    Raises:
        ConfigError: a value makes no sense; names where it came from.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise ConfigError("; ".join(_explained(given, each["loc"], each["msg"]) for each in error.errors())) from None


def _explained(given: Mapping[str, object], where: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not where:  # it is about several
        return message
    name = str(where[0])
    source = f"--{name.replace('_', '-')}" if name in given else f"BULKUP_{name.upper()}"
    return f"{source}: {message[:1].lower()}{message[1:]}"


def adapters(names: Iterable[str], environment: Mapping[str, str], base_url: str | None = None) -> dict[str, Adapter]:
    """The adapters of some vendors, with their credentials.

    Args:
        names: the providers that a manifest names.
        environment: where credentials and base URLs are looked up.
        base_url: replaces the host; only for a single vendor.

    Raises:
        ConfigError: a credential is missing, a file can't be read, or a URL makes no sense.
    """
    names = list(names)
    if base_url is not None and len(names) > 1:
        raise ConfigError(
            f"--base-url names one host, but the manifest has {len(names)} providers ({', '.join(names)}): "
            "set BULKUP_<PROVIDER>_BASE_URL instead"
        )
    found: dict[str, Adapter] = {}
    problems: list[str] = []
    for name in names:
        try:
            found[name] = _adapter(name, environment, base_url)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\nbulkup: ".join(problems))
    return found


def _adapter(name: str, environment: Mapping[str, str], base_url: str | None) -> Adapter:
    provider = PROVIDERS[name]
    prefix = f"BULKUP_{name.upper()}_"
    found = {setting: _setting(prefix + setting.upper(), environment) for setting in provider.settings}
    values: dict[str, object] = {
        setting: _checked(prefix + setting.upper(), value, provider.settings[setting])
        for setting, value in found.items()
        if value
    }
    if not any(all(setting in values for setting in needed) for needed in provider.credentials):
        ways = " or ".join(
            " and ".join(prefix + setting.upper() for setting in needed) for needed in provider.credentials
        )
        needed = max(provider.credentials, key=lambda way: sum(setting in values for setting in way))
        missing = " and ".join(prefix + setting.upper() for setting in needed if setting not in values)
        what = f"{missing} is missing" if any(setting in values for setting in needed) else "no credentials"
        raise ConfigError(f"{name}: {what}: set {ways} (or the same names with _FILE, naming a file)")
    url = base_url or environment.get(prefix + "BASE_URL")
    if url:
        values["base_url"] = _base_url(url, "--base-url" if base_url else prefix + "BASE_URL")
    return provider.adapter(**values)


def _checked(name: str, value: str, kind: Any) -> object:
    """A setting of the type that it must have; what it holds is never shown."""
    if not value.isprintable():
        raise ConfigError(f"{name}: holds a line break or another control character")
    try:
        return TypeAdapter(kind).validate_strings(value)
    except ValidationError as error:
        message = str(error.errors()[0]["msg"]).removeprefix("Value error, ").removeprefix("Input should ")
        raise ConfigError(f"{name}: {message if message.startswith('must') else f'must {message}'}") from None


def _setting(name: str, environment: Mapping[str, str]) -> str | None:
    file = environment.get(name + "_FILE")
    if not file:
        return environment.get(name)
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{name}_FILE: can't read {file!r}: {reason}") from None


def _base_url(value: str, source: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a bracket that is not closed, a port that is none
        parts, good = urlsplit(""), False
    if not good or parts.query or parts.fragment or not value.isprintable() or " " in value:
        raise ConfigError(f"{source}: must be like https://host or https://host/path")
    if parts.username or parts.password:
        raise ConfigError(f"{source}: must not hold credentials")
    if parts.scheme == "http" and not is_plain_loopback(value):
        raise ConfigError(f"{source}: must begin with https://: credentials go by plain http to this machine only")
    return value.rstrip("/")
