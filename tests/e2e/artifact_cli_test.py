# SPDX-License-Identifier: Apache-2.0
"""lineshaft artifact: bytes to and from the door of an `artifacts` node, in a form that misbehaves on command, and the real one."""
import base64
import collections
import contextlib
import hashlib
import http.server
import json
import os
import pty
import shutil
import signal
import socketserver
import subprocess
import threading
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from bus import LINESHAFT, PATIENCE_S, ROOT, SANITIZED, die_with_parent, free_base
from cli import TRACE, Background, environment, objects, ok, run, wait_until
from train_test import text_with_a_rule

Stored = collections.namedtuple("Stored", "data type run")
Seen = collections.namedtuple("Seen", "method path headers size")
NODE = os.path.join(os.path.dirname(LINESHAFT), "lineshaft-node")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def digest(data):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


class Handler(http.server.BaseHTTPRequestHandler):
    """docs/nodes/artifacts-api.md, as short as can be."""
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "peer"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, code, text, **headers):
        self.answer(status, {"error": {"message": text, "code": code, "type": "x"}}, **headers)

    def body(self):
        """The hash of large bodies is enough."""
        whole, size, sum = bytearray(), 0, hashlib.sha256()
        for piece in self.pieces():
            size += len(piece)
            sum.update(piece)
            if size < 1 << 24:
                whole += piece
        return bytes(whole), size, sum.hexdigest()

    def pieces(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while (size := int(self.rfile.readline(), 16)):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            left -= len(piece)
            yield piece

    def note(self, size=0):
        self.door.seen.append(Seen(self.command, self.path, dict(self.headers), size))

    @property
    def door(self):
        return self.server.door

    def linger(self):
        if self.door.hangs:
            self.door.hangs.wait(PATIENCE_S)

    def key(self):
        return unquote(urlsplit(self.path).path.removeprefix("/api/artifacts/"))

    def do_PUT(self):
        data, size, sum = self.body()
        self.note(size)
        door, key = self.door, self.key()
        self.linger()
        if door.busy:
            door.busy -= 1
            return self.refuse(503, "BUSY", "later", Retry_After="1")
        if door.wants and self.headers.get("Authorization") != door.wants:
            return self.answer(401, {"detail": "no"})
        if self.headers.get("If-None-Match") == "*" and key in door.objects and door.objects[key].data != data:
            return self.refuse(412, "CONFLICT", f"{key} has another content")
        if ".." in key.split("/"):
            return self.refuse(400, "BAD_VALUE", f'"{key}" has a segment ".."')
        there = key in door.objects
        door.objects[key] = Stored(data, self.headers["Content-Type"], self.headers.get("X-Lineshaft-Run"))
        if door.spools:
            return self.answer(202, {"path": key, "state": "spooled"})
        self.answer(200 if there else 201, {**door.about(key), "size": size, "sha256": door.lies or sum})

    def do_GET(self):
        self.note()
        self.linger()
        if self.door.refuses:
            return self.refuse(*self.door.refuses, Retry_After="1")
        path = urlsplit(self.path)
        if path.path == "/api/artifacts":
            return self.answer(200, self.door.page(**{key: value[0] for key, value in parse_qs(path.query).items()}))
        stored = self.door.objects.get(self.key())
        if not stored:
            return self.refuse(404, "NOT_FOUND", f"there is no artifact {self.key()}")
        data, etag, start = stored.data, f'"{sha(stored.data)[:8]}"', 0
        headers = {"ETag": etag, **({"Repr_Digest": digest(data)} if self.door.digests else {})}
        if (wanted := self.headers.get("Range")) and self.headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self.answer(416, Content_Range=f"bytes */{len(data)}")
            headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.door.give(self, 206 if start else 200, data[start:], headers)

    def do_DELETE(self):
        self.note()
        self.linger()
        key, below = self.key(), "recursive=true" in self.path
        names = [name for name in self.door.objects if name == key or (below and name.startswith(key + "/"))]
        for name in names:
            del self.door.objects[name]
        self.send_response(204)
        self.send_header("X-Lineshaft-Deleted", str(len(names)))
        self.end_headers()


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads, request_queue_size = True, 64


class TcpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True


class Door:
    def __init__(self, folder=None):
        self.objects, self.seen = {}, []
        self.busy, self.spools, self.lies, self.wants, self.digests, self.max = 0, False, None, None, True, 1000
        self.cuts = []      # of the next answers to GET: only so many bytes
        self.bends = False  # a bit of each body
        self.hold = None    # an event: half of a body, the rest when it is set
        self.hangs = None   # an event: no answer before it is set
        self.refuses = None # each GET: status, code, text
        if folder:
            self.socket = str(folder / "door")
            self.server = UnixServer(self.socket, Handler)
            self.address = "unix:" + self.socket
        else:
            self.server = TcpServer(("127.0.0.1", 0), Handler)
            self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.server.door = self
        self.server.handle_error = lambda *_: None  # whoever was let wait has gone
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def give(self, handler, status, data, headers):
        cut = self.cuts.pop(0) if self.cuts else None
        sent = bytes([data[0] ^ 1]) + data[1:] if self.bends and data else data
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with contextlib.suppress(OSError):
            half = len(sent) // 2 if self.hold else 0
            if half:
                handler.wfile.write(sent[:half])
                handler.wfile.flush()
                self.hold.wait(PATIENCE_S)
            handler.wfile.write(sent[half:cut])
        handler.close_connection = cut is not None

    def about(self, key):
        data = self.objects[key].data
        return {"path": key, "uri": f"file:///store/{key}", "size": len(data), "sha256": sha(data), "etag": f'"{sha(data)[:8]}"',
                "content_type": self.objects[key].type, "modified": "2026-11-23T10:00:00.000Z", "version_id": None}

    def page(self, prefix="", recursive="false", after="", max="1000"):
        names = set()
        for key in self.objects:
            if key.startswith(prefix):
                deeper = key[len(prefix):].partition("/")
                names.add(prefix + deeper[0] + "/" if deeper[1] and recursive == "false" else key)
        names = sorted(name for name in names if name > after)
        page = names[:min(int(max), self.max)]
        return {"objects": [self.about(name) for name in page if name in self.objects],
                "folders": [name for name in page if name not in self.objects], "next": page[-1] if len(names) > len(page) else None}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def announce(bus, about):
    """A worker of `artifacts.>` that says where its door is, and answers nothing."""
    peer = bus.dealer()
    peer.ok("HELLO", v=1, client="files", hb=60000)
    peer.ok("SUB", cid=1, serves=["artifacts.>"], about=about)


@pytest.fixture
def door(bus, tmp_path_factory):
    door = Door(tmp_path_factory.mktemp("d"))
    announce(bus, {"http": door.address})
    door.url = bus.url
    yield door
    door.close()


LAB = """
lineshaft: 1
name: lab
broker: {{ listen: "tcp://127.0.0.1:{port}", data: bus }}
streams: {{ events: {{ topics: [">"], segment: 1MiB }} }}
nodes:
  files: {{ kind: artifacts, store: "file:store" }}
"""


class RealNode:
    """The kind `artifacts` with a folder, as a topology has it, and more nodes."""

    def __init__(self, folder, more=""):
        port = free_base()
        (folder / "lab.yaml").write_text(LAB.format(port=port) + more)
        self.url, self.up = f"tcp://127.0.0.1:{port}", Background("up", "lab.yaml", cwd=folder)
        wait_until(lambda: run("artifact", "ls", url=self.url).status == 0, "the node has its door")

    def close(self):
        self.up.close()


def has_node():
    return "artifacts" in subprocess.run([NODE, "--list"], capture_output=True, text=True, check=False).stdout


@pytest.fixture(params=["stand-in", "node"])
def store(request, tmp_path_factory):
    if request.param == "stand-in":
        yield request.getfixturevalue("door")
        return
    if not has_node():
        pytest.skip("lineshaft-node has no kind artifacts")
    node = RealNode(tmp_path_factory.mktemp("stack"))
    yield node
    node.close()


def artifact(store, *args, **how):
    return ok("artifact", *args, url=store.url, **how)


@pytest.fixture
def here(tmp_path_factory):
    """A folder with nothing in it."""
    return tmp_path_factory.mktemp("here")


# ---- what holds for every door

@pytest.mark.short
def test_what_is_put_comes_back_and_its_hash_is_told(store, here):
    data = os.urandom(3 << 20)
    (here / "a.bin").write_bytes(data)
    told = json.loads(artifact(store, "put", "--json", "--run", "r1", "--type", "application/x-thing", here / "a.bin", "1/r1/model.bin"))
    assert (told["path"], told["size"], told["sha256"]) == ("1/r1/model.bin", len(data), sha(data))
    got = json.loads(artifact(store, "get", "--json", "1/r1/model.bin", here / "b.bin"))
    assert (got["sha256"], got["verified"], got["resumed_from"]) == (sha(data), True, 0)
    assert (here / "b.bin").read_bytes() == data and sorted(os.listdir(here)) == ["a.bin", "b.bin"]
    assert artifact(store, "put", here / "a.bin", "x/", cwd=here).startswith(f"x/a.bin: 3.0 MiB, SHA-256 {sha(data)}")


def test_odd_keys_and_uris_of_mlflow(store, here):
    (here / "f").write_bytes(b"odd")
    for key, same in (("a b/\u00fc%41#?&+;.bin", None), ("x", "mlflow-artifacts:/x"), ("r 1/y", "mlflow-artifacts://host:1/r%201/y")):
        artifact(store, "put", "f", key, cwd=here)
        assert artifact(store, "get", same or key, "-") == "odd"
        assert key in artifact(store, "ls", "-r").splitlines()


def test_an_empty_file_and_standard_input(store, here):
    (here / "empty").write_bytes(b"")
    artifact(store, "put", "empty", cwd=here)
    data = os.urandom(100000)
    told = json.loads(artifact(store, "put", "--json", "-", "from/pipe", stdin=data))
    assert (told["size"], told["sha256"]) == (len(data), sha(data))
    artifact(store, "get", "empty", "from/pipe", "out/", cwd=here)
    assert (here / "out/empty").read_bytes() == b"" and (here / "out/pipe").read_bytes() == data


def test_folders_go_and_come_back_as_they_were(store, here):
    for name in ("in/a", "in/deep/b", "in/deep/c d"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    (here / "in/link").symlink_to("a")
    artifact(store, "put", "-r", "in", "keep/", cwd=here)
    artifact(store, "put", "-r", "in/", "bare", cwd=here)
    below = ["a", "deep/b", "deep/c d", "link"]
    assert artifact(store, "ls", "-r", "keep/").splitlines() == [f"keep/in/{name}" for name in below]
    assert artifact(store, "ls", "bare").splitlines() == ["bare/a", "bare/deep/", "bare/link"]
    assert sorted(artifact(store, "ls").splitlines()) == ["bare/", "keep/"]
    artifact(store, "get", "-r", "keep/in", "out/", cwd=here)
    artifact(store, "get", "-r", "bare/", "flat", cwd=here)
    assert (here / "out/in/deep/c d").read_text() == "in/deep/c d" and (here / "flat/link").read_text() == "in/a"
    assert artifact(store, "rm", "-r", "keep/", "bare/deep") == "keep/: removed\nbare/deep/: removed\n"
    assert artifact(store, "ls", "-r").splitlines() == ["bare/a", "bare/link"]
    artifact(store, "rm", "bare/a", "never/there")
    entries = objects(artifact(store, "ls", "--json"))
    assert entries == [{"folder": "bare/"}]
    table = artifact(store, "ls", "-l", "bare").splitlines()
    assert table[0].split() == ["SIZE", "MODIFIED", "SHA-256", "KEY"] and table[1].split()[-1] == "bare/link"


def test_no_replace_keeps_what_is_there_on_both_sides(store, here):
    (here / "one").write_text("one")
    (here / "two").write_text("two")
    artifact(store, "put", "one", "k", cwd=here)
    artifact(store, "put", "--no-replace", "one", "k", cwd=here)  # the same content is no harm
    result = run("artifact", "put", "--no-replace", "two", "k", url=store.url, cwd=here)
    assert result.status == 1 and "CONFLICT" in result.err and artifact(store, "get", "k", "-") == "one"
    result = run("artifact", "get", "--no-replace", "k", "two", url=store.url, cwd=here)
    assert result.status == 1 and "two is there already" in result.err and (here / "two").read_text() == "two"


def test_what_is_not_there_or_no_key_is_said(store, here):
    (here / "f").write_text("f")
    result = run("artifact", "get", "no/such", "f2", url=store.url, cwd=here)
    assert result.status == 1 and "no/such" in result.err and sorted(os.listdir(here)) == ["f"]
    result = run("artifact", "put", "f", "a/../b", url=store.url, cwd=here)
    assert result.status == 1 and "BAD_VALUE" in result.err
    result = run("artifact", "put", "f", "none", "x/", url=store.url, cwd=here)
    assert result.status == 1 and "none: No such file" in result.err and artifact(store, "ls").splitlines() == ["x/"]
    assert run("artifact", "get", "-r", "nothing", "out", url=store.url, cwd=here).status == 1


def test_folders_and_what_is_not_there_are_told_apart(store, here):
    (here / "f").write_text("f")
    artifact(store, "put", "f", "notes/a", cwd=here)
    for words, what in ((("rm", "notes"), "-r removes all in it"), (("rm", "notes/"), "-r removes all in it"),
                        (("get", "notes", "out"), "-r gets all that is in it")):
        result = run("artifact", *words, url=store.url, cwd=here)
        assert result.status == 1 and "notes: is a folder: " + what in result.err and result.out == ""
    assert artifact(store, "rm", "nope", "notes/a") == "nope: was not there\nnotes/a: removed\n"
    assert artifact(store, "rm", "-r", "notes") == "notes/: was not there\n" and sorted(os.listdir(here)) == ["f"]
    assert json.loads(artifact(store, "rm", "--json", "nope")) == {"path": "nope", "deleted": False, "recursive": False}


def test_a_key_that_is_too_long_is_not_repeated_whole(store, here):
    (here / "f").write_text("f")
    for words in (["put", "f", "k" * 3000], ["get", "k" * 3000], ["rm", "k" * 3000], ["put", "k" * 3000], ["k" * 3000]):
        result = run("artifact", *words, url=store.url, cwd=here)
        assert result.status in (1, 2) and len(result.err) < 400, result


def memory_of(store, name, here):
    """The most that a put had, in KiB; a new process begins with ours."""
    child = subprocess.Popen([LINESHAFT, "artifact", "put", name], cwd=here, env=environment(store.url), preexec_fn=die_with_parent)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_maxrss


def test_memory_does_not_grow_with_the_file(store, here):
    for name, size in (("small", 1), ("large", 200 << 20)):
        with open(here / name, "wb") as file:
            file.truncate(size)
    small = memory_of(store, "small", here)
    large = memory_of(store, "large", here)
    assert SANITIZED or large - small < 16 << 10, (small, large)


# ---- a door that does what it is told to

def test_the_sum_the_run_and_the_type_go_along(door, here):
    (here / "f").write_bytes(b"data")
    artifact(door, "put", "--run", "r1", "--type", "text/x", "f", cwd=here)
    headers = door.seen[-1].headers
    assert (headers["Repr-Digest"], headers["X-Lineshaft-Run"], headers["Content-Type"]) == (digest(b"data"), "r1", "text/x")
    assert headers["Content-Length"] == "4" and "Authorization" not in headers and "traceparent" not in headers
    artifact(door, "put", "-", "k", stdin=b"data", LINESHAFT_TRACEPARENT=f"00-{TRACE}-00f067aa0ba902b7-01")
    headers = door.seen[-1].headers
    assert headers["Transfer-Encoding"] == "chunked" and "Repr-Digest" not in headers
    assert headers["traceparent"] == f"00-{TRACE}-00f067aa0ba902b7-01"


def test_another_hash_in_the_answer_is_an_error(door, here):
    (here / "f").write_bytes(b"data")
    door.lies = "0" * 64
    for what in (["f"], ["-", "k"]):
        result = run("artifact", "put", *what, url=door.url, cwd=here, stdin=b"data")
        assert result.status == 1 and "CORRUPT" in result.err and result.out == ""


def test_a_store_that_is_away_is_said_and_well(door, here):
    (here / "f").write_bytes(b"data")
    door.spools = True
    assert artifact(door, "put", "f", cwd=here) == "f: spooled; it will be stored when the store is back (artifact.stored tells)\n"
    told = json.loads(artifact(door, "put", "--json", "f", cwd=here))
    assert told == {"path": "f", "state": "spooled", "size": 4, "sha256": sha(b"data")}


def test_a_model_that_is_only_spooled_is_said_in_the_log_of_its_run(bus, door, here):
    door.spools = True
    with Tracker(bus, "mlflow-artifacts:/1/r1/artifacts"):
        result = run("train", "--order", 2, "--run=r1", "--name", "m", text_with_a_rule(here / "text.txt"), url=bus.url)
    assert result.status == 0 and "model/m.ngram: spooled; it will be stored when the store is back" in result.err


def test_patience_has_the_end_that_was_asked_for(here):
    """The store's door is named: of so little time none is left for finding it by way of a broker."""
    door = Door()
    (here / "f").write_bytes(b"data")
    door.objects["k"] = Stored(b"x" * 1000, "", None)
    door.hangs = threading.Event()
    try:
        said = run("artifact", "ls", "--http", door.address, "--timeout", "3s")
        assert said.status == 1 and "in time: 3.0 s in all (TIMEOUT)" in said.err
        assert said.err.count("the store does not answer yet; waiting up to") == 1
        for words, what in ((("put", "f", "g"), "may be stored all the same"), (("get", "k"), "did not answer for 100 ms"),
                            (("rm", "k"), "100 ms in all"), (("put", "-r", "."), "may be stored all the same")):
            late = run("artifact", *words, "--http", door.address, "--timeout", "100ms", cwd=here)
            assert late.status == 1 and what in late.err and late.err.count("TIMEOUT") == 1, late
    finally:
        door.hangs.set()
        door.close()


def test_what_is_spooled_is_said_and_not_waited_for(door, here):
    door.refuses = (503, "SPOOLED", "k is spooled, and not in the store yet")
    result = run("artifact", "get", "k", url=door.url, cwd=here)
    assert result.status == 1 and "k is spooled, and not in the store yet (SPOOLED)" in result.err and len(door.seen) == 1


def test_a_busy_door_is_asked_again(door, here):
    (here / "f").write_bytes(b"data")
    door.busy = 1
    artifact(door, "put", "f", cwd=here)
    assert [seen.size for seen in door.seen] == [4, 4] and door.objects["f"].data == b"data"


def test_a_pipe_is_sent_once_only(door):
    door.busy = 1
    result = run("artifact", "put", "-", "k", url=door.url, stdin=b"data")
    assert result.status == 1 and "later (BUSY)" in result.err and len(door.seen) == 1


def test_a_download_that_breaks_off_goes_on_where_it_was(door, here):
    data = os.urandom(500000)
    door.objects["k"] = Stored(data, "t", None)
    door.cuts = [200000, 100000]
    told = json.loads(artifact(door, "get", "--json", "k", "f", cwd=here))
    assert (here / "f").read_bytes() == data and told["sha256"] == sha(data)
    assert [seen.headers.get("Range") for seen in door.seen] == [None, "bytes=200000-", "bytes=300000-"]
    assert door.seen[1].headers["If-Range"] == f'"{sha(data)[:8]}"'


def test_after_a_kill_the_next_call_goes_on(door, here):
    data = os.urandom(400000)
    door.objects["k"] = Stored(data, "t", None)
    door.hold = threading.Event()
    child = subprocess.Popen([LINESHAFT, "artifact", "get", "k", "f"], cwd=here, env=environment(door.url), preexec_fn=die_with_parent)
    part = here / "f.part"
    wait_until(lambda: part.exists() and part.stat().st_size == 200000, "half of it came")
    child.send_signal(signal.SIGKILL)
    child.wait()
    door.hold.set()
    told = json.loads(artifact(door, "get", "--json", "k", "f", cwd=here))
    assert told["resumed_from"] == 200000 and (here / "f").read_bytes() == data and os.listdir(here) == ["f"]
    assert door.seen[-1].headers["Range"] == "bytes=200000-"


@pytest.mark.parametrize("part, etag, asked", [(b"old", '"0"', "bytes=3-"), (b"old", None, None), (b"x" * 99, "ours", "bytes=99-")])
def test_a_part_that_does_not_fit_is_thrown_away(door, here, part, etag, asked):
    door.objects["k"] = Stored(b"new content", "t", None)
    (here / "f.part").write_bytes(part)
    if etag:
        (here / "f.part.etag").write_text((f'"{sha(b"new content")[:8]}"' if etag == "ours" else etag) + "\n")
    told = json.loads(artifact(door, "get", "--json", "k", "f", cwd=here))
    assert door.seen[0].headers.get("Range") == asked and told["resumed_from"] == 0
    assert (here / "f").read_bytes() == b"new content" and os.listdir(here) == ["f"]


def test_bytes_that_changed_on_the_way_are_not_kept(door, here):
    door.objects["k"] = Stored(b"content", "t", None)
    door.bends = True
    result = run("artifact", "get", "k", "f", url=door.url, cwd=here)
    assert result.status == 1 and "CORRUPT" in result.err and os.listdir(here) == []
    assert run("artifact", "get", "k", "-", url=door.url).status == 1
    door.digests = False
    assert json.loads(artifact(door, "get", "--json", "k", "f", cwd=here))["verified"] is False


def test_lists_are_read_page_by_page(door):
    door.max = 2
    door.objects = {f"d/{i}": Stored(b"", "t", None) for i in range(5)} | {f"d/s{i}/x": Stored(b"", "t", None) for i in range(2)}
    assert artifact(door, "ls", "d/").splitlines() == [*(f"d/{i}" for i in range(5)), "d/s0/", "d/s1/"]
    assert len([seen for seen in door.seen if seen.method == "GET"]) == 4


def test_a_list_cannot_make_us_write_elsewhere(door, here):
    door.objects["d/../../evil"] = Stored(b"x", "t", None)
    result = run("artifact", "get", "-r", "d", "out/", url=door.url, cwd=here)
    assert result.status == 1 and "which is no path below d/" in result.err and os.listdir(here) == []


def terminal_error(*args, url, cwd):
    """What a command writes to standard error when that is a terminal."""
    master, slave = pty.openpty()
    child = subprocess.Popen([LINESHAFT, *args], stdout=subprocess.DEVNULL, stderr=slave, cwd=cwd, env=environment(url, TERM="xterm"),
                             preexec_fn=die_with_parent)
    os.close(slave)
    text = b""
    with contextlib.suppress(OSError):
        while (piece := os.read(master, 65536)):
            text += piece
    os.close(master)
    assert child.wait(PATIENCE_S) == 0, text
    return text.decode()


def test_a_terminal_has_a_bar_and_a_runner_lines(door, here):
    (here / "some file").write_bytes(bytes(1 << 20))
    shown = terminal_error("artifact", "put", "some file", url=door.url, cwd=here)
    assert "sending some file  [" in shown and "of 1.0 MiB" in shown and shown.endswith("\r\x1b[K")
    assert terminal_error("artifact", "put", "--quiet", "some file", url=door.url, cwd=here) == ""
    result = run("artifact", "get", "some file", "f", url=door.url, cwd=here, LINESHAFT_TRY="t1")
    lines = result.err.splitlines()
    assert lines and all(line.startswith("::progress 0.") and "getting some file" in line for line in lines), result
    assert run("artifact", "get", "some file", "f", url=door.url, cwd=here).err == ""


# ---- finding the door

def test_an_ingress_is_named_with_its_key(here):
    door = Door()
    door.wants = "Bearer k1"
    (here / "f").write_text("f")
    nobody = f"tcp://127.0.0.1:{free_base()}"
    try:
        ok("artifact", "put", "--http", door.address + "/", "f", url=nobody, cwd=here, LINESHAFT_API_KEY="k1")
        ok("artifact", "put", "f", url=nobody, cwd=here, LINESHAFT_API_KEY="k1", LINESHAFT_HTTP_URL=door.address)
        result = run("artifact", "put", "--http", door.address, "f", cwd=here)
        assert result.status == 1 and "LINESHAFT_API_KEY" in result.err
    finally:
        door.close()


def test_a_door_on_a_port_wants_the_token_of_nodes(bus, here):
    door = Door()
    door.wants = "Bearer t1"
    (here / "f").write_text("f")
    announce(bus, {"http": door.address})
    try:
        ok("artifact", "put", "f", url=bus.url, cwd=here, LINESHAFT_TOKEN="t1")
        result = run("artifact", "put", "f", url=bus.url, cwd=here)
        assert result.status == 1 and "LINESHAFT_TOKEN" in result.err and "--http" in result.err
    finally:
        door.close()


def test_a_door_that_comes_a_little_later_is_waited_for(bus, here):
    door = Door(here)
    try:
        with Background("artifact", "ls", url=bus.url) as listing:
            listing.wait_for("no `artifacts` node is on the bus yet; waiting up to")
            door.objects["k"] = Stored(b"", "", None)
            announce(bus, {"http": door.address})
            listing.wait_for("k")
            assert listing.end() == 0
    finally:
        door.close()


def test_a_door_that_cannot_be_reached_is_said(bus, here):
    (here / "f").write_text("f")
    result = run("artifact", "put", "--timeout", "1s", "f", url=bus.url, cwd=here)
    assert result.status == 1 and "no `artifacts` node is on the bus" in result.err and "--http" in result.err
    announce(bus, {"http": f"unix:{here}/no-door"})
    result = run("artifact", "put", "f", url=bus.url, cwd=here)
    assert result.status == 3 and "which this machine does not have" in result.err and "--http" in result.err
    result = run("artifact", "ls", "--http", f"http://127.0.0.1:{free_base()}")
    assert result.status == 3 and "UNREACHABLE" in result.err
    result = run("artifact", "ls", "--timeout", "200ms", url=f"tcp://127.0.0.1:{free_base()}")
    assert result.status == 3 and "LINESHAFT_URL" in result.err


@pytest.mark.parametrize("args, words", [
    ([], "what is to be done"),
    (["pat"], 'did you mean "put"'),
    (["put"], "which file"),
    (["put", "-"], "under which KEY"),
    (["put", "a", "b", "c"], "ends with a slash"),
    (["get", "a", "b", "c"], "go into a folder"),
    (["get", "a/", "out/"], "-r gets all"),
    (["rm"], "which key"),
    (["ls", "a", "b"], "one PREFIX"),
    (["put", "a", "--run", ""], "--run"),
    (["put", "a", "--http", "host:1"], "no URL"),
    (["put", "a", "--replace"], "there is no option --replace"),
])
def test_wrong_usage_is_said(args, words):
    result = run("artifact", *args)
    assert result.status == 2 and words in result.err and "lineshaft help artifact" in result.err


# ---- models in the store

class Tracker:
    """Answers tracker.runs.get: a run with its files in the store, that has ended when it is asked for the second time."""

    def __init__(self, bus, uri):
        self.infos = [{"status": "RUNNING", "artifact_uri": uri}, {"status": "FINISHED", "artifact_uri": uri}]
        self.over, self.peer = threading.Event(), bus.dealer()
        self.peer.ok("HELLO", v=1, client="tracker", hb=60000)
        self.peer.ok("SUB", cid=1, serves=["tracker.runs.get"])
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.over.is_set():
            if self.peer.socket.poll(20):
                info = self.infos.pop(0) if len(self.infos) > 1 else self.infos[0]
                self.peer.send("REP", body=json.dumps({"run": {"info": info}}).encode(), cid=1, rid=self.peer.expect("REQ").head["rid"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(PATIENCE_S)


def outputs(path):
    return {key: json.loads(value) for key, value in (line.split("=", 1) for line in path.read_text().splitlines())}


def run_events(bus, topic):
    return [event["data"] for event in objects(ok("tail", topic, "--all", "--no-follow", "--json", url=bus.url))]


def test_a_trained_model_goes_into_the_store_and_is_measured_from_there(bus, door, here):
    text = text_with_a_rule(here / "text.txt")
    (here / "tmp").mkdir()
    how = {"url": bus.url, "TMPDIR": str(here / "tmp"), "LINESHAFT_TRY": "t1"}
    with Tracker(bus, "mlflow-artifacts:/1/r%201/artifacts"):
        result = run("train", "--order", 2, "--run=r1", "--name", "a b", text, LINESHAFT_OUTPUTS=str(here / "outputs"), **how)
    assert result.status == 0, result
    given, model = outputs(here / "outputs"), door.objects["1/r 1/artifacts/model/a b.ngram"]
    assert given == {"run_id": "r1", "perplexity": given["perplexity"], "name": "a b", "sha256": sha(model.data),
                     "source": "mlflow-artifacts:/1/r%201/artifacts/model/a%20b.ngram"}
    assert model.run == "r1" and os.listdir(here / "tmp") == []
    assert run_events(bus, "run.tag") == [{"run_id": "r1", "key": "lineshaft.model.sha256", "value": sha(model.data)}]
    assert run_events(bus, "run.updated")[-1]["status"] == "FINISHED"
    assert "::progress 0.90 storing the model" in result.err and f"{given['source']}: model a b, version" in result.out
    measured = json.loads(ok("evaluate", "--json", given["source"], text, LINESHAFT_OUTPUTS=str(here / "measured"), **how))
    assert measured["name"] == "a b" and os.listdir(here / "tmp") == []
    assert set(outputs(here / "measured")) == {"perplexity", "bits_per_character", "name"}
    result = run("evaluate", "mlflow-artifacts:/none", text, **how)
    assert result.status == 1 and "there is no artifact none" in result.err and os.listdir(here / "tmp") == []


def test_a_model_that_does_not_come_whole_leaves_nothing(door, here):
    (here / "text.txt").write_text("words\n")
    (here / "tmp").mkdir()
    door.objects["model"] = Stored(b"x" * 1000, "", None)
    door.cuts = [10] + [0] * 30
    gone = run("evaluate", "mlflow-artifacts:/model", "text.txt", url=door.url, cwd=here, TMPDIR=here / "tmp")
    assert gone.status == 1 and "CUT" in gone.err, gone
    assert os.listdir(here / "tmp") == []


def ask(lab, what, **data):
    return json.loads(ok("req", f"tracker.{what}", json.dumps(data), url=lab.url))


MORE = """
  tracking: { kind: tracker, database: "sqlite:tracker.db", artifact_root: "mlflow-artifacts:/" }
  clock:    { kind: scheduler, database: "sqlite:scheduler.db", workflows: [flows] }
  hands:    { kind: runner, dir: runner }
"""


@pytest.mark.skipif(not has_node(), reason="lineshaft-node has no kind artifacts")
def test_the_workflow_train_registers_a_model_that_is_in_the_store(here):
    """config/workflows/train.yaml as it stands; no command of it has the token of nodes."""
    (here / "flows").mkdir()
    shutil.copy(ROOT / "config/workflows/train.yaml", here / "flows")
    text = text_with_a_rule(here / "text.txt")
    lab = RealNode(here, MORE)
    try:
        wait_until(lambda: '"id":"train"' in run("workflow", "ls", "--json", url=lab.url).out, "the workflow is known")
        wait_until(lambda: run("req", "tracker.health", url=lab.url).status == 0, "the tracker serves")
        ok("workflow", "run", "train", "--follow", "--input", f"text={text}", "--input", "order=2", url=lab.url)
        version = ask(lab, "registered-models.get-alias", name="fortunes", alias="champion")["model_version"]
        source = f"mlflow-artifacts:/{version['source'].split('/')[1]}/{version['run_id']}/artifacts/model/fortunes.ngram"
        assert version["source"] == source
        tags = ask(lab, "runs.get", run_id=version["run_id"])["run"]["data"]["tags"]
        told = json.loads(artifact(lab, "get", "--json", source, here / "copy"))
        assert {"key": "lineshaft.model.sha256", "value": told["sha256"]} in tags and told["sha256"] == sha((here / "copy").read_bytes())
        listed = ask(lab, "artifacts.list", run_id=version["run_id"], path="model")["files"]
        assert listed == [{"path": "model/fortunes.ngram", "is_dir": False, "file_size": told["size"]}]
        assert run_events(lab, "artifact.stored")[0]["run_id"] == version["run_id"]
    finally:
        lab.close()


def test_a_model_that_cannot_be_stored_is_a_failed_run(bus, here):
    text = text_with_a_rule(here / "text.txt")
    with Tracker(bus, "mlflow-artifacts:/1/r1/artifacts"):
        result = run("train", "--json", "--order", 2, "--run=r1", "--name", "m", text, url=bus.url, LINESHAFT_OUTPUTS=str(here / "outputs"))
    assert result.status == 1 and "no `artifacts` node" in result.err and "was not stored as mlflow-artifacts:/1/r1/" in result.err
    assert run_events(bus, "run.updated")[-1]["status"] == "FAILED" and not (here / "outputs").exists()
    assert '"done"' not in result.out


def test_without_its_program_the_command_says_where_it_belongs(here):
    shutil.copy(LINESHAFT, here / "lineshaft")
    result = subprocess.run([here / "lineshaft", "artifact", "ls"], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and f"cannot run {here}/lineshaft-artifact" in result.stderr and "make install" in result.stderr
