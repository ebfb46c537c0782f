"""Stand-ins for the vendors and their object store, on loopback: for tests, the demo and benchmarks.

They enforce what the guides say, answer a breach as the vendor would, go wrong as a fault plan says, and tell the
truth about what they hold.
"""

from bulkup.sandbox.faults import Faults, Rule
from bulkup.sandbox.lightreach.options import LightReachOptions
from bulkup.sandbox.sandbox import Sandbox
from bulkup.sandbox.serve import serve
from bulkup.sandbox.vendor import VendorOptions

__all__ = ["Faults", "LightReachOptions", "Rule", "Sandbox", "VendorOptions", "serve"]
