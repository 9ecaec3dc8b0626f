"""The way in for commands while an engine runs: a Unix socket that one packet passes, and one comes back.

A request is one packet, the JSON of a `Command`; its answer is one packet of bytes, or ``{"error": "..."}``.
The socket belongs to one user and asks the kernel who is at the other end. Linux only: macOS knows no packets
that are kept apart and in order on such a socket.
"""

import os
import select
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from engine.commands import Command, parse_command
from engine.errors import InputError, StateError

MAX_REQUEST_BYTES: Final = 4096
MAX_ANSWER_BYTES: Final = 1 << 20
MAX_CONNECTIONS: Final = 8
CREDENTIALS: Final = struct.Struct("3i")  # process, user and group at the other end, as the kernel knows them

_DECODER: Final = msgspec.json.Decoder(Command)


class _Connection:
    """One client: it is not read while a request of it waits for its answer."""

    __slots__ = ("heard", "is_pending", "peer")

    def __init__(self, peer: socket.socket, heard: int) -> None:
        self.peer = peer
        self.heard = heard  # number of the poll in which it last said something
        self.is_pending = False


class Request:
    """One command and the client that waits for its answer."""

    __slots__ = ("_connection", "_is_answered", "_server", "command")

    def __init__(self, server: "CommandServer", connection: _Connection, command: Command) -> None:
        self.command = command
        self._server = server
        self._connection = connection
        self._is_answered = False

    def answer(self, content: bytes) -> None:
        """Send the answer, now or later, once.

        A client that is gone, or does not read, loses it; that is no error here. An answer that is larger
        than a packet may be, some 200 kB, becomes an error to the client; an empty one becomes ``{}``.

        Raises
        ------
        StateError
            It was answered before.
        """
        if self._is_answered:
            raise StateError(f"A command is answered once, found a second answer to {self.command.verb}.")
        self._is_answered = True
        self._server._answer(self._connection, content)


class CommandServer:
    """The engine's end. Nothing in it waits, and no client makes it raise.

    Parameters
    ----------
    path
        Of the socket, in a directory of the user alone. What a dead engine left there is replaced.

    Raises
    ------
    InputError
        Somebody answers there, something else than a socket is there, or it cannot be made.

    Notes
    -----
    At most 8 clients, each with one request that is not answered: the next is left in its socket. A ninth
    client takes the place of the one that has been silent for longest and waits for nothing, so that `halt`
    is heard whoever forgot to hang up; if all wait, it is refused. An idle `poll` is one system call.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._connections: dict[int, _Connection] = {}
        self._n_polls = 0
        _remove_dead(self._path)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            # The file is made with the mode of the socket: no moment at which others could connect.
            os.fchmod(self._listening.fileno(), 0o600)
            self._listening.bind(str(self._path))
            self._inode = self._path.stat().st_ino
            self._listening.listen(MAX_CONNECTIONS)
        except OSError as error:
            self._listening.close()
            raise InputError(
                f"The command socket {path} cannot be made: {error.strerror or error}.", path=str(path)
            ) from error
        self._ready = select.epoll()
        self._ready.register(self._listening, select.EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `poll` has something to do, for an event loop."""
        return self._ready.fileno()

    @property
    def n_connections(self) -> int:
        """Clients that are connected."""
        return len(self._connections)

    def close(self) -> None:
        """Hang up on all clients and remove the socket, unless somebody has put another in its place."""
        if self._ready.closed:
            return
        with suppress(OSError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._listening.close()
        self._ready.close()

    def accept_ready(self) -> None:
        """Take the clients that are at the door; `poll` does it, too."""
        for _ in range(MAX_CONNECTIONS):
            try:
                peer, _address = self._listening.accept()
            except OSError:  # nobody there, or gone already, or no descriptor left: tried again later
                return
            peer.setblocking(False)
            refusal = self._refusal(peer)
            if refusal:
                _send(peer, _error(refusal))
                peer.close()
                continue
            self._connections[peer.fileno()] = _Connection(peer, self._n_polls)
            self._ready.register(peer, select.EPOLLIN)

    def poll(self) -> list[Request]:
        """Return the commands that have come, at most one of each client; never waits.

        A packet that is no command is answered here and its client kept; an empty one ends the connection.
        """
        self._n_polls += 1
        requests = []
        for number, _events in self._ready.poll(0):
            if number == self._listening.fileno():
                self.accept_ready()
            elif connection := self._connections.get(number):
                request = self._read(connection)
                if request:
                    requests.append(request)
        return requests

    def _refusal(self, peer: socket.socket) -> str:
        """Say why a client is not let in, or make room for it and say nothing."""
        _pid, uid, _gid = CREDENTIALS.unpack(
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        )
        if uid not in (os.geteuid(), 0):
            return f"Only the user {os.geteuid()} and root may command this engine, found the user {uid}."
        if len(self._connections) >= MAX_CONNECTIONS:
            silent = [one for one in self._connections.values() if not one.is_pending]
            if not silent:
                return f"The engine has {MAX_CONNECTIONS} commands to answer and takes no more now."
            self._drop(min(silent, key=lambda one: one.heard))
        return ""

    def _read(self, connection: _Connection) -> Request | None:
        try:
            packet = connection.peer.recv(MAX_REQUEST_BYTES + 1)
        except BlockingIOError:
            return None
        except OSError:
            packet = b""
        if not packet:
            self._drop(connection)
            return None
        connection.heard = self._n_polls
        try:
            command = _decode(packet)
        except InputError as error:
            if not _send(connection.peer, _error(str(error))):
                self._drop(connection)
            return None
        connection.is_pending = True
        self._ready.unregister(connection.peer)
        return Request(self, connection, command)

    def _answer(self, connection: _Connection, content: bytes) -> None:
        if connection.peer.fileno() < 0:
            return
        connection.is_pending = False
        if _send(connection.peer, content):
            self._ready.register(connection.peer, select.EPOLLIN)
        else:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        # Closing takes it out of the epoll, too.
        del self._connections[connection.peer.fileno()]
        connection.peer.close()


def send_command(path: Path | str, command: Command, timeout_s: float) -> bytes:
    """Give a command to a running engine and return its answer.

    Raises
    ------
    InputError
        No engine runs there, it lets nobody in, or no answer came in time: whether the command was carried
        out is not known then.
    """
    end_s = monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        try:
            peer.settimeout(timeout_s)
            peer.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise InputError(f"No engine is running at {path}.", path=str(path)) from error
        except OSError as error:
            raise InputError(
                f"The engine at {path} cannot be reached: {error.strerror or error}.", path=str(path)
            ) from error
        try:
            # A server that refuses has answered and hung up before: its answer is still there.
            with suppress(BrokenPipeError):
                peer.send(msgspec.json.encode(command))
            peer.settimeout(max(0.0, end_s - monotonic()) or 1e-6)
            try:
                answer, _ancillary, flags, _address = peer.recvmsg(MAX_ANSWER_BYTES)
            except ConnectionResetError:
                # It hung up on an unread command. That is told once, before what it had said.
                answer, _ancillary, flags, _address = peer.recvmsg(MAX_ANSWER_BYTES)
        except (TimeoutError, BlockingIOError) as error:
            raise InputError(
                f"The engine at {path} did not answer within {timeout_s:g} s; whether {command.verb} was "
                "carried out is not known.",
                path=str(path),
            ) from error
        except OSError as error:
            raise InputError(
                f"The engine at {path} ended the connection: {error.strerror or error}.", path=str(path)
            ) from error
    if not answer:
        raise InputError(f"The engine at {path} ended the connection without an answer.", path=str(path))
    if flags & socket.MSG_TRUNC:
        raise InputError(f"The answer of {path} is longer than {MAX_ANSWER_BYTES} bytes.", path=str(path))
    return answer


def _remove_dead(path: Path) -> None:
    """Remove the socket that a dead engine left; refuse if it lives, or if it is none."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(
            f"The command socket {path} cannot be made: {error.strerror}.", path=str(path)
        ) from error
    if not is_socket:
        raise InputError(
            f"Expected nothing or a command socket at {path}, found another kind of file.", path=str(path)
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError:  # a full queue at its door, for one: it lives
            pass
    raise InputError(f"An engine is running at {path} already.", path=str(path))


def _decode(packet: bytes) -> Command:
    """Read one command as strictly as one that is typed.

    Raises
    ------
    InputError
        The packet is too long, no JSON, no command, or a command with an argument that it does not take.
    """
    if len(packet) > MAX_REQUEST_BYTES:
        raise InputError(f"A command may have {MAX_REQUEST_BYTES} bytes, found more.")
    try:
        command = _DECODER.decode(packet)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"Expected a command in JSON: {error}.") from error
    checked = parse_command([word for word in (command.verb, command.argument, command.symbol) if word])
    if checked != command:
        raise InputError(f"Expected {checked}, found {command}.")
    return command


def _send(peer: socket.socket, content: bytes) -> bool:
    """Send one packet without waiting; False if the client is lost."""
    try:
        peer.send(content or b"{}")
    except OSError as error:
        if len(content) <= MAX_REQUEST_BYTES or isinstance(error, (BlockingIOError, ConnectionError)):
            return False
        return _send(peer, _error(f"The answer of {len(content)} bytes does not fit one packet."))
    return True


def _error(sentence: str) -> bytes:
    return msgspec.json.encode({"error": sentence})
