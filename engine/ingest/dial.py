"""One TCP connection to the host of a URL, and one sentence for each way in which that fails."""

import asyncio
import contextlib
import socket
import ssl
from urllib.parse import urlsplit

from engine.venues.transport import TransportError

PORTS = {"ws": 80, "wss": 443}


def host_of(url: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is wanted.

    Raises
    ------
    TransportError
        No ws or wss address with a host.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme]
    except (KeyError, ValueError):
        host, port = None, 0
    if not host:
        raise TransportError(f"Expected an address like wss://host/path, found {url!r}.", terminal=True)
    return host, port, parts.scheme == "wss"


async def connect(host: str, port: int) -> socket.socket:
    """Return a connected socket; the addresses of the host are tried one after the other."""
    loop = asyncio.get_running_loop()
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise problem


def hang_up(sock: socket.socket | None) -> None:
    """End a connection that somebody else holds, too: its owner sees the end and closes it."""
    if sock is not None and sock.fileno() >= 0:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def words(problem: BaseException) -> str:
    """Say in a few words what happened to a connection."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({problem.verify_message.rstrip('.')})"
    if isinstance(problem, ssl.SSLError):
        return f"TLS failed ({problem.reason or problem})"
    if isinstance(problem, TimeoutError):
        return "it did not answer in time"
    if isinstance(problem, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(problem, socket.gaierror):
        return f"its name is not known ({problem.strerror})"
    if isinstance(problem, (ConnectionResetError, BrokenPipeError)):
        return "the connection was reset"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return f"{type(problem).__name__}: {problem}"


def ending(sock: socket.socket | None, problem: BaseException | None = None) -> str:
    """Say why an established connection is over that said nothing itself."""
    if isinstance(problem, ssl.SSLError):
        return f"cut: {words(problem)}"
    if problem is not None:
        return words(problem)
    if sock is not None and sock.fileno() >= 0 and hasattr(socket, "TCP_INFO"):
        try:
            # The first byte is the state; 7 is CLOSE, where a reset leads and an orderly end does not.
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 7:
                return "the connection was reset"
        except OSError:
            pass
    return "cut: the connection ended without a close frame"
