"""What every vendor's stand-in has: a name, options, steps, and the stage it plays on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import Step, unknown


class VendorOptions(BaseModel):
    """A vendor's switches: what its guide leaves open, and how strict its stand-in is."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Vendor(ABC):
    """A vendor's stand-in: a class of its own module, and a line in `bulkup.sandbox.registry`.

    Its class says its name and the type of its options; the sandbox makes it with the stage and the options.
    """

    name: ClassVar[str]
    options_type: ClassVar[type[VendorOptions]]

    @abstractmethod
    def __init__(self, stage: Stage, options: VendorOptions) -> None: ...

    @abstractmethod
    def steps(self) -> Iterable[Step]:
        """The requests it serves; their paths begin with ``/{name}/`` or, for its bucket, ``/store/{name}/``."""

    def unknown(self) -> Step:
        """What answers a request that is none of its steps: 404, unless a vendor does it otherwise."""
        return unknown(self.name)

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """The environment variables by which `bulkup` finds it, credentials included."""

    @abstractmethod
    async def state(self) -> Mapping[str, object]:
        """What it holds, as JSON: the truth to compare a client's ledger with."""
