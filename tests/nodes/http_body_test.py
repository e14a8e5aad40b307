# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of nodes/kit with bodies by pieces, answers of known length, files and unix sockets. Its counterpart is
http_server_peer.c, which says there what its routes and commands do."""
import os
import signal
import socket
import stat
import subprocess

import pytest

from bus import PATIENCE_S, SANITIZED
from http_attack_test import PEER, Client, Server

MIB = 1 << 20
BIG = 100 * MIB
BLOCK = b"x" * MIB


@pytest.fixture
def server():
    servers = []

    def start(*arguments):
        servers.append(Server(*arguments))
        return servers[-1]

    yield start
    for each in servers:
        each.close()


def post(path, length, more=b""):
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (path.encode(), length, more)


def peak(server):
    with open(f"/proc/{server.process.pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def memory_held(server, before):
    assert SANITIZED or peak(server) - before < 4 * MIB


def skim(client, count):
    """Reads so many bytes of an answer and drops them."""
    count -= len(client.data)
    client.data = b""
    while count:
        got = len(client.socket.recv(min(count, MIB)))
        assert got
        count -= got


# ---- bodies by pieces

@pytest.mark.parametrize("chunked", [False, True])
def test_100_mib_by_pieces_with_a_pause_take_no_memory(server, chunked):
    s = server()
    client, before = Client(s.address), peak(s)
    client.send(b"POST /take/paused HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" if chunked else post("/take/paused", BIG))
    assert s.line("paused") == ("paused -1" if chunked else f"paused {BIG}")
    data = b"%x\r\n%s\r\n" % (MIB, BLOCK) if chunked else BLOCK
    client.socket.setblocking(False)
    sent = 0
    while sent < BIG // 4:  # nobody takes it: the kernel's buffers fill
        try:
            sent += client.socket.send(data[sent % len(data):])
        except BlockingIOError:
            break
    assert sent < BIG // 4
    assert s.tell("go") == "go 1"
    client.socket.settimeout(PATIENCE_S)
    client.send(data[sent % len(data):])
    for _ in range(BIG // MIB - 1 - sent // len(data)):
        client.send(data)
    client.send(b"0\r\n\r\n" if chunked else b"")
    assert client.answer()[2] == b"%d 1 0\n" % BIG
    memory_held(s, before)
    assert client.get("/plain").answer()[0] == 200


def test_more_than_4_gib_is_only_a_number(server):
    s = server()
    client = Client(s.address).send(post("/take/paused", 5 << 30))
    assert s.line("paused") == f"paused {5 << 30}"
    client.close()
    assert s.line("end") == "end /take/paused 0"


def test_a_body_that_nobody_reads_is_paused_for_as_long_as_it_takes(server):
    s = server("body_ms=200")
    client = Client(s.address).send(post("/take/paused", 4) + b"four")
    s.line("paused")
    other = Client(s.address).send(post("/take", 4))
    assert other.head()[0] == 408  # whose clock ran
    s.tell("go")
    assert client.answer()[2] == b"4 0 0\n"


def test_a_drip_is_not_progress(server):
    client = Client(server("body_ms=300").address).send(post("/take", 1000))
    try:
        while True:
            client.send(b"x")
    except OSError:
        pass


@pytest.mark.parametrize("path", ["/take/enough", "/take/stream"])
@pytest.mark.parametrize("size", [4, BIG])
def test_an_answer_within_the_body_is_sent_at_once(server, path, size):
    s = server()
    client = Client(s.address).send(post(path, size + 1) + b"some")
    status, header, body = client.answer()
    assert (status, header["connection"], body) == (409, "close", b"enough\n")
    assert client.ended()
    client.close()
    assert s.line("end") == f"end {path} 1"


def test_a_client_that_sends_on_behind_an_early_answer_can_read_it(server):
    s = server()
    client = Client(s.address).send(post("/take/enough", BIG))
    for _ in range(20):
        client.send(BLOCK)
    assert client.answer()[0] == 409
    client.close()
    assert s.line("end") == "end /take/enough 1"


def test_an_answer_within_the_body_outlives_the_body(server):
    s = server()
    client = Client(s.address).send(post("/take/begun", 8) + b"some")
    assert client.head()[0] == 409
    client.send(b"more")
    s.tell("counters")  # the end of the body is read
    assert s.tell("say enough") == "say 1"
    assert client.chunk() == b"enough\n"
    assert s.tell("finish") == "finish 1" and client.chunk() == b""
    assert client.ended()
    client.close()
    assert s.line("end") == "end /take/begun 1"


def test_refused_in_begin_the_body_is_never_read(server):
    s = server()
    client = Client(s.address).send(post("/refuse", BIG))
    assert client.answer()[0] == 403 and client.ended()


def test_the_limit_holds_for_the_sum_of_the_pieces(server):
    s = server()
    assert Client(s.address).send(post("/take/limit", 11)).answer()[0] == 413
    client = Client(s.address).send(b"POST /take/limit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n")
    assert client.send(b"8\r\n12345678\r\n").answer()[0] == 413
    assert Client(s.address).send(post("/take/limit", 10) + b"0123456789").answer()[2] == b"10 0 0\n"


@pytest.mark.parametrize("path", ["/take", "/take/paused"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_gone_within_its_body_is_noticed(server, path, reset):
    s = server()
    client = Client(s.address).send(post(path, 1000) + b"some")
    s.counter("requests", 1)
    client.close(reset)
    assert s.line("end") == f"end {path} 0"


# ---- answers of known length

@pytest.mark.parametrize("path", ["/sized", "/file"])
def test_100_mib_of_known_length_to_a_slow_reader(server, path):
    s = server("queue_bytes=300000")
    client = Client(s.address, rcvbuf=65536).get(f"{path}?n={BIG}")
    before = peak(s)
    status, header = client.head()
    assert (status, header["content-length"]) == (200 if path == "/sized" else 206, str(BIG)) and "transfer-encoding" not in header
    skim(client, BIG)
    memory_held(s, before)
    assert client.get("/plain").answer()[0] == 200  # the connection goes on
    assert s.line(f"end {path}") == f"end {path} 1"


def test_a_part_of_a_file(server):
    client = Client(server().address).get("/file?n=5")
    assert client.answer()[2] == b"23456"
    assert client.get("/file?n=0").answer()[2] == b""


def test_nothing_of_known_length(server):
    s = server()
    client = Client(s.address).get("/sized?n=0")
    assert client.answer()[2] == b"" and s.line("end") == "end /sized 1"


def test_less_than_was_announced_cuts(server):
    s = server()
    client = Client(s.address).get("/short?n=4")
    assert client.head()[1]["content-length"] == "5"
    while client.more():
        pass
    assert len(client.data) < 5 and s.line("end") == "end /short 0"


@pytest.mark.parametrize("path", ["/sized", "/file"])
def test_head_of_known_length(server, path):
    s = server()
    client = Client(s.address).send(b"HEAD %s?n=70000 HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    status, header, _ = client.answer("HEAD")
    assert header["content-length"] == "70000" and s.line("end") == f"end {path} 1"
    assert client.get("/plain").answer()[0] == 200


def test_a_reader_gone_is_noticed(server):
    s = server()
    for path in ("/sized", "/file"):
        client = Client(s.address).get(f"{path}?n={BIG}")
        client.head()
        client.close()
        assert s.line("end") == f"end {path} 0"


# ---- unix sockets

class Local(Client):
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(path))
        self.data = b""


class LocalServer(Server):
    def __init__(self, path, *arguments):
        self.start = f"unix:{path}"
        super().__init__(f"address=unix:{path}", *arguments)

    def line(self, start):
        return super().line(self.start if start == "127.0.0.1:" else start)


def test_a_unix_socket_is_for_this_user_alone_and_goes_with_the_server(tmp_path):
    path = tmp_path / "s"
    server = LocalServer(path, "per_peer=1", "body_ms=200")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    first, client = Local(path).get("/plain"), Local(path)
    assert first.answer()[0] == 200
    assert client.get("/info").answer()[2].split()[5] == b"peer=unix"
    client.send(post("/take", BIG))
    for _ in range(BIG // MIB):
        client.send(BLOCK)
    assert client.answer()[2] == b"%d 1 0\n" % BIG
    client.get(f"/file?n={BIG}")
    assert client.head()[0] == 206
    skim(client, BIG)
    server.close()
    assert not path.exists()


def test_what_a_dead_process_left_is_removed_and_what_answers_is_not(tmp_path):
    path = tmp_path / "s"
    dead = LocalServer(path)
    dead.process.send_signal(signal.SIGKILL)
    dead.process.wait()
    assert path.exists()
    server = LocalServer(path)
    other = subprocess.run([PEER, f"address=unix:{path}"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert other.returncode == 1 and f"cannot listen on unix:{path}" in other.stderr and "another program listens there" in other.stderr
    assert Local(path).get("/plain").answer()[0] == 200
    server.close()
    path.write_text("not a socket")
    other = subprocess.run([PEER, f"address=unix:{path}"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert other.returncode == 1 and path.read_text() == "not a socket"
    long = tmp_path / ("x" * 100)
    other = subprocess.run([PEER, f"address=unix:{long}"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert other.returncode == 1 and "107 bytes" in other.stderr


def test_draining_gives_the_path_free(tmp_path):
    path = tmp_path / "s"
    old = LocalServer(path)
    client = Local(path).get("/slow")
    assert Local(path).get("/plain").answer()[0] == 200  # so the other request is there, too
    assert old.tell("drain") == "drain 1"
    new = LocalServer(path)
    old.tell("answer yes")
    assert client.answer()[2] == b"yes\n"
    old.close()
    assert path.exists() and Local(path).get("/plain").answer()[0] == 200
    new.close()
