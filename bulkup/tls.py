"""TLS: whom connections trust, sessions that are resumed, and what a refusal of it means."""

from __future__ import annotations

import ssl
from pathlib import Path

from bulkup.errors import StepError
from bulkup.model import Again, Failure


class Resuming(ssl.SSLContext):
    """Resumes a server's last session in the next connection to it: a handshake without certificates (RFC 8446, 2.2).

    asyncio has no parameter for it, but makes each connection's TLS by `wrap_bio`. The authorities that the system
    trusts are read before the first one, which takes 0.05 s that a run without TLS does not need.
    """

    def __init__(self, *_: object) -> None:
        self._sessions: dict[str, ssl.SSLSession] = {}
        self._knows_system = False

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the standard library's signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        if not self._knows_system:
            self.verify_flags = ssl.create_default_context().verify_flags
            self.load_default_certs()
            self._knows_system = True
        if session is None and isinstance(server_hostname, str):
            session = self._sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def keep(self, host: str, tls: ssl.SSLObject) -> None:
        """Keep a connection's session for the next one; in TLS 1.3 it is there when something was answered."""
        if tls.session is not None:
            self._sessions[host] = tls.session


def trusting(authorities: Path | None = None) -> Resuming:
    """TLS that always verifies certificate and host name.

    Args:
        authorities: a file of certificates in PEM form, trusted besides the system's (or those that ``SSL_CERT_FILE``
            and ``SSL_CERT_DIR`` name instead of them).

    Raises:
        ValueError: the file can't be read, or holds no certificate.
    """
    context = Resuming(ssl.PROTOCOL_TLS_CLIENT)  # verifies both
    if authorities is not None:
        alone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            alone.load_verify_locations(authorities)
            context.load_verify_locations(authorities)
        except ssl.SSLError:
            raise ValueError(f"{str(authorities)!r} holds no certificate in PEM form") from None
        except OSError as error:
            raise ValueError(f"can't read {str(authorities)!r}: {error.strerror}") from None
        if not alone.cert_store_stats()["x509"]:  # a list of revoked ones, perhaps
            raise ValueError(f"{str(authorities)!r} holds no certificate in PEM form")
    return context


_UNKNOWN_ISSUER = frozenset({18, 19, 20, 21})
"""OpenSSL's ``X509_V_ERR_...`` of a certificate, or chain, that nobody known has signed."""


def refused(host: str, error: Exception) -> StepError:
    """Why no TLS connection to a host came about."""
    text = f"TLS with {host} failed"
    if isinstance(error, ssl.CertificateError):
        text += f": {getattr(error, 'verify_message', '') or 'the certificate is not good'}"
        if getattr(error, "verify_code", None) in _UNKNOWN_ISSUER:
            text += " (--ca-file names private authorities)"
    return StepError(Failure("tls_failed", text, Again.NEVER, sent=False))
