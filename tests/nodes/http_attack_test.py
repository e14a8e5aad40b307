# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of nodes/kit against clients that mean no good, and some that only leave early. Its counterpart is
http_server_peer.c, which says there what its routes and commands do."""
import json
import os
import pathlib
import re
import selectors
import socket
import subprocess
import time

import pytest

from bus import LINESHAFT, PATIENCE_S

BUILD = pathlib.Path(os.environ.get("LINESHAFT_BUILD", pathlib.Path(LINESHAFT).parent))
PEER = BUILD / "tests/nodes/http_server_peer"
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


class Client:
    """One connection; reads answers strictly one after the other."""

    def __init__(self, address, rcvbuf=None):
        host, port = address.rsplit(":", 1)
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.socket.connect((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""

    def send(self, data):
        self.socket.sendall(data)
        return self

    def get(self, path):
        return self.send(GET % path.encode())

    def more(self):
        got = self.socket.recv(1 << 16)
        self.data += got
        return got

    def until(self, end):
        while end not in self.data:
            assert self.more(), f"closed before {end}: {self.data}"
        head, self.data = self.data.split(end, 1)
        return head

    def exactly(self, count):
        while len(self.data) < count:
            assert self.more(), "closed too early"
        got, self.data = self.data[:count], self.data[count:]
        return got

    def head(self):
        """Status and header of the next answer; what is between is skipped by nobody."""
        first, *lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        assert first.startswith("HTTP/1.1 "), first
        return int(first.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}

    def answer(self, method="GET"):
        status, header = self.head()
        if method == "HEAD":
            return status, header, b""
        if header.get("transfer-encoding") == "chunked":
            body = b""
            while chunk := self.chunk():
                body += chunk
            return status, header, body
        return status, header, self.exactly(int(header["content-length"]))

    def chunk(self):
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def ended(self):
        """The server closed, and said nothing more."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            pass
        return self.data == b""

    def close(self, reset=False):
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


class Server:
    def __init__(self, *limits):
        self.process = subprocess.Popen([PEER, *limits], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, bufsize=0)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        self.data, self.lines, self.clients = b"", [], []
        self.address = self.line("127.0.0.1:")

    def line(self, start):
        """The next line that begins so; the others stay for later."""
        end = time.monotonic() + PATIENCE_S
        while True:
            for line in self.lines:
                if line.startswith(start):
                    self.lines.remove(line)
                    return line
            assert self.selector.select(end - time.monotonic()), f"no line {start!r}, but {self.lines}"
            got = os.read(self.process.stdout.fileno(), 1 << 16)
            assert got, f"it ended: {self.process.stderr.read()}"
            *whole, self.data = (self.data + got).split(b"\n")
            self.lines += [line.decode() for line in whole]

    def tell(self, command):
        """Obeyed, and what it answered."""
        self.process.stdin.write(command.encode() + b"\n")
        return self.line(command.split()[0] + " ")

    def tell_all(self, command, count):
        """Repeats a command that is for exchanges until so many are there."""
        word, text = command.split(" ", 1) if " " in command else (command, "")
        done, end = 0, time.monotonic() + PATIENCE_S
        while done < count:
            assert time.monotonic() < end, f"{command}: only {done} of {count}"
            done += int(self.tell(f"{word} {text}").split()[1])
        return done

    def counters(self):
        return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", self.tell("counters"))}

    def counter(self, name, value):
        end = time.monotonic() + PATIENCE_S
        while (now := self.counters()[name]) != value:
            assert time.monotonic() < end, f"{name} is {now}, not {value}"

    def client(self, **options):
        self.clients.append(Client(self.address, **options))
        return self.clients[-1]

    def close(self):
        self.process.stdin.close()
        out = self.process.stdout.read()
        errors = self.process.stderr.read()
        assert self.process.wait(PATIENCE_S) == 0, errors
        assert (self.data + out).endswith(b"closed\n")
        for client in self.clients:
            client.close()
        return [line for line in self.lines + (self.data + out).decode().split("\n") if line.startswith("end ")]


@pytest.fixture
def serve():
    made = []

    def make(*limits):
        made.append(Server(*limits))
        return made[-1]

    yield make
    for server in made:
        if server.process.poll() is None and not server.process.stdin.closed:
            server.close()
        server.process.kill()
        server.process.wait()


def refused(client, status, code):
    """The server's own answer, and then nothing more."""
    got, header, body = client.answer()
    assert (got, header.get("connection")) == (status, "close"), body
    error = json.loads(body)["error"]
    assert (error["code"], error["type"], error["param"]) == (code, "invalid_request_error", None) and error["message"]
    assert client.ended()


SECOND = GET % b"/plain"  # what a smuggler would have answered
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
SMUGGLING = {
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "lengths in a list": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "negative length": POST + b"Content-Length: -5\r\n\r\nhello",
    "hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "no length": POST + b"Content-Length:\r\n\r\nhello",
    "space behind the length": POST + b"Content-Length: 5 \r\n\r\nhello",
    "space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding in quotes": POST + b"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
    "vertical tab in the coding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare CR in a value": POST + b"X: a\rContent-Length: 5\r\n\r\n",
    "control byte in a value": POST + b"X: a\x01\r\n\r\n",
    "space in a name": POST + b"X Y: a\r\n\r\n",
    "name of no letters": POST + b": a\r\n\r\n",
    "byte above 127 in a name": POST + b"X\xe4: a\r\n\r\n",
    "line that ends with LF": POST + b"X: a\nContent-Length: 5\r\n\r\n",
    "header that ends with LF": POST + b"X: a\r\n\n",
    "request line that ends with LF": b"GET / HTTP/1.1\nHost: x\r\n\r\n",
    "continued line": POST + b"X: a\r\n b\r\n\r\n",
    "continued length": POST + b"Content-Length: 1\r\n 0\r\n\r\n0123456789",
    "continued coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "NUL in a value": POST + b"X: a\0b\r\n\r\n",
    "NUL in a coding": POST + b"Transfer-Encoding: chunked\0x\r\n\r\n0\r\n\r\n",
    "NUL in the target": b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
    "no name and no value": POST + b":\r\n\r\n",
    "no name in the middle": POST + b": a\r\nContent-Length: 5\r\n\r\nhello",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces later": b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "path in the host": b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "target with a space": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "target with a bad escape": b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    "target with half an escape": b"GET /%2 HTTP/1.1\r\nHost: x\r\n\r\n",
    "target with a raw byte": b"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n",
    "target with a fragment": b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
    "target of a proxy": b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "star": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "method that is none": b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n",
}


def test_ambiguous_requests_end_the_connection(serve):
    server = serve()
    for name, request in SMUGGLING.items():
        client = server.client().send(request + SECOND)
        try:
            refused(client, 400, "bad_request")
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
    assert server.counters()["refused_gate"] == len(SMUGGLING)
    assert server.counters()["requests"] == 0


@pytest.mark.parametrize("request_line, status", [
    (b"GET / HTTP/2.0", 505), (b"GET / HTTP/1.9", 505), (b"GET / HTTX/1.1", 400), (b"GET /", 400),
    (b"GET / HTTP/1.1 ", 400), (b"\x16\x03\x01 a b", 400)])
def test_other_protocols_are_refused(serve, request_line, status):
    client = serve().client().send(request_line + b"\r\nHost: x\r\n\r\n" + SECOND)
    got, header, _ = client.answer()
    assert (got, header["connection"]) == (status, "close")
    assert client.ended()


@pytest.mark.parametrize("body", [b"5\r\nhelloXX\r\n", b"0x5\r\nhello\r\n", b"-5\r\nhello\r\n", b"\r\n", b"5 \r\nhello\r\n",
                                  b"fffffffffffffffff\r\n", b"zz\r\n"])
def test_bad_chunks_end_the_connection(serve, body):
    server = serve()
    client = server.client().send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n" + SECOND)
    status, header, _ = client.answer()
    assert status in (400, 413) and header["connection"] == "close"
    assert client.ended()
    assert server.line("end /echo") == "end /echo 0"


def test_headers_too_large(serve):
    server = serve()
    line = b"X-%03d: " + b"v" * 60 + b"\r\n"
    for lines, filler in ((98, b""), (20, b"Y: " + b"y" * 8000 + b"\r\n")):
        head = b"GET /plain HTTP/1.1\r\nHost: x\r\n" + b"".join(line % i for i in range(lines)) + filler
        status, header, body = server.client().send(head + b"\r\n").answer()
        assert (status, body) == (200, b"plain\n")
    for head in (b"GET /plain HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 150, b"GET /plain HTTP/1.1\r\nHost: x\r\nY: " + b"y" * 13000,
                 b"GET /plain HTTP/1.1\r\nHost: x\r\nCookie: a=" + b"y" * 7500,
                 b"GET /plain HTTP/1.1\r\nHost: x\r\nCookie: a=" + b"y" * 10000,
                 b"GET /plain?" + b"a&" * 90 + b" HTTP/1.1\r\nHost: x\r\nY: " + b"y" * 9000):
        refused(server.client().send(head + b"\r\n\r\n" + SECOND), 431, "header_too_large")
    for head, status in ((b"GET /" + b"y" * 40000, 414), (b"GET / HTTP/1.1\r\nHost: x\r\nY: " + b"y" * 40000, 431)):
        client = server.client().send(head)
        got, header, _ = client.answer()
        assert (got, header["connection"]) == (status, "close")


# ---- slow and large ----


def test_a_dripped_header_is_cut(serve):
    server = serve("header_ms=300")
    client, drip = server.client(), iter(GET % b"/plain" + b"X: y\r\n" * 10000)
    client.socket.settimeout(0.05)
    answer = None
    end = time.monotonic() + PATIENCE_S
    while answer is None and time.monotonic() < end:
        try:
            client.send(bytes([next(drip)]) if client.data == b"" else b"")
            client.more()
            answer = client.data
        except TimeoutError:
            pass
        except ConnectionError:
            answer = b""
    assert answer is not None, "the drip went on for ever"
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    server.counter("timed_out", 1)
    server.counter("connections", 0)


def test_half_a_header_gets_408(serve):
    server = serve("header_ms=200")
    refused(server.client().send(b"GET / HTTP/1.1\r\nHo"), 408, "timeout")
    refused(server.client().send(b"GE"), 408, "timeout")
    assert server.client().ended()
    client = server.client()
    assert client.get("/plain").answer()[0] == 200
    refused(client.send(b"GET / HTTP/1.1\r\nHo"), 408, "timeout")
    assert server.counters()["timed_out"] == 3


def test_a_stalled_body_gets_408(serve):
    server = serve("body_ms=400")
    refused(server.client().send(POST + b"Content-Length: 10\r\n\r\nhello"), 408, "timeout")
    assert server.line("end") == "end /echo 0"
    refused(server.client().send(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), 408, "timeout")
    assert server.line("end") == "end /echo 0"


def test_an_idle_connection_is_closed(serve):
    server = serve("idle_ms=200")
    client = server.client()
    assert client.get("/plain").answer()[0] == 200
    assert client.ended()
    assert server.counters()["timed_out"] == 0


def test_an_answer_that_nobody_takes_is_cut(serve):
    server = serve("body_ms=300")
    client = server.client(rcvbuf=4096).get("/big?n=50000000")
    assert server.line("end") == "end /big 0"
    client.close()


def test_waiting_and_streaming_have_no_deadline(serve):
    server = serve("header_ms=50", "body_ms=50", "idle_ms=50")
    slow, stream, idle = server.client().get("/slow"), server.client().get("/stream"), server.client()
    assert stream.head()[0] == 200
    assert idle.get("/plain").answer()[0] == 200
    assert idle.ended()  # every deadline is over by now, and over again
    assert server.client().ended()
    server.tell_all("answer late", 1)
    assert slow.answer()[2] == b"late\n"
    server.tell_all("say still here", 1)
    assert stream.chunk() == b"still here\n"


def test_bodies_too_large(serve):
    server = serve("body_bytes=1000")
    refused(server.client().send(POST + b"Content-Length: 1001\r\n\r\n"), 413, "body_too_large")
    assert server.line("end") == "end /echo 0"
    chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
    refused(server.client().send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3), 413, "body_too_large")
    assert server.line("end") == "end /echo 0"
    refused(server.client().send(POST + b"Content-Length: 99999999999999999999\r\n\r\n"), 400, "bad_request")
    refused(server.client().send(POST + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n" + b"x" * 5000), 413, "body_too_large")
    refused(server.client().send(b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n"), 413, "body_too_large")
    client = server.client()
    for request in (b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 2 + b"0\r\n\r\n"):
        assert client.send(POST + request).answer()[2] == b"x" * 1000
    assert server.counters()["refused_limit"] == 4


def test_an_early_answer_reaches_who_is_still_sending(serve):
    server = serve()
    client = server.client().send(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
    sent = 0
    try:
        while sent < 3000000:
            sent += client.socket.send(b"x" * 65536)
    except ConnectionError:
        pass
    status, header, body = client.answer()
    assert (status, header["connection"], body) == (403, "close", b"no\n")
    assert server.line("end") == "end /refuse 1"


def test_too_many_connections(serve):
    server = serve("connections=2")
    first, second = server.client().get("/slow"), server.client().get("/plain")
    assert second.answer()[0] == 200
    third = server.client().get("/plain")
    refused(third, 503, "too_many_connections")
    second.close()
    server.counter("connections", 1)
    assert server.client().get("/plain").answer()[0] == 200
    server.tell_all("answer x", 1)
    assert first.answer()[0] == 200


def test_too_many_connections_of_one_peer(serve):
    server = serve("per_peer=2")
    kept = [server.client(), server.client()]
    refused(server.client().get("/plain"), 429, "too_many_connections")
    assert kept[0].get("/plain").answer()[0] == 200


# ---- clients that leave ----


@pytest.mark.parametrize("reset", [False, True])
def test_leaving_in_every_phase(serve, reset):
    server = serve("header_ms=300")
    server.client().close(reset)
    server.client().send(b"GET /pl").close(reset)
    server.client().send(b"GET /plain HTTP/1.1\r\nHo").close(reset)
    body = server.client().send(POST + b"Content-Length: 10\r\n\r\nhello")
    server.counter("requests", 1)
    body.close(reset)
    assert server.line("end") == "end /echo 0"
    body = server.client().send(POST + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
    assert body.head()[0] == 100
    body.close(reset)
    assert server.line("end") == "end /echo 0"
    waiting = server.client().get("/slow")
    server.counter("requests", 3)
    waiting.close(reset)
    assert server.line("end") == "end /slow 0"
    streaming = server.client().get("/stream?hello")
    assert streaming.head()[0] == 200
    streaming.close(reset)
    assert server.line("end") == "end /stream 0"
    speaking = server.client().get("/stream")
    server.tell_all("say x", 1)
    assert speaking.head()[0] == 200
    speaking.close(reset)
    assert server.line("end") == "end /stream 0"
    again = server.client()
    assert again.get("/plain").answer()[0] == 200
    again.get("/slow")
    server.counter("requests", 7)
    again.close(reset)
    assert server.line("end /slow") == "end /slow 0"
    server.counter("connections", 0)
    assert server.close() == ["end /plain 1"]


def test_shutting_down_the_sending_side_is_leaving(serve):
    server = serve()
    client = server.client().get("/slow")
    client.socket.shutdown(socket.SHUT_WR)
    assert server.line("end") == "end /slow 0"
    client = server.client().get("/plain")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.answer()[2] == b"plain\n"


def test_leaving_with_a_full_queue(serve):
    server = serve("queue_bytes=100000")
    client = server.client(rcvbuf=4096).get("/burst?n=100000000")
    assert client.head()[0] == 200
    client.close()
    assert server.line("end") == "end /burst 0"


def test_closing_the_server_ends_every_exchange(serve):
    server = serve()
    clients = [server.client().get(path) for path in ["/slow", "/stream", "/stream", "/burst?n=100000000"]]
    clients.append(server.client().send(POST + b"Content-Length: 10\r\n\r\nhello"))
    server.client().send(b"GET /pla")
    for client in clients[1:4]:
        assert client.head()[0] == 200
    server.counter("requests", 5)
    assert sorted(server.close()) == ["end /burst 0", "end /echo 0", "end /slow 0", "end /stream 0", "end /stream 0"]


def test_an_aborted_stream_does_not_look_whole(serve):
    server = serve()
    older = server.client()
    assert older.get("/plain").answer()[0] == 200
    client = server.client().get("/stream?hello")
    assert client.head()[0] == 200
    assert client.chunk() == b"hello\n"
    server.tell_all("abort", 1)
    assert client.ended()
    assert server.line("end /stream") == "end /stream 0"
    assert server.counters()["cut"] == 0
    server.counter("connections", 1)


# ---- what must work all the same ----


def test_requests_in_one_go_are_answered_in_order(serve):
    server = serve()
    client = server.client().send(GET % b"/info?a=1" + GET % b"/slow" + POST + b"Content-Length: 3\r\n\r\nabc" + GET % b"/stream?hello"
                                  + GET % b"/plain")
    assert b"a=1" in client.answer()[2]
    server.tell_all("answer two", 1)
    assert client.answer()[2] == b"two\n"
    assert client.answer()[2] == b"abc"
    server.tell_all("finish", 1)
    assert client.answer()[2] == b"hello\n"
    assert client.answer()[2] == b"plain\n"
    assert [server.line("end") for _ in range(5)] == ["end /info 1", "end /slow 1", "end /echo 1", "end /stream 1", "end /plain 1"]


def test_what_the_server_sees(serve):
    client = serve().client().send(b"GET /info?b=%zz&%61=1+2%2f&a=3 HTTP/1.1\r\nHOST: x\r\nUser-agent: tester\r\n\r\n")
    status, header, body = client.answer()
    assert body == b"GET /info query=b=%zz&%61=1+2%2f&a=3 a=1 2/ agent=tester peer=127.0.0.1 body=0\n"
    assert header["x-good"] == "yes" and "x-bad" not in header and "x-injected" not in header and "date" in header


def test_bodies_arrive_whole_however_they_are_cut(serve):
    client = serve().client()
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n"
    for byte in chunked:
        client.send(bytes([byte]))
    assert client.answer()[2] == b"abcdefg"
    large = os.urandom(3 << 20)
    assert client.send(POST + b"Content-Length: %d\r\n\r\n" % len(large) + large).answer()[2] == large


def test_expect_continue(serve):
    server = serve("body_bytes=1000")
    client = server.client().send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert client.head() == (100, {})
    assert client.send(b"abc").answer()[2] == b"abc"
    refused(server.client().send(POST + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n"), 413, "body_too_large")
    refused(server.client().send(POST + b"Expect: tea\r\nContent-Length: 3\r\n\r\n"), 417, "expectation_failed")
    client = server.client().send(b"POST /refuse HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert client.answer()[::2] == (403, b"no\n")
    assert client.ended()


def test_head(serve):
    client = serve().client()
    client.send(b"HEAD /plain HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND)
    status, header, _ = client.answer("HEAD")
    assert (status, header["content-length"]) == (200, "6")
    assert client.answer()[2] == b"plain\n"
    client.send(b"HEAD /stream?hello HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer("HEAD")[0] == 200
    assert client.ended()


def test_http_1_0(serve):
    server = serve()
    older = server.client()
    assert older.get("/plain").answer()[0] == 200
    client = server.client().send(b"GET /plain HTTP/1.0\r\n\r\n")
    status, header, body = client.answer()
    assert (status, header["connection"], body) == (200, "close", b"plain\n")
    assert client.ended()
    client = server.client().send(b"GET /stream?hello HTTP/1.0\r\n\r\n")
    assert "transfer-encoding" not in client.head()[1]
    server.tell_all("say more", 1)
    server.tell_all("finish", 1)
    while client.more():
        pass
    assert client.data == b"hello\nmore\n"
    assert server.line("end /stream") == "end /stream 1"
    server.counter("connections", 1)


def test_a_refusal_without_a_body_keeps_the_connection(serve):
    client = serve().client().send(GET % b"/refuse" + GET % b"/plain")
    assert client.answer()[0] == 403
    assert client.answer()[0] == 200


def test_500_idle_streams_each_get_each_message(serve):
    server = serve()
    clients = [server.client().get("/stream") for _ in range(500)]
    for client in clients:
        assert client.head()[0] == 200
    for text in ("one", "two", "three"):
        assert server.tell(f"say {text}") == "say 500"
    for client in clients:
        assert [client.chunk() for _ in range(3)] == [b"one\n", b"two\n", b"three\n"]
    for client in clients[::2]:
        client.close()
    for _ in clients[::2]:
        assert server.line("end") == "end /stream 0"
    assert server.tell("finish") == "finish 250"
    for client in clients[1::2]:
        assert client.chunk() == b""
    for _ in clients[1::2]:
        assert server.line("end") == "end /stream 1"


def test_a_long_stream_waits_for_room(serve):
    server = serve("queue_bytes=20000")
    client = server.client(rcvbuf=4096).get("/burst?n=5000000")
    assert client.answer()[2] == bytes(5000000)
    assert server.line("end") == "end /burst 1"
    assert client.get("/plain").answer()[0] == 200


def test_drain(serve):
    server = serve()
    idle, slow, stream = server.client(), server.client().get("/slow"), server.client().get("/stream?hello")
    assert idle.get("/plain").answer()[0] == 200
    assert stream.head()[0] == 200
    half = server.client().send(b"GET /plain HTTP/1.1\r\n")
    server.counter("connections", 4)
    server.counter("requests", 3)
    assert server.tell("drain") == "drain 2"
    assert idle.ended()
    with pytest.raises(ConnectionError):
        server.client()
    refused(half.send(b"Host: x\r\n\r\n"), 503, "shutting_down")
    server.tell_all("answer done", 1)
    status, header, body = slow.answer()
    assert (status, header["connection"], body) == (200, "close", b"done\n")
    assert slow.ended()
    server.tell_all("say more", 1)
    server.tell_all("finish", 1)
    assert [stream.chunk() for _ in range(3)] == [b"hello\n", b"more\n", b""]
    assert stream.ended()
    server.counter("connections", 0)
    assert server.tell("drain") == "drain 0"
