"""Stand-ins for the vendors and their object store, on loopback: for tests, the demo and benchmarks.

They enforce what the guides say, answer a breach as the vendor would, go wrong as a fault plan says, and tell the
truth about what they hold.
"""

from bulkup.sandbox.alloy.options import AlloyOptions
from bulkup.sandbox.auco.options import AucoOptions
from bulkup.sandbox.faults import Faults, Rule
from bulkup.sandbox.kompliant.options import KompliantOptions
from bulkup.sandbox.lightreach.options import LightReachOptions
from bulkup.sandbox.loanpro.options import LoanProOptions
from bulkup.sandbox.sandbox import Sandbox
from bulkup.sandbox.serve import serve
from bulkup.sandbox.vendor import VendorOptions

__all__ = [
    "AlloyOptions",
    "AucoOptions",
    "Faults",
    "KompliantOptions",
    "LightReachOptions",
    "LoanProOptions",
    "Rule",
    "Sandbox",
    "VendorOptions",
    "serve",
]
