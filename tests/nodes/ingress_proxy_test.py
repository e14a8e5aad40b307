# SPDX-License-Identifier: Apache-2.0
"""Routes marked `bytes`: ingress passes the exchange through to the node's own HTTP door (docs/decisions/038). The node is a peer of the
bus in Python, its door an HTTP server of Python's on a unix socket, whose paths say what it shall do."""
import contextlib
import hashlib
import http.server
import json
import os
import signal
import socket
import socketserver
import threading

import pytest

from bus import PATIENCE_S, SANITIZED, pack
from cli import wait_until
from stack import Http, Stack

MIB = 1 << 20
BIG = 200 * MIB
HELD_MAX = 24 * MIB  # of 200: what kernel, libraries and queues may hold of an exchange, with room for the allocator
BLOCK = bytes(range(256)) * 4096  # 1 MiB
NODES = """
  door: {{ kind: ingress, listen: "{http}", body_max: 64KiB }}
"""
KEY = "ls_test_0123456789"
KEYED = """
  door: {{ kind: ingress, listen: "{http}", keys: {{ alice: "sha256:%s" }} }}
""" % hashlib.sha256(KEY.encode()).hexdigest()
ROUTES = [{"method": method, "path": "/api/bytes/{path...}", "topic": "bytes.http", "summary": "Bytes", "bytes": True}
          for method in ("GET", "PUT", "POST", "DELETE")]


class Handler(http.server.BaseHTTPRequestHandler):
    """The last word of the path says what is done; everything that came is told in the answer."""
    protocol_version = "HTTP/1.1"

    def pieces(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        left = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read(min(left, MIB))):
            left -= len(piece)
            yield piece

    def json(self, status, **what):
        body = json.dumps({"line": self.requestline, "headers": [list(h) for h in self.headers.items()], **what}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def word(self):
        return self.path.split("?")[0].rsplit("/", 1)[1]

    def do_PUT(self):
        door, word = self.server.door, self.word()
        door.begun.release()
        if word == "refuse":
            self.close_connection = True
            return self.json(403)
        if word == "known":
            self.close_connection = True
            return self.json(200)
        if word in ("conflict", "fine"):
            self.close_connection = True
            self.send_response(409 if word == "conflict" else 200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            return self.wfile.write(b"5\r\nearly\r\n0\r\n\r\n")
        if word == "slow":
            assert door.go.acquire(timeout=PATIENCE_S)
        digest, size = hashlib.sha256(), 0
        try:
            for piece in self.pieces():
                digest.update(piece)
                size += len(piece)
                if word == "break":
                    return self.connection.shutdown(socket.SHUT_RDWR)
        finally:
            door.got.append((size, "Content-Length" in self.headers and size == int(self.headers["Content-Length"])))
            door.ended.release()
        self.json(201, size=size, sha256=digest.hexdigest())

    do_POST = do_PUT

    def do_DELETE(self):
        self.send_response(204)
        self.end_headers()

    def send_big(self, chunked):
        self.send_header("Transfer-Encoding", "chunked") if chunked else self.send_header("Content-Length", str(BIG))
        self.end_headers()
        try:
            for i in range(BIG // MIB):
                self.wfile.write(b"%x\r\n%s\r\n" % (MIB, BLOCK) if chunked else BLOCK)
                self.server.door.sent = i + 1
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        self.server.door.ended.release()

    def do_GET(self):
        door, word = self.server.door, self.word()
        door.begun.release()
        if word in ("big", "chunked"):
            self.send_response(200)
            return self.send_big(word == "chunked") if self.command == "GET" else self.end(BIG)
        if word == "part":
            self.send_response(206)
            self.send_header("Content-Range", "bytes 2-5/10")
            self.send_header("Set-Cookie", "door=1")
            self.send_header("X-Twice", "a")
            self.send_header("X-Twice", "b")
            self.send_header("Connection", "X-Hop")
            self.send_header("X-Hop", "1")
            self.send_header("Content-Length", "4")
            self.end_headers()
            return self.wfile.write(b"2345")
        if word == "unchanged":
            self.send_response(304)
            self.send_header("ETag", '"1"')
            return self.end_headers()
        if word == "empty":
            self.send_response(200)
            return self.end(0)
        if word in ("short", "silent"):
            if word == "short":
                self.send_response(200)
                self.send_header("Content-Length", "10")
                self.end_headers()
                self.wfile.write(b"123")
            self.close_connection = True
            return None
        if word in ("lies", "counts"):  # two lengths, or one and chunks
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + (
                b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n" if word == "lies"
                else b"Content-Length: 10\r\n\r\n0123456789"))
            self.close_connection = True
            return None
        if word == "hang":
            self.connection.recv(1)  # until ingress goes away
            return door.ended.release()
        return self.json(404 if word == "missing" else 200)

    do_HEAD = do_GET

    def end(self, length):
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, *args):
        self.open = set()
        super().__init__(*args)

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        """What is closed with bytes unread resets the connection, and that may overtake the answer."""
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(PATIENCE_S)
            while request.recv(MIB):
                pass
        self.open.discard(request)
        request.close()

    def die(self):
        """As a process that ends: kept connections are closed, too."""
        self.shutdown()
        self.server_close()
        for request in list(self.open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def finish_request(self, request, client_address):
        with contextlib.suppress(OSError):
            Handler(request, ("unix", 0), self)

    def handle_error(self, request, client_address):
        pass


class Door:
    """A node with the route, and where its bytes are served: at a unix socket, or at a port."""

    def __init__(self, stack, folder, tcp=False, client="bytes"):
        self.begun, self.ended, self.go = (threading.Semaphore(0) for _ in range(3))
        self.got, self.sent = [], 0
        self.path = str(folder / f"{client}.sock")
        if tcp:
            self.server = Server(("127.0.0.1", 0), Handler)
            self.about = {"http": f"http://127.0.0.1:{self.server.server_address[1]}"}
        else:
            class Unix(Server):
                address_family = socket.AF_UNIX
            self.server = Unix(self.path, Handler)
            self.about = {"http": f"unix:{self.path}"}
        self.server.door = self
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.peer = stack.dealer(client, routes=ROUTES)
        self.peer.ok("SUB", cid=1, serves=["bytes.http"], about=self.about)
        wait_until(lambda: stack.get("/api/bytes/x").status in (200, 401), "the route")

    def close(self):
        self.peer.send("BYE", {})
        self.peer.close()
        self.server.die()


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("proxy"), NODES)
    yield stack
    stack.close()


@pytest.fixture
def door(stack, tmp_path):
    door = Door(stack, tmp_path)
    while door.begun.acquire(blocking=False):
        pass
    yield door
    door.close()


def peak(stack):
    """Most memory that the ingress has ever had, in bytes."""
    pid, = stack.pids("door")
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def memory_held(stack, before):
    assert SANITIZED or peak(stack) - before < HELD_MAX


class Raw:
    """A connection on which everything can be said."""

    def __init__(self, stack, data=b""):
        self.socket = socket.create_connection(("127.0.0.1", stack.port), timeout=PATIENCE_S)
        self.socket.sendall(data)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def head(self):
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().rstrip(b"\r\n").decode()):
            name, value = line.split(": ", 1)
            headers[name.lower()] = value
        return status, headers

    def close(self):
        self.file.close()
        self.socket.close()


def put(path, more=b""):
    return b"PUT %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (path.encode(), more)


# ---- up

@pytest.mark.parametrize("chunked", [False, True])
def test_200_mib_go_up_with_constant_memory(stack, door, chunked):
    before, digest = peak(stack), hashlib.sha256()
    raw = Raw(stack, put("/api/bytes/up", b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % BIG))
    for _ in range(BIG // MIB):
        digest.update(BLOCK)
        raw.send(b"%x\r\n%s\r\n" % (MIB, BLOCK) if chunked else BLOCK)
    raw.send(b"0\r\n\r\n" if chunked else b"")
    status, headers = raw.head()
    answer = json.loads(raw.file.read(int(headers["content-length"])))
    assert (status, answer["size"], answer["sha256"]) == (201, BIG, digest.hexdigest())
    told = {name.lower(): value for name, value in answer["headers"]}
    assert (told.get("content-length") == str(BIG)) != chunked and (told.get("transfer-encoding") == "chunked") == chunked
    memory_held(stack, before)
    raw.send(put("/api/bytes/again", b"Content-Length: 0\r\n"))  # the connection goes on
    assert raw.head()[0] == 201
    raw.close()


def test_a_slow_door_holds_the_client_back(stack, door):
    before = peak(stack)
    raw = Raw(stack, put("/api/bytes/slow", b"Content-Length: %d\r\n" % BIG))
    assert door.begun.acquire(timeout=PATIENCE_S)
    raw.socket.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):  # the kernel's buffers, the rest waits here
        quiet = 0
        while sent < BIG:
            try:
                sent += raw.socket.send(BLOCK)
                quiet = 0
            except BlockingIOError:
                quiet += 1
                if quiet > 20:
                    raise
                wait_writable(raw.socket)
    assert sent < BIG // 2
    door.go.release()
    raw.socket.settimeout(PATIENCE_S)
    rest = BIG - sent
    while rest:
        rest -= raw.socket.send(BLOCK[:rest])
    assert raw.head()[0] == 201 and door.got[-1] == (BIG, True)
    memory_held(stack, before)
    raw.close()


def wait_writable(sock):
    import select
    select.select([], [sock], [], 0.05)


@pytest.mark.parametrize("word, expected", [("refuse", 403), ("known", 200)])
def test_what_the_door_says_early_is_told_while_the_body_comes(stack, door, word, expected):
    raw = Raw(stack, put(f"/api/bytes/{word}", b"Content-Length: %d\r\n" % BIG) + b"some")
    status, headers = raw.head()
    assert status == expected and headers["connection"] == "close"
    assert json.loads(raw.file.read(int(headers["content-length"])))["line"] == f"PUT /api/bytes/{word} HTTP/1.1"
    assert raw.file.read() == b""
    raw.close()


@pytest.mark.parametrize("word, expected", [("conflict", 409), ("fine", 200)])
def test_what_the_door_says_early_in_chunks_is_whole(stack, door, word, expected):
    raw = Raw(stack, put(f"/api/bytes/{word}", b"Content-Length: %d\r\n" % BIG) + b"some")
    assert raw.head()[0] == expected
    assert raw.file.read() == b"5\r\nearly\r\n0\r\n\r\n"
    raw.close()


def test_a_client_that_goes_away_ends_the_call(stack, door):
    raw = Raw(stack, put("/api/bytes/up", b"Content-Length: 1000\r\n") + b"some")
    assert door.begun.acquire(timeout=PATIENCE_S)
    raw.close()
    assert door.ended.acquire(timeout=PATIENCE_S)
    assert door.got[-1][1] is False


def test_a_client_that_waits_and_goes_away_ends_the_call(stack, door):
    raw = Raw(stack, b"GET /api/bytes/hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert door.begun.acquire(timeout=PATIENCE_S)
    raw.close()
    assert door.ended.acquire(timeout=PATIENCE_S)


def test_a_door_that_breaks_off_in_the_body(stack, door):
    raw = Raw(stack, put("/api/bytes/break", b"Content-Length: %d\r\n" % BIG) + BLOCK)
    status, headers = raw.head()
    assert status == 502 and "the node bytes" in json.loads(raw.file.read(int(headers["content-length"])))["detail"]
    raw.close()


# ---- down

@pytest.mark.parametrize("word", ["big", "chunked"])
def test_200_mib_come_down_to_a_slow_reader_with_constant_memory(stack, door, word):
    before = peak(stack)
    stream = stack.stream("GET", f"/api/bytes/{word}")
    assert stream.status == 200 and (stream.headers.get("content-length") == str(BIG)) == (word == "big")
    head = stream.response.read(MIB)
    last = -1
    while door.sent != last:  # nobody reads: after a while the door gets no further
        last = door.sent
        door.ended.acquire(timeout=0.2)
    assert door.sent < BIG // MIB // 2
    digest, size = hashlib.sha256(head), len(head)
    while piece := stream.response.read(MIB):
        digest.update(piece)
        size += len(piece)
    assert size == BIG and digest.hexdigest() == hashlib.sha256(BLOCK * (BIG // MIB)).hexdigest()
    stream.close()
    memory_held(stack, before)


def test_a_reader_that_goes_away_ends_the_call(stack, door):
    stream = stack.stream("GET", "/api/bytes/big")
    stream.response.read(10)
    stream.close()
    assert door.ended.acquire(timeout=PATIENCE_S) and door.sent < BIG // MIB


def test_an_answer_that_breaks_off_is_cut(stack, door):
    raw = Raw(stack, b"GET /api/bytes/short HTTP/1.1\r\nHost: localhost\r\n\r\n")
    status, headers = raw.head()
    assert status == 200 and headers["content-length"] == "10"
    assert len(raw.file.read()) < 10
    raw.close()
    answer = stack.get("/api/bytes/silent")
    assert answer.status == 502 and "broke off before it answered" in answer.json["detail"]


@pytest.mark.parametrize("word", ["lies", "counts"])
def test_an_answer_whose_length_is_in_doubt_is_cut(stack, door, word):
    raw = Raw(stack, b"GET /api/bytes/%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % word.encode())
    assert b"01234" not in raw.file.read()
    raw.close()
    assert stack.get("/api/bytes/x").status == 200


@pytest.mark.parametrize("size", [4, BIG])
def test_head_with_a_body(stack, door, size):
    raw = Raw(stack, b"HEAD /api/bytes/big HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
    with contextlib.suppress(OSError):
        for _ in range(0, size, MIB):
            raw.send(BLOCK[:min(size, MIB)])
    status, headers = raw.head()
    assert (status, headers["content-length"]) == (200, str(BIG))
    raw.close()


def test_statuses_without_a_body_and_parts(stack, door):
    raw = Raw(stack)

    def ask(method, word):
        raw.send(b"%s /api/bytes/%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (method, word))
        return raw.head()

    status, headers = ask(b"GET", b"part")
    assert status == 206 and headers["content-range"] == "bytes 2-5/10" and raw.file.read(4) == b"2345"
    assert headers["x-twice"] == "b" and "set-cookie" not in headers and "x-hop" not in headers
    status, headers = ask(b"GET", b"unchanged")
    assert status == 304 and headers["etag"] == '"1"'
    status, headers = ask(b"GET", b"empty")
    assert (status, headers["content-length"]) == (200, "0")
    assert ask(b"DELETE", b"x")[0] == 204
    status, headers = ask(b"HEAD", b"big")
    assert (status, headers["content-length"]) == (200, str(BIG))
    raw.close()
    answer = stack.get("/api/bytes/missing")
    assert answer.status == 404 and answer.json["line"] == "GET /api/bytes/missing HTTP/1.1"


# ---- what is passed on

@pytest.mark.parametrize("target", ["/api/bytes/" + "%C3%A4" * 512, "/api/bytes/a%2Fb/%C3%A4?x=%20y&x=2",
                                    "/api/bytes/../bytes/./x", "/api/bytes/a;b=c,d@e:f!$&'()*+~?",
                                    "/api/bytes/%01%ff", "/api/bytes/q?a=%0d%0a&u=http://x/y?z"])
def test_the_target_goes_through_as_it_came(stack, door, target):
    raw = Raw(stack, b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target.encode())
    status, headers = raw.head()
    assert status == 200, raw.file.read(int(headers["content-length"]))
    assert json.loads(raw.file.read(int(headers["content-length"])))["line"] == f"GET {target.rstrip('?')} HTTP/1.1"
    raw.close()


def test_headers_that_are_passed_on_and_those_that_are_not(stack, door):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    given = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "k", "X-Lineshaft-Principal": "root", "Range": "bytes=0-1",
             "X-Lineshaft-Run": "r1", "If-None-Match": '"1"', "Connection": "X-Mine", "X-Mine": "1", "Keep-Alive": "1", "TE": "trailers",
             "traceparent": trace, "X-Request-Id": "mine", "X-Empty": ""}
    answer = stack.call("GET", "/api/bytes/x", headers=given)
    told = {name.lower(): value for name, value in answer.json["headers"]}
    assert {"authorization", "cookie", "x-api-key", "x-lineshaft-principal", "x-mine", "keep-alive", "te"}.isdisjoint(told)
    assert (told["range"], told["x-lineshaft-run"], told["if-none-match"], told["x-empty"]) == ("bytes=0-1", "r1", '"1"', "")
    assert told["x-request-id"] == answer.headers["x-request-id"] == "mine"
    assert told["traceparent"][:36] == trace[:36] and told["traceparent"] != trace
    assert "traceparent" in {name.lower() for name, _ in stack.get("/api/bytes/x").json["headers"]}


def test_the_principal_and_the_token_of_a_private_port(tmp_path):
    stack = Stack(tmp_path, KEYED, LINESHAFT_TOKEN="secret of this start")
    stack.key = KEY
    door = Door(stack, tmp_path, tcp=True)
    try:
        told = {name.lower(): value for name, value in stack.get("/api/bytes/x").json["headers"]}
        assert told["x-lineshaft-principal"] == "alice" and told["authorization"] == "Bearer secret of this start"
        nobody = Raw(stack, put("/api/bytes/up", b"Content-Length: 1000000\r\n"))
        assert nobody.head()[0] == 401
        nobody.close()
        assert not door.got
    finally:
        door.close()
        stack.close()


# ---- where it goes

def test_a_route_that_is_not_there_is_refused_at_once(stack):
    raw = Raw(stack, put("/api/nowhere/x", b"Content-Length: %d\r\n" % BIG) + b"some")
    status, headers = raw.head()
    assert status == 404 and "/docs" in json.loads(raw.file.read(int(headers["content-length"])))["detail"]
    raw.close()
    assert stack.get("/api/nowhere/x").status == 404


def test_a_node_that_is_killed_is_never_taken_for_absent(tmp_path):
    """What MLflow's clients try again are 5xx; a 404 would end a training. The body is far larger than what may cross the bus."""
    stack = Stack(tmp_path, NODES + "  files: {{ kind: artifacts, restart: {{ delay: 1s }} }}\n")
    statuses = set()

    def status():
        raw = Raw(stack, put("/api/2.0/mlflow-artifacts/artifacts/a/x", b"Content-Length: %d\r\n" % MIB))
        try:
            with contextlib.suppress(OSError):  # it may be refused before the body is there
                raw.send(BLOCK)
            statuses.add(found := raw.head()[0])
        except (OSError, IndexError):
            return "cut"  # clients try this again, too
        finally:
            raw.close()
        return found

    wait_until(lambda: stack.get("/api/2.0/mlflow-artifacts/artifacts").status == 200, "the store there")
    for _ in range(2):
        os.kill(stack.pids("files")[0], signal.SIGKILL)
        wait_until(lambda: status() == 503, "away")
        wait_until(lambda: status() == 200, "there again")
    os.kill(stack.pids("files")[0], signal.SIGKILL)
    wait_until(lambda: "/api/2.0/mlflow-artifacts/artifacts" not in stack.get("/openapi.json").json["paths"], "its routes gone")
    os.kill(stack.broker_pid(), signal.SIGKILL)
    wait_until(lambda: status() == 200, "there again after both")
    stack.close()
    assert statuses <= {200, 502, 503}


def test_a_route_over_the_bus_keeps_its_body_when_it_had_to_be_asked_for(stack):
    """The first request to it: ingress may know of it already, or not yet."""
    route = {"method": "PUT", "path": "/api/late/{name}", "topic": "late.http"}
    peer = stack.dealer("late", routes=[route])
    peer.ok("SUB", cid=1, serves=["late.http"])
    answers = []
    thread = threading.Thread(target=lambda: answers.append(stack.call("PUT", "/api/late/x", b"y" * 5000)))
    thread.start()
    request = peer.expect("REQ")
    assert request.frames[-1] == b"y" * 5000
    peer.send("REP", {"rid": request.head["rid"], "n": 0}, b"{}")
    thread.join()
    assert answers[0].status == 200
    raw = Raw(stack, put("/api/late/x", b"Content-Length: 100000\r\n") + b"z")
    assert raw.head()[0] == 413  # body_max holds for what goes over the bus
    raw.close()
    peer.send("BYE", {})
    peer.close()


def test_a_node_that_is_away_or_has_no_door(stack, tmp_path):
    door = Door(stack, tmp_path)
    door.server.die()
    answer = stack.get("/api/bytes/x")
    assert answer.status == 503 and "the node bytes, which serves this, cannot be reached" in answer.json["detail"]
    assert answer.headers["retry-after"] == "1"
    raw = Raw(stack, put("/api/bytes/up", b"Content-Length: %d\r\n" % BIG) + b"some")
    assert raw.head()[0] == 503
    raw.close()
    door.peer.ok("SUB", cid=1, serves=["bytes.http"], about={})
    wait_until(lambda: "has not said where its door is" in stack.get("/api/bytes/x").json["detail"], "no door")
    door.peer.send("BYE", {})
    door.peer.close()


@pytest.mark.parametrize("head", [b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 4\r\nContent-Length: 5\r\n",
                                  b"Transfer-Encoding: xchunked\r\n", b"Content-Length: +4\r\n", b"Transfer-Encoding : chunked\r\n",
                                  b"Content-Length: 4\r\n smuggled: 1\r\n"])
def test_requests_that_two_servers_could_read_differently_go_nowhere(stack, door, head):
    raw = Raw(stack, put("/api/bytes/up", head) + b"0\r\n\r\nGET /api/bytes/hang HTTP/1.1\r\nHost: x\r\n\r\n")
    assert raw.head()[0] in (400, 501)
    raw.close()
    assert not door.begun.acquire(blocking=False)


def test_a_body_that_looks_like_a_request_is_a_body(stack, door):
    body = b"GET /api/bytes/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = stack.call("PUT", "/api/bytes/up", body)
    assert answer.status == 201 and answer.json["sha256"] == hashlib.sha256(body).hexdigest()


def test_the_document_tells_of_bytes(stack, door):
    path = stack.get("/openapi.json").json["paths"]["/api/bytes/{path}"]
    assert list(path["put"]["requestBody"]["content"]) == ["application/octet-stream"]
    assert list(path["get"]["responses"]["200"]["content"]) == ["*/*"] and "requestBody" not in path["delete"]


def test_it_stops_while_bytes_are_under_way(tmp_path):
    stack = Stack(tmp_path, NODES)
    door = Door(stack, tmp_path)
    raw = Raw(stack, put("/api/bytes/up", b"Content-Length: %d\r\n" % BIG) + BLOCK)
    stream = stack.stream("GET", "/api/bytes/big")
    assert stack.up.end(signal.SIGTERM) == 0
    raw.close()
    stream.close()
    door.peer.close()
    door.server.die()
    stack.close()
