# SPDX-License-Identifier: Apache-2.0
"""The kind `artifacts` at its own door and on the bus: uploads, downloads, events, and what is left when it is killed."""
import base64
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading

import pytest

import bus
from bus import PATIENCE_S, SANITIZED, pack
from cli import TRACE, ok, run, wait_until
from stack import Answer, Stack

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "mock"))
from s3 import S3Fake  # noqa: E402

NODES = """
  door:  {{ kind: ingress, listen: "{http}", asks: [] }}
  files: {{ kind: artifacts, store: "STORE", dir: spool, FLOOR, restart: {{ delay: 100ms }} MORE }}
"""
API = "/api/artifacts/"
MLFLOW = "/api/2.0/mlflow-artifacts/artifacts"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
RUN = "0123456789abcdef0123456789abcdef"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def digest(content):
    return "sha-256=:" + base64.b64encode(hashlib.sha256(content).digest()).decode() + ":"


def escaped(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


class Door(http.client.HTTPConnection):
    """HTTP over the unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.path)


class Files(Stack):
    def __init__(self, folder, more="", floor="0B", store="file:kept", **env):
        super().__init__(folder, NODES.replace("MORE", more).replace("FLOOR", f"free_floor: {floor}").replace("STORE", store), **env)
        self.socket = folder / "spool" / "door.sock"
        self.spool, self.kept = folder / "spool", folder / "kept"
        self.until_door()

    def until_door(self):
        def answers():
            try:
                return self.door("GET", "/").status == 404
            except OSError:
                return False
        wait_until(answers, f"a door: {self.up.seen[-20:]}")

    def door(self, method, path, body=None, **headers):
        connection = Door(self.socket)
        try:
            try:
                connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()},
                                   encode_chunked="Transfer_Encoding" in headers)
            except BrokenPipeError:
                pass  # it was answered and closed while we were still sending
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def put(self, key, content, **headers):
        return self.door("PUT", API + key, content, **headers)

    def begun(self, key, length, content):
        """An upload that is under way: so much was announced, this much was sent."""
        connection = Door(self.socket)
        connection.putrequest("PUT", API + key)
        connection.putheader("Content-Length", str(length))
        connection.endheaders(content)
        return connection

    def publish(self, **fields):
        return json.loads(self.post("/api/events", {"topic": "artifact.put", "data": fields}).body)["id"]

    def outcomes(self, key, count=1):
        """The artifact.stored and artifact.failed of a key, when there are so many."""
        found = []

        def there():
            found[:] = [e for e in self.events("artifact.>")
                        if e["topic"] in ("artifact.stored", "artifact.failed") and e["data"]["path"] == key]
            return len(found) >= count
        wait_until(there, f"{count} outcomes of {key}")
        return found

    def until(self, topic, count=1):
        found = []

        def there():
            found[:] = [event for event in self.events("artifact.>") if event["topic"] == topic]
            return len(found) >= count
        wait_until(there, f"{count} {topic}")
        return found

    def outcome(self, key):
        found = self.outcomes(key)
        assert len(found) == 1, found
        return found[0]

    def kill(self):
        for pid in self.pids("files"):
            os.kill(pid, signal.SIGKILL)

    def left(self):
        """What lies in the spool, without what is always there."""
        return sorted(set(os.listdir(self.spool)) - {"lock", "door.sock"})

    def until_spool_is_empty(self):
        wait_until(lambda: not self.left(), f"an empty spool: {self.left()}")

    def memory_peak(self):
        with open(f"/proc/{self.pids('files')[0]}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


@pytest.fixture
def make(tmp_path):
    made = []

    def start(more="", **how):
        folder = tmp_path / f"s{len(made)}"
        folder.mkdir()
        made.append(Files(folder, more, **how))
        return made[-1]
    yield start
    for stack in made:
        stack.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    stack = Files(tmp_path_factory.mktemp("files"))
    yield stack
    stack.close()


# ---- up and down ----

def test_what_goes_up_comes_down_with_its_hash_type_and_run(files):
    content = os.urandom(300_000)
    answer = files.put("models/a%20b.bin", content, Content_Type="model/x", X_Lineshaft_Run="r1", traceparent=TRACEPARENT)
    assert answer.status == 201
    told = answer.json
    assert (told["path"], told["size"], told["sha256"], told["content_type"]) == ("models/a b.bin", 300_000, sha256(content), "model/x")
    assert told["uri"] == f"file://{files.kept}/models/a%20b.bin"
    got = files.door("GET", API + "models/a%20b.bin")
    assert got.status == 200 and got.body == content
    assert got.headers["Repr-Digest"] == digest(content) and got.headers["Content-Type"] == "model/x"
    assert got.headers["Accept-Ranges"] == "bytes" and got.headers["Content-Length"] == "300000" and got.headers["Last-Modified"]
    event = files.outcome("models/a b.bin")
    assert event["topic"] == "artifact.stored" and event["subject"] == "r1" and TRACE in event["traceparent"]
    assert event["data"]["sha256"] == sha256(content) and event["data"]["already_there"] is False and event["data"]["run_id"] == "r1"
    files.until_spool_is_empty()
    assert (files.kept / "models" / "a b.bin").read_bytes() == content


def test_head_tells_without_bytes(files):
    files.put("head.txt", b"12345")
    answer = files.door("HEAD", API + "head.txt")
    assert answer.status == 200 and answer.body == b"" and answer.headers["Content-Length"] == "5"
    assert answer.headers["Content-Type"] == "text/plain" and answer.headers["ETag"] == f'"{sha256(b"12345")}"'
    assert files.door("HEAD", API + "nothing").status == 404


@pytest.mark.parametrize("asked,status,part", [
    ("bytes=0-3", 206, b"0123"), ("bytes=4-", 206, b"456789"), ("bytes=-3", 206, b"789"), ("bytes=8-99", 206, b"89"),
    ("bytes=-99", 206, b"0123456789"), ("bytes=10-", 416, None), ("bytes=-0", 416, None), ("bytes=3-1", 200, b"0123456789"),
    ("bytes=0-1,4-5", 200, b"0123456789"), ("lines=1-2", 200, b"0123456789")])
def test_a_range(files, asked, status, part):
    files.put("range", b"0123456789")
    answer = files.door("GET", API + "range", Range=asked)
    assert answer.status == status
    if part is not None:
        assert answer.body == part
    if status == 206:
        first = b"0123456789".index(part)
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/10"
    if status == 416:
        assert answer.headers["Content-Range"] == "bytes */10"


def test_conditions(files):
    tag = files.put("cond", b"one").json["etag"]
    assert files.door("GET", API + "cond", If_None_Match=tag).status == 304
    assert files.door("GET", API + "cond", If_None_Match='"other", W/' + tag).status == 304
    assert files.door("GET", API + "cond", If_None_Match='"other"').status == 200
    assert files.door("GET", API + "cond", If_Match='"other"').status == 412
    assert files.door("GET", API + "cond", If_Match=tag).body == b"one"
    assert files.door("GET", API + "cond", Range="bytes=0-0", If_Range=tag).body == b"o"
    assert files.door("GET", API + "cond", Range="bytes=0-0", If_Range='"other"').body == b"one"
    modified = files.door("HEAD", API + "cond").headers["Last-Modified"]
    assert files.door("GET", API + "cond", Range="bytes=0-0", If_Range=modified).body == b"o"


def test_an_upload_replaces_unless_it_says_otherwise(files):
    assert files.put("over", b"one").status == 201
    assert files.put("over", b"one").status == 200
    assert files.put("over", b"two").status == 200
    assert files.put("over", b"three", If_None_Match="*").status == 412
    assert files.put("over", b"two", If_None_Match="*").status == 200
    assert files.door("GET", API + "over").body == b"two"
    told = files.outcomes("over", 5)
    assert sorted(e["data"].get("code", "") for e in told) == ["", "", "", "", "CONFLICT"]
    assert sorted(e["data"].get("already_there", False) for e in told) == [False, False, False, True, True]


def test_a_wrong_digest_stores_nothing(files):
    before = len(files.events("artifact.>"))
    for headers in ({"Repr_Digest": digest(b"other")}, {"Content_MD5": base64.b64encode(b"x" * 16).decode()}, {"Content_MD5": "?"}):
        answer = files.put("digest", b"content", **headers)
        assert answer.status == 400 and answer.json["error"]["code"] == "BAD_DIGEST"
    assert files.door("GET", API + "digest").status == 404
    assert not files.left() and len(files.events("artifact.>")) == before
    right = {"Repr_Digest": digest(b"content"), "Content_MD5": base64.b64encode(hashlib.md5(b"content").digest()).decode()}
    assert files.put("digest", b"content", **right).status == 201


@pytest.mark.parametrize("key", ["a//b", "/a", "a/", "./a", "a/../b", "..", "a%00b", "a%0ab", "%ff", "%zz", "x" * 1025, ".lineshaft/a"])
def test_a_bad_key_is_refused_with_the_reason(files, key):
    for method in ("PUT", "GET", "DELETE"):
        answer = files.door(method, API + key, b"x" if method == "PUT" else None)
        assert answer.status in (400, 405), (method, key, answer.status, answer.body)
        assert answer.json["error"]["message"]
    files.until_spool_is_empty()


def test_odd_keys_are_kept_as_they_are(files):
    for key in ("ä/ö ü", "a+b&c=d", "sp ace/%25", "q?x#y", "~tilde'quote\"", "日本/語", "a b/c:d@e", "." * 3, "x" * 255):
        path = escaped(key).replace("%2f", "/")
        assert files.put(path, key.encode()).status in (200, 201), key
        assert files.door("GET", API + path).body == key.encode()
        assert json.loads(ok("req", "artifacts.stat", json.dumps({"path": key}), url=files.url))["path"] == key


def test_a_chunked_body_of_unknown_length(files):
    pieces = [os.urandom(70_000) for _ in range(5)]
    answer = files.door("PUT", API + "chunked", iter(pieces), Transfer_Encoding="chunked")
    assert answer.status == 201 and answer.json["sha256"] == sha256(b"".join(pieces))


def test_an_empty_artifact(files):
    assert files.put("empty", b"").status == 201
    answer = files.door("GET", API + "empty")
    assert answer.status == 200 and answer.body == b"" and answer.headers["Content-Length"] == "0"


def test_a_client_that_leaves_in_the_middle_leaves_nothing(files):
    before = len(files.events("artifact.>"))
    upload = files.begun("gone", 1_000_000, b"x" * 100_000)
    wait_until(files.left, "an upload under way")
    upload.close()
    files.until_spool_is_empty()
    assert files.door("GET", API + "gone").status == 404
    assert len(files.events("artifact.>")) == before


@pytest.mark.skipif(SANITIZED, reason="sanitizers keep freed memory")
def test_large_content_with_constant_memory(files, tmp_path):
    size = 300_000_000
    source = tmp_path / "large"
    piece = os.urandom(1 << 20)
    hashed = hashlib.sha256()
    with open(source, "wb") as file:
        for at in range(0, size, len(piece)):
            part = piece[:min(len(piece), size - at)]
            file.write(part)
            hashed.update(part)
    before = files.memory_peak()
    with open(source, "rb") as file:
        answer = files.door("PUT", API + "large", file, Content_Length=str(size))
    assert answer.status == 201 and answer.json["sha256"] == hashed.hexdigest()
    connection = Door(files.socket)
    connection.request("GET", API + "large")
    response, back = connection.getresponse(), hashlib.sha256()
    while part := response.read(1 << 20):
        back.update(part)
    connection.close()
    assert back.hexdigest() == hashed.hexdigest()
    assert files.memory_peak() - before < 8 << 20
    assert files.door("DELETE", API + "large").status == 204


# ---- lists, deleting ----

def test_lists_by_folder_and_by_page(make):
    files = make()
    keys = ["a-b", "a.txt", "a/1", "a/2", "a/b/3", "b", "ä"]
    for key in keys:
        files.put(escaped(key), b"x")
    top = files.door("GET", "/api/artifacts").json
    assert [o["path"] for o in top["objects"]] == ["a-b", "a.txt", "b", "ä"] and top["folders"] == ["a/"] and top["next"] is None
    below = files.door("GET", "/api/artifacts?prefix=a/").json
    assert [o["path"] for o in below["objects"]] == ["a/1", "a/2"] and below["folders"] == ["a/b/"]
    assert [o["path"] for o in files.door("GET", "/api/artifacts?prefix=a/b&recursive=true").json["objects"]] == ["a/b/3"]
    seen, after = [], ""
    while after is not None:
        page = files.door("GET", f"/api/artifacts?recursive=true&max=2&after={escaped(after)}").json
        seen += [o["path"] for o in page["objects"]]
        assert len(page["objects"]) <= 2
        after = page["next"]
    assert seen == sorted(keys, key=str.encode)
    assert files.door("GET", "/api/artifacts?prefix=../").json["objects"] == []
    assert files.door("GET", "/api/artifacts?prefix=.lineshaft/").json["objects"] == []


def test_deleting_prunes_and_tells(make):
    files = make()
    for key in (f"1/{RUN}/artifacts/a", f"1/{RUN}/artifacts/b/c", "other"):
        files.put(key, b"x")
    assert files.door("DELETE", API + f"1/{RUN}/artifacts/a", X_Lineshaft_Principal="ada", traceparent=TRACEPARENT).status == 204
    assert files.door("DELETE", API + f"1/{RUN}/artifacts/a").status == 204
    event = files.until("artifact.deleted")[0]
    assert event["data"]["user_id"] == "ada" and event["data"]["run_id"] == event["subject"] == RUN and TRACE in event["traceparent"]
    assert files.door("DELETE", API + "1?recursive=true").status == 204
    assert not (files.kept / "1").exists() and (files.kept / "other").exists()
    assert [e["data"]["path"] for e in files.until("artifact.deleted", 2)] == [f"1/{RUN}/artifacts/a", f"1/{RUN}/artifacts/b/c"]


def test_requests_over_the_bus(make):
    files = make()
    files.put("x/a", b"one")
    files.put("x/b", b"two")
    listed = json.loads(ok("req", "artifacts.list", '{"prefix": "x/", "max": 1}', url=files.url))
    assert [o["path"] for o in listed["objects"]] == ["x/a"] and listed["next"] == "x/a"
    assert json.loads(ok("req", "artifacts.stat", '{"path": "x/b"}', url=files.url))["sha256"] == sha256(b"two")
    missing = run("req", "artifacts.stat", '{"path": "x/c"}', url=files.url)
    assert missing.status != 0 and "x/c" in missing.err
    assert json.loads(ok("req", "artifacts.delete", '{"path": "x", "recursive": true}', url=files.url)) == {"deleted": 2}
    assert json.loads(ok("req", "artifacts.delete", '{"path": "x/a"}', url=files.url)) == {"deleted": 0}
    assert "path" in run("req", "artifacts.stat", '{}', url=files.url).err
    assert "HTTP" in run("req", "artifacts.bytes", '{}', url=files.url).err


# ---- as MLflow's clients do it ----

@pytest.mark.parametrize("base", [MLFLOW, "/ajax-api/2.0/mlflow-artifacts/artifacts"])
def test_mlflow_artifacts(make, base):
    files = make()
    key = f"0/{RUN}/artifacts/model/weights.bin"
    assert (lambda a: (a.status, a.json))(files.door("PUT", f"{base}/{key}", b"12")) == (200, {})
    assert (lambda a: (a.status, a.json))(files.door("PUT", f"{base}/{key}", b"123")) == (200, {})
    files.door("PUT", f"{base}/0/{RUN}/artifacts/notes.txt", b"1234")
    for path in (f"0/{RUN}/artifacts", f"0/{RUN}/artifacts/"):
        assert files.door("GET", f"{base}?path={path}").json == {"files": [
            {"path": "model", "is_dir": True}, {"path": "notes.txt", "is_dir": False, "file_size": 4}]}
    assert files.door("GET", f"{base}?path=0/{RUN}/artifacts/notes.txt").json == {"files": []}
    assert files.door("GET", base).json == {"files": [{"path": "0", "is_dir": True}]}
    assert files.door("GET", f"{base}/{key}").body == b"123"
    missing = files.door("GET", f"{base}/none")
    assert missing.status == 404 and missing.json["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert files.outcomes(key, 2)[0]["subject"] == RUN
    assert (lambda a: (a.status, a.json))(files.door("DELETE", f"{base}/0/{RUN}")) == (200, {})
    assert files.door("GET", base).json == {"files": []}


# ---- through ingress ----

def test_the_same_through_ingress(files):
    content = os.urandom(3_000_000)
    up = files.call("PUT", API + "in/a%20b", content, {"If-None-Match": "*", "traceparent": TRACEPARENT, "Repr-Digest": digest(content)})
    assert up.status == 201 and up.json["sha256"] == sha256(content)
    assert TRACE in files.outcome("in/a b")["traceparent"]
    down = files.get(API + "in/a%20b")
    assert down.status == 200 and down.body == content and down.headers["Repr-Digest"] == digest(content)
    part = files.get(API + "in/a%20b", Range="bytes=10-19")
    assert part.status == 206 and part.body == content[10:20]
    assert files.get("/api/artifacts?prefix=in/").json["objects"][0]["path"] == "in/a b"
    assert files.get(MLFLOW + "?path=in").json["files"][0] == {"path": "a b", "is_dir": False, "file_size": 3_000_000}
    assert files.call("DELETE", API + "in/a%20b").status == 204
    assert files.get(API + "in/a%20b").status == 404


# ---- the event artifact.put ----

def test_an_event_with_its_content(files):
    event_id = files.publish(path="ev/notes.txt", data="three epochs", run_id="r7", content_type="text/x-notes")
    stored = files.outcome("ev/notes.txt")
    assert stored["topic"] == "artifact.stored" and stored["causationid"] == event_id and stored["subject"] == "r7"
    assert stored["data"]["sha256"] == sha256(b"three epochs") and stored["data"]["content_type"] == "text/x-notes"
    assert files.door("GET", API + "ev/notes.txt").body == b"three epochs"


def test_binary_content_in_msgpack(files):
    peer = files.dealer("pusher")
    content = bytes(range(256))
    peer.ok("PUB", topic="artifact.put", body=pack({"path": "ev/bin", "data": content}))
    files.outcome("ev/bin")
    assert files.door("GET", API + "ev/bin").body == content


def test_an_event_that_names_a_file(files):
    content = os.urandom(3_000_000)
    (files.folder / "made.bin").write_bytes(content)
    files.publish(path="ev/file", file=str(files.folder / "made.bin"), size=len(content), sha256=sha256(content))
    assert files.outcome("ev/file")["data"]["sha256"] == sha256(content)
    assert files.door("GET", API + "ev/file").body == content


@pytest.mark.parametrize("fields,code", [
    ({"data": "x", "sha256": "0" * 64}, "BAD_DIGEST"), ({"data": "x", "size": 2}, "BAD_VALUE"), ({}, "BAD_VALUE"),
    ({"data": "x", "file": "y"}, "BAD_VALUE"), ({"file": "none/such"}, "NOT_FOUND"), ({"file": "/etc/passwd"}, "FORBIDDEN"),
    ({"file": "kept"}, "BAD_VALUE"), ({"path": "a/../b", "data": "x"}, "BAD_VALUE")])
def test_an_event_that_can_never_be_stored_says_why(files, fields, code):
    key = fields.get("path", f"never/{code}/{len(files.events('artifact.>'))}")
    files.publish(**{"path": key, **fields})
    failed = files.outcome(key)
    assert failed["topic"] == "artifact.failed" and failed["data"]["code"] == code and failed["data"]["error"]
    assert ok("dlq", "ls", "files", "--json", url=files.url).strip() in ("", "[]")


def test_an_event_replaces_only_when_it_says_so(files):
    files.publish(path="ev/over", data="one")
    files.publish(path="ev/over", data="two")
    files.publish(path="ev/over", data="one")
    files.publish(path="ev/over", data="three", replace=True)
    told = files.outcomes("ev/over", 4)
    assert [e["data"].get("code") for e in told] == [None, "CONFLICT", None, None]
    assert [e["data"].get("already_there") for e in told] == [False, None, True, False]
    assert files.door("GET", API + "ev/over").body == b"three"


# ---- kill -9 ----

def test_killed_while_content_comes_nothing_is_left(make):
    files = make()
    upload = files.begun("half", 1_000_000, b"x" * 500_000)
    wait_until(files.left, "an upload under way")
    files.kill()
    files.until_door()
    assert not files.left() and files.door("GET", API + "half").status == 404
    upload.close()


def test_killed_before_the_outcome_is_told_it_is_told_once(make):
    files = make()
    os.kill(files.broker_pid(), signal.SIGSTOP)
    assert files.put("told", b"content").status == 201
    assert len(files.left()) == 1  # the small file; the content is the store's already
    files.kill()
    os.kill(files.broker_pid(), signal.SIGCONT)
    files.until_door()
    files.until_spool_is_empty()
    assert files.outcome("told")["data"]["already_there"] is False


@pytest.mark.parametrize("store", ["folder", "s3"])
def test_killed_at_any_moment_each_artifact_is_stored_and_each_event_answered_once(make, make_s3, store):
    files = make() if store == "folder" else make_s3()
    chance = random.Random()
    done, contents, uploaded = threading.Event(), {}, set()

    def kill_now_and_then():
        for _ in range(4):  # fewer than max_deliver
            if not done.wait(chance.uniform(0.05, 0.8)):
                files.kill()

    def upload(key, content):
        try:
            return files.put(key, content).status in (200, 201, 202)
        except (OSError, http.client.HTTPException):
            return False

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    for i in range(30):
        key, content = f"k/{i}", os.urandom(chance.choice([10, 50_000, 2_000_000, 11_000_000]))
        way = chance.choice(["file", "data", "upload"])
        if way == "file":
            (files.folder / f"f{i}").write_bytes(content)
            files.publish(path=key, file=f"f{i}")
        elif way == "data":
            content = base64.b64encode(content[:50_000])
            files.publish(path=key, data=content.decode())
        else:
            wait_until(lambda: upload(key, content), "an upload")
            uploaded.add(key)
        contents[key] = content
    done.set()
    killer.join()
    files.until_door()
    for key, content in contents.items():
        told = files.outcomes(key)
        assert all(e["topic"] == "artifact.stored" and e["data"]["sha256"] == sha256(content) for e in told)
        assert len(told) == 1 or key in uploaded  # an upload that was not answered was sent again
        assert files.door("GET", API + key).body == content
    files.until_spool_is_empty()
    if store == "folder":
        assert not os.listdir(files.kept / ".lineshaft")


# ---- room ----

def test_a_full_spool_turns_uploads_away_and_says_so(make):
    files = make(", spool_limit: 1MiB")
    upload = files.begun("slow", 900_000, b"x")
    wait_until(files.left, "an upload under way")
    refused = files.put("more", b"x" * 200_000)
    assert refused.status == 507 and refused.headers["Retry-After"] and refused.json["error"]["code"] == "FULL"
    assert files.until("artifact.pressure")[0]["data"]["state"] == "high"
    files.publish(path="waits", data="y" * 200_000)
    upload.close()
    assert files.outcome("waits")["topic"] == "artifact.stored"
    assert [e["data"]["state"] for e in files.until("artifact.pressure", 2)] == ["high", "clear"]
    assert files.put("more", b"x" * 200_000).status == 201


def test_what_is_larger_than_the_spool_is_refused_for_good(make):
    files = make(", spool_limit: 1MiB")
    assert files.put("huge", b"x" * 1_200_000).status == 413
    chunked = files.begun("huge", 10, b"")
    chunked.close()
    files.publish(path="huge", file="large")
    (files.folder / "large").write_bytes(b"")
    os.truncate(files.folder / "large", 2_000_000)
    files.publish(path="huge2", file="large")
    assert files.outcome("huge2")["data"]["code"] == "TOO_BIG"


def test_the_floor_of_free_disk(make):
    disk = os.statvfs(".")
    files = make(floor=f"{disk.f_bavail * disk.f_frsize * 2}B")
    refused = files.put("a", b"x")
    assert refused.status == 507 and "free_floor" in refused.json["error"]["message"]
    assert files.until("artifact.pressure")[0]["data"]["state"] == "high"


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_below_the_store_only_delays(small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 3_500_000)
    folder = small_disk.parent / "full"
    folder.mkdir()
    (folder / "kept").symlink_to(small_disk)
    files = Files(folder, ", answer_after: 200ms")
    try:
        content = os.urandom(2_000_000)
        late = files.put("late", content)
        assert late.status == 202 and late.json == {"path": "late", "state": "spooled"}
        assert files.door("GET", API + "late").status == 503
        filler.unlink()
        assert files.outcome("late")["data"]["sha256"] == sha256(content)
        assert files.door("GET", API + "late").body == content
    finally:
        files.close()


def test_a_full_disk_below_the_spool_is_told_at_once(small_disk):
    folder = small_disk.parent / "full"
    folder.mkdir()
    (folder / "spool").symlink_to(small_disk)
    files = Files(folder)
    try:
        assert files.put("big", os.urandom(8_000_000)).status == 507
        chunks = (os.urandom(1 << 20) for _ in range(8))
        assert files.door("PUT", API + "chunks", chunks, Transfer_Encoding="chunked").status == 507
        files.until_spool_is_empty()
        assert files.put("small", b"fits").status == 201
    finally:
        files.close()


# ---- in S3 ----

@pytest.fixture
def s3(tmp_path):
    with S3Fake(tmp_path / "s3") as fake:
        yield fake


@pytest.fixture
def make_s3(make, s3):
    return lambda more="": make(", part_size: 5MiB" + more, store="s3://bucket/root", **s3.environment())


def test_s3_up_down_range_list_delete(make_s3, s3):
    files = make_s3()
    content = os.urandom(12_000_000)
    answer = files.put("m/a%20b", content, Content_Type="model/x", X_Lineshaft_Run="r1")
    assert answer.status == 201 and answer.json["uri"] == "s3://bucket/root/m/a b" and answer.json["sha256"] == sha256(content)
    assert files.outcome("m/a b")["data"]["etag"] == answer.json["etag"]
    got = files.door("GET", API + "m/a%20b")
    assert got.body == content and got.headers["Repr-Digest"] == digest(content) and got.headers["Content-Type"] == "model/x"
    part = files.door("GET", API + "m/a%20b", Range="bytes=6000000-6000009")
    assert part.status == 206 and part.body == content[6_000_000:6_000_010]
    assert part.headers["Content-Range"] == "bytes 6000000-6000009/12000000"
    assert files.door("GET", API + "m/a%20b", Range="bytes=-5").body == content[-5:]
    assert files.door("GET", API + "m/a%20b", Range="bytes=12000000-").status == 416
    assert files.door("GET", API + "m/a%20b", Range="bytes=0-0,2-2").body == content
    head = files.door("HEAD", API + "m/a%20b")
    assert head.status == 200 and head.headers["Content-Length"] == "12000000" and head.body == b""
    assert files.door("GET", API + "m/a%20b", If_None_Match=head.headers["ETag"]).status == 304
    assert files.door("GET", API + "m/none").status == files.door("HEAD", API + "m/none").status == 404
    assert files.put("m/a%20b", b"other", If_None_Match="*").status == 412
    assert files.put("m/a%20b", b"other").status == 200
    files.put("m/n/c", b"")
    below = files.door("GET", "/api/artifacts?prefix=m/").json
    assert [o["path"] for o in below["objects"]] == ["m/a b"] and below["folders"] == ["m/n/"]
    assert files.door("GET", MLFLOW + "?path=m").json["files"] == [
        {"path": "a b", "is_dir": False, "file_size": 5}, {"path": "n", "is_dir": True}]
    assert files.door("GET", API + "m/n/c").body == b""
    assert files.door("DELETE", API + "m?recursive=true").status == 204
    assert files.door("GET", "/api/artifacts?recursive=true").json["objects"] == [] and not s3.objects


def test_s3_away_uploads_are_kept_and_stored_later(make_s3, s3):
    s3.fault("status", times=1000, status=503, code="SlowDown")
    files = make_s3(", answer_after: 100ms")
    content = os.urandom(100_000)
    kept = files.put("late", content)
    assert kept.status == 202 and kept.json == {"path": "late", "state": "spooled"}
    files.publish(path="late/event", data="x")
    files.kill()
    files.until_door()
    assert any(name.endswith(".data") for name in files.left())
    assert files.door("DELETE", API + "late").status == 503
    s3.faults.clear()
    assert files.outcome("late")["data"]["sha256"] == sha256(content)
    assert files.outcome("late/event")["topic"] == "artifact.stored"
    assert files.door("GET", API + "late").body == content
    files.until_spool_is_empty()


def test_s3_killed_in_the_middle_of_an_upload_it_goes_on(make_s3, s3):
    files = make_s3()
    content = os.urandom(20_000_000)
    s3.fault("stall", times=1, skip=2, method="PUT", query="partNumber")
    connection = files.begun("parts", len(content), content)
    assert s3.stalled.acquire(timeout=PATIENCE_S)
    assert any(name.endswith(".journal") for name in files.left())
    files.kill()
    connection.close()
    s3.release()
    assert files.outcome("parts")["data"]["sha256"] == sha256(content)
    assert files.door("GET", API + "parts").body == content
    assert s3.count("POST", "uploads") == 1 and not s3.uploads
    files.until_spool_is_empty()


def test_s3_away_when_the_node_stops_the_client_is_told_and_the_next_life_stores(make_s3, s3):
    s3.fault("status", times=1000, status=503, code="SlowDown")
    files = make_s3()
    upload = files.begun("kept", 5, b"12345")
    wait_until(lambda: any(name.endswith(".json") for name in files.left()), "it is in the spool")
    os.kill(files.pids("files")[0], signal.SIGTERM)
    assert upload.sock and (response := http.client.HTTPResponse(upload.sock)).begin() is None and response.status == 202
    upload.close()
    s3.faults.clear()
    assert files.outcome("kept")["data"]["sha256"] == sha256(b"12345")


def test_s3_that_refuses_for_good(make_s3, s3):
    files = make_s3()
    s3.fault("status", times=1000, status=403, code="AccessDenied")
    refused = files.put("denied", b"x")
    assert refused.status == 502 and refused.json["error"]["code"] == "FORBIDDEN" and "AccessDenied" in refused.json["error"]["message"]
    failed = files.outcome("denied")
    assert failed["topic"] == "artifact.failed" and failed["data"]["code"] == "FORBIDDEN"
    assert files.door("GET", API + "denied").status == 502


@pytest.mark.skipif(SANITIZED, reason="sanitizers keep freed memory")
def test_s3_is_held_back_by_a_slow_client(make_s3):
    files = make_s3()
    content = os.urandom(1 << 20) * 40
    files.put("slow", content)
    before = files.memory_peak()
    connection = Door(files.socket)
    connection.request("GET", API + "slow")
    response = connection.getresponse()
    for _ in range(200):  # other work goes on, while nobody reads the download
        assert files.door("HEAD", API + "slow").status == 200
    assert files.memory_peak() - before < 8 << 20
    assert response.read() == content
    connection.close()


# ---- who may ----

def test_a_port_wants_the_token_and_tells_it_to_nobody(tmp_path):
    port = bus.free_base()
    nodes = NODES.replace("MORE", f', listen: "127.0.0.1:{port}"').replace("FLOOR", "free_floor: 0B").replace("STORE", "file:kept")
    stack = Stack(tmp_path, nodes, LINESHAFT_TOKEN="a-secret-of-this-test")
    try:
        def ask(**headers):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            connection.request("GET", "/api/artifacts", headers=headers)
            return Answer(connection.getresponse())

        def up():
            try:
                return ask()
            except OSError:
                return None
        wait_until(up, "a port")
        assert ask().status == 401 and ask(Authorization="Bearer wrong").status == 401
        services = ok("req", "artifacts.list", "{}", url=stack.url)
        assert "secret" not in services
        pid = stack.pids("files")[0]
        with open(f"/proc/{pid}/environ", "rb") as file:
            token = next(line[16:] for line in file.read().split(b"\0") if line.startswith(b"LINESHAFT_TOKEN="))
        assert ask(Authorization="Bearer " + token.decode()).status == 200
    finally:
        stack.close()


def test_the_socket_is_this_users_alone(files):
    assert os.stat(files.spool).st_mode & 0o777 == 0o700 and os.stat(files.socket).st_mode & 0o777 == 0o600


def test_two_processes_do_not_share_a_spool(make):
    make(", replicas: 2").up.saw("another process uses the spool")


def test_what_cannot_be_configured_is_said(tmp_path):
    topology = 'lineshaft: 1\nname: t\nstreams: {{ all: {{ topics: [">"] }} }}\nnodes:\n  files: {{ kind: artifacts, {} }}\n'
    for options, said in (('store: "ftp://x"', "that is no store"), ('store: "file:x", endpoint: "http://h"', "a folder has no server"),
                          ('store: "s3://bucket", access_key: k', "one half of a key pair")):
        (tmp_path / "t.yaml").write_text(topology.format(options))
        checked = run("check", "t.yaml", cwd=tmp_path)
        assert checked.status == 1 and said in checked.out + checked.err
