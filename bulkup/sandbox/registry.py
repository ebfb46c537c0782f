"""The vendors that the sandbox stands in for."""

from __future__ import annotations

from bulkup.sandbox.lightreach.vendor import LightReach
from bulkup.sandbox.vendor import Vendor

VENDORS: tuple[type[Vendor], ...] = (LightReach,)
