"""Commands through a real socket; no waiting: what is sent on a Unix socket is there at once."""

import os
import select
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import commandsocket
from engine.commands import Command, Verb, parse_command
from engine.commandsocket import MAX_CONNECTIONS, CommandServer, send_command
from engine.errors import InputError, StateError

HALT = Command(verb=Verb.HALT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "command.sock"


@pytest.fixture
def server(path: Path) -> Iterator[CommandServer]:
    made = CommandServer(path)
    yield made
    made.close()


def connect(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(str(path))
    peer.settimeout(0)
    return peer


def is_ready(server: CommandServer) -> bool:
    return bool(select.select([server], [], [], 0)[0])


def error_of(answer: bytes) -> str:
    found = msgspec.json.decode(answer, type=dict[str, str])
    assert list(found) == ["error"]
    assert answer.startswith(b'{"error"')
    return found["error"]


def ask(server: CommandServer, peer: socket.socket, packet: bytes) -> str:
    """Send what is no command and return the sentence that comes back."""
    peer.send(packet)
    while is_ready(server):
        assert server.poll() == []
    return error_of(peer.recv(1 << 16))


def test_command_when_sent_then_it_is_polled_and_its_answer_comes_back(
    server: CommandServer, path: Path
) -> None:
    with connect(path) as peer:
        assert is_ready(server)
        assert server.poll() == [], "only the client"
        assert not is_ready(server)
        for number in range(3):
            peer.send(msgspec.json.encode(HALT))
            assert is_ready(server)
            (request,) = server.poll()
            assert request.command == HALT
            assert not is_ready(server)
            request.answer(b"answer %d" % number)
            assert peer.recv(100) == b"answer %d" % number
    assert server.poll() == []
    assert server.n_connections == 0


@pytest.mark.parametrize(
    "words",
    ["status", "halt", "flatten BTCUSDT", "side long-only", "size 0.25 ETHUSDT", "stop protect"],
)
def test_client_when_the_engine_answers_then_it_returns_the_bytes(
    server: CommandServer, path: Path, words: str
) -> None:
    command = parse_command(words.split())
    answers: list[bytes] = []
    client = threading.Thread(target=lambda: answers.append(send_command(path, command, 10.0)))
    client.start()
    requests = []
    while not requests:
        assert select.select([server], [], [], 10.0)[0]
        requests = server.poll()
    assert [request.command for request in requests] == [command]
    requests[0].answer(b'{"state": "fine"}' + b" " * 100_000)
    client.join(10.0)
    assert answers == [b'{"state": "fine"}' + b" " * 100_000]


def test_requests_when_one_is_unanswered_then_the_next_of_this_client_waits(
    server: CommandServer, path: Path
) -> None:
    with connect(path) as one, connect(path) as two:
        server.poll()
        for peer in (one, one, two):
            peer.send(msgspec.json.encode(HALT))
        first = server.poll()
        assert len(first) == 2
        assert not is_ready(server)
        assert server.poll() == []
        first[0].answer(b"first")
        (second,) = server.poll()
        second.answer(b"second")
        first[1].answer(b"other")
        assert [one.recv(10), one.recv(10), two.recv(10)] == [b"first", b"second", b"other"]


def test_request_when_answered_twice_then_it_is_a_bug_and_said(server: CommandServer, path: Path) -> None:
    with connect(path) as peer:
        peer.send(msgspec.json.encode(HALT))
        (request,) = server.poll() + server.poll()
        request.answer(b"once")
        with pytest.raises(StateError, match="second answer to halt"):
            request.answer(b"twice")
        assert peer.recv(10) == b"once"


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"{", "Expected a command in JSON"),
        (b"\xff\xfe", "Expected a command in JSON"),
        (b'{"verb": "halt\xff"}', "Expected a command in JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `verb`"),
        (b'{"verb": "explode"}', "Invalid enum value 'explode'"),
        (b'{"verb": "size", "argument": "7"}', "size expects a number from 0 to 1, found 7"),
        (b'{"verb": "size", "argument": "nan"}', "size expects a number from 0 to 1, found nan"),
        (b'{"verb": "side"}', "side expects one of"),
        (b'{"verb": "halt", "argument": "now"}', "Expected Command"),
        (b'{"verb": "halt", "symbol": "btcusdt"}', "Expected Command"),
        (b"[" * 4096, "Expected a command in JSON"),
        (b'{"verb": "halt"}'.ljust(4097), "A command may have 4096 bytes"),
        (b"x" * 60_000, "A command may have 4096 bytes"),
    ],
)
def test_packet_when_it_is_no_command_then_an_error_comes_back_and_the_client_is_kept(
    server: CommandServer, path: Path, packet: bytes, expected: str
) -> None:
    with connect(path) as peer:
        assert expected in ask(server, peer, packet)
        peer.send(b'{"verb": "halt"}'.ljust(4096))
        (request,) = server.poll()
        assert request.command == HALT


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from([msgspec.json.encode(HALT)]))))
@settings(max_examples=60)
def test_packets_when_they_are_anything_then_each_has_one_answer(
    tmp_path_factory: pytest.TempPathFactory, packets: list[bytes]
) -> None:
    server = CommandServer(tmp_path_factory.getbasetemp() / "any.sock")
    with connect(tmp_path_factory.getbasetemp() / "any.sock") as peer:
        for packet in packets:
            peer.send(packet)
        answers = []
        while is_ready(server):
            for request in server.poll():
                assert request.command == HALT
                request.answer(b"halted")
            while select.select([peer], [], [], 0)[0]:
                answers.append(peer.recv(1 << 16))
        assert len(answers) == len(packets)
        for packet, answer in zip(packets, answers, strict=True):
            assert (answer == b"halted") == (packet == msgspec.json.encode(HALT))
    server.close()


def test_client_when_it_vanishes_at_any_moment_then_the_server_goes_on(
    server: CommandServer, path: Path
) -> None:
    connect(path).close()
    with connect(path) as peer:
        peer.send(b"no command")
    with connect(path) as peer:
        peer.send(msgspec.json.encode(HALT))
    requests = [request for _ in range(4) for request in server.poll()]
    assert [request.command for request in requests] == [HALT]
    requests[0].answer(b"too late")
    assert server.n_connections == 0
    with connect(path) as peer:
        server.poll()
        peer.send(msgspec.json.encode(HALT))
        (request,) = server.poll()
    request.answer(b"nobody there")
    assert server.n_connections == 0
    assert not is_ready(server)


def test_client_when_it_never_reads_then_it_is_dropped_without_waiting(
    server: CommandServer, path: Path
) -> None:
    with connect(path) as peer:
        server.poll()
        for _ in range(1_000):
            try:
                peer.send(msgspec.json.encode(HALT))
            except OSError:
                break
            for request in server.poll():
                request.answer(b"x" * 100_000)
        assert server.n_connections == 0


def test_answer_when_larger_than_a_packet_then_the_client_is_told(server: CommandServer, path: Path) -> None:
    with connect(path) as peer:
        peer.send(msgspec.json.encode(HALT))
        (request,) = server.poll() + server.poll()
        request.answer(b"x" * (8 << 20))
        assert "does not fit one packet" in error_of(peer.recv(1_000))


def test_clients_when_there_are_too_many_then_the_longest_silent_makes_room(
    server: CommandServer, path: Path
) -> None:
    peers = [connect(path) for _ in range(MAX_CONNECTIONS)]
    server.poll()
    for peer in (peers[0], *peers[2:]):
        ask(server, peer, b"speaks")
    with connect(path) as late:
        late.send(msgspec.json.encode(HALT))
        (request,) = server.poll() + server.poll()
        request.answer(b"heard")
        assert late.recv(10) == b"heard"
    assert peers[1].recv(10) == b"", "it was silent"
    for peer in (peers[0], *peers[2:]):
        with pytest.raises(BlockingIOError):
            peer.recv(10)
    for peer in peers:
        peer.close()


def test_clients_when_all_wait_for_an_answer_then_one_more_is_refused_in_a_sentence(
    server: CommandServer, path: Path
) -> None:
    peers = [connect(path) for _ in range(MAX_CONNECTIONS)]
    server.poll()
    for peer in peers:
        peer.send(msgspec.json.encode(HALT))
    requests = server.poll()
    assert len(requests) == MAX_CONNECTIONS
    with connect(path) as late:
        assert server.poll() == []
        assert "takes no more now" in error_of(late.recv(1_000))
    assert server.n_connections == MAX_CONNECTIONS
    for request, peer in zip(requests, peers, strict=True):
        request.answer(b"at last")
        assert peer.recv(10) == b"at last"
        peer.close()


@pytest.mark.parametrize("moment", ["before it has sent", "after it has sent"])
def test_client_when_refused_then_it_hears_why_whenever_that_happens(
    server: CommandServer, path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    peers = [connect(path) for _ in range(MAX_CONNECTIONS)]
    server.poll()
    for peer in peers:
        peer.send(msgspec.json.encode(HALT))
    assert len(server.poll()) == MAX_CONNECTIONS
    encode, calls = msgspec.json.encode, iter(["begin", "sent"])

    def refuse_then_encode(value: object) -> bytes:
        if value is HALT and moment.startswith("before"):
            server.poll()
        return encode(value)

    def refuse_then_read_the_clock() -> float:
        if next(calls) == "sent" and moment.startswith("after"):
            server.poll()
        return 0.0

    monkeypatch.setattr(commandsocket.msgspec.json, "encode", refuse_then_encode)
    monkeypatch.setattr(commandsocket, "monotonic", refuse_then_read_the_clock)
    assert "takes no more now" in error_of(send_command(path, HALT, 10.0))
    for peer in peers:
        peer.close()


@pytest.mark.parametrize(("uid", "is_let_in"), [(0, True), (1000, True), (4242, False)])
def test_client_when_of_another_user_then_it_is_refused_and_root_is_not(
    server: CommandServer, path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, is_let_in: bool
) -> None:
    class Told(struct.Struct):
        def unpack(self, _raw: object) -> tuple[int, int, int]:
            return 1, uid, 1

    monkeypatch.setattr(commandsocket, "CREDENTIALS", Told("3i"))
    monkeypatch.setattr(commandsocket.os, "geteuid", lambda: 1000)
    with connect(path) as peer:
        server.poll()
        assert server.n_connections == is_let_in
        if not is_let_in:
            assert f"found the user {uid}" in error_of(peer.recv(1_000))


def test_credentials_when_asked_then_they_are_those_of_this_process() -> None:
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, two:
        raw = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, commandsocket.CREDENTIALS.size)
    assert commandsocket.CREDENTIALS.unpack(raw) == (os.getpid(), os.geteuid(), os.getegid())


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_socket_when_made_then_it_is_the_users_alone_under_any_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        server = CommandServer(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.close()
    server.close()
    assert not path.exists()


def test_socket_when_a_dead_engine_left_it_then_it_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))
        dead.listen()
    server = CommandServer(path)
    connect(path).close()
    server.close()


def test_socket_when_its_engine_lives_then_it_is_refused_and_left_alone(
    server: CommandServer, path: Path
) -> None:
    with pytest.raises(InputError, match=r"An engine is running at .* already\."):
        CommandServer(path)
    server.poll()
    with connect(path) as peer:
        assert "Expected" in ask(server, peer, b"?")


def test_socket_when_something_else_is_there_then_it_is_refused_and_kept(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(InputError, match="found another kind of file"):
        CommandServer(path)
    assert path.read_text() == "precious"


def test_socket_when_it_cannot_be_made_then_one_sentence_says_so(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "command.sock", tmp_path / ("x" * 120)):
        with pytest.raises(InputError, match="cannot be made"):
            CommandServer(path)


def test_close_when_another_engine_has_put_its_socket_there_then_it_stays(path: Path) -> None:
    first = CommandServer(path)
    path.unlink()
    second = CommandServer(path)
    first.close()
    connect(path).close()
    second.close()


def test_close_when_clients_wait_then_they_are_told_by_the_end_and_late_answers_are_lost(path: Path) -> None:
    server = CommandServer(path)
    with connect(path) as peer:
        peer.send(msgspec.json.encode(HALT))
        (request,) = server.poll() + server.poll()
        server.close()
        assert peer.recv(10) == b""
        request.answer(b"late")


def test_client_when_no_engine_runs_then_one_sentence_says_so(path: Path) -> None:
    with pytest.raises(InputError, match=r"No engine is running at .*command\.sock\.$"):
        send_command(path, HALT, 1.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))
    with pytest.raises(InputError, match="No engine is running"):
        send_command(path, HALT, 1.0)
    path.unlink()
    path.touch()
    with pytest.raises(InputError, match="No engine is running"):
        send_command(path, HALT, 1.0)


@pytest.mark.usefixtures("server")
def test_client_when_no_answer_comes_then_it_says_so_and_that_the_fate_is_unknown(path: Path) -> None:
    with pytest.raises(InputError, match=r"did not answer within 0\.001 s; whether halt was carried out"):
        send_command(path, HALT, 0.001)


def test_client_when_the_engine_hangs_up_then_it_says_so(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as engine:
        engine.bind(str(path))
        engine.listen()

        def hang_up() -> None:
            peer, _ = engine.accept()
            peer.recv(4096)
            peer.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(InputError, match="ended the connection without an answer"):
            send_command(path, HALT, 10.0)
        thread.join(10.0)
