"""Requests through aiohttp: one session, whole answers, one error."""

import asyncio
import ssl
from collections.abc import Mapping

import aiohttp
from yarl import URL

from engine.clock import Clock
from engine.ingest.dial import words
from engine.venues.transport import HttpAnswer, TransportError


class AiohttpTransport:
    """Asks one origin; see `engine.venues.transport.HttpTransport`.

    Parameters
    ----------
    base_url : scheme, host and port, such as ``https://api.binance.com``.
    clock : corridor time, stamped on answers.
    ssl_context : of https addresses; None verifies host name and chain against the authorities of the system.

    Notes
    -----
    Answers are unpacked if the origin packed them. Redirects are answers like others: none is followed.
    """

    def __init__(self, base_url: str, *, clock: Clock, ssl_context: ssl.SSLContext | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def get(
        self, path: str, query: str = "", *, headers: Mapping[str, str] | None = None, timeout_s: float
    ) -> HttpAnswer:
        """Ask for a path; `query` is encoded already, without its question mark."""
        url = f"{self._base_url}{path}"
        if self._is_closed:
            raise TransportError(
                f"{url} could not be asked: the transport is closed.", terminal=True, url=url
            )
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._ssl), cookie_jar=aiohttp.DummyCookieJar()
            )
        # Encoded: what was signed must leave as it is.
        target = URL(f"{url}?{query}" if query else url, encoded=True)
        sent_ns = self._clock.now_ns()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.get(
                    target, headers=headers, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=None)
                ) as response,
            ):
                body = await response.read()
                return HttpAnswer(
                    status=response.status,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    body=body,
                    sent_ns=sent_ns,
                    received_ns=self._clock.now_ns(),
                )
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise TransportError(f"{url} gave no answer: {reason_of(problem)}.", url=url) from problem

    async def close(self) -> None:
        """Let go of every socket; nothing can be asked after it."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def reason_of(problem: BaseException) -> str:
    """Say in a few words why there is no answer."""
    if isinstance(problem, aiohttp.ClientConnectorCertificateError):
        return words(problem.certificate_error)
    if isinstance(problem, aiohttp.ClientConnectorError):
        return words(problem.os_error)
    if isinstance(problem, aiohttp.ServerDisconnectedError):
        return "the connection ended before the answer"
    if isinstance(problem, aiohttp.ClientPayloadError):
        return "the answer broke off"
    if isinstance(problem, aiohttp.ClientResponseError):
        return "what came is no HTTP answer"
    if isinstance(problem, aiohttp.ClientOSError):
        return words(OSError(problem.errno, problem.strerror))
    return words(problem)
