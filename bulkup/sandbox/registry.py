"""The vendors that the sandbox stands in for."""

from __future__ import annotations

from bulkup.sandbox.alloy.vendor import Alloy
from bulkup.sandbox.auco.vendor import Auco
from bulkup.sandbox.kompliant.vendor import Kompliant
from bulkup.sandbox.lightreach.vendor import LightReach
from bulkup.sandbox.loanpro.vendor import LoanPro
from bulkup.sandbox.vendor import Vendor

VENDORS: tuple[type[Vendor], ...] = (LightReach, LoanPro, Alloy, Kompliant, Auco)
