# SPDX-License-Identifier: Apache-2.0
"""A worker that follows the registry (docs/decisions/039): with a real broker, tracker and ingress, two replicas, and a door of the
artifacts node that misbehaves on command."""
import base64
import hashlib
import http.client
import http.server
import json
import os
import random
import signal
import socket
import socketserver
import threading
import time
import urllib.parse

import pytest

import stack
from bus import PATIENCE_S
from cli import ok, run, wait_until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NODES = """
  door:  {{ kind: ingress, listen: "{http}", asks: [] }}
  track: {{ kind: tracker, database: "sqlite:tracker.db", artifact_root: "mlflow-artifacts:/", restart: {{ delay: TRACKER_DELAY }} }}
  small: {{ kind: inference, backend: ngram, model: "MODEL", cache: cache, restart: {{ delay: 100ms }} MORE }}
"""
STORE = """
  store: {{ kind: artifacts, store: "file:store", dir: spool, free_floor: 0B, restart: {{ delay: 100ms }} }}
"""
LETTERS = {1: "b", 2: "d", 3: "f"}  # with which all words of a version's answers begin


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Version -> content of a model of its own, whose answers have words of no other."""
    folder, made = tmp_path_factory.mktemp("models"), {}
    for version, letter in LETTERS.items():
        pick = random.Random(version)
        words = [f"{letter}{a}{b}" for a in "aeiou" for b in ("ne", "le", "rd", "st", "mp", "ck")]
        lines = []
        for _ in range(120):
            at, line = pick.randrange(len(words)), []
            for _ in range(pick.randint(60, 200)):
                line.append(words[at])
                at = (at * 7 + 3) % len(words) if pick.random() < 0.8 else pick.randrange(len(words))
            lines.append(" ".join(line) + ".")
        (folder / f"{version}.txt").write_text("\n\n".join(lines) + "\n")
        ok("train", "--order", "2", "-o", folder / f"{version}.ngram", folder / f"{version}.txt")
        made[version] = (folder / f"{version}.ngram").read_bytes()
    return made


class Door:
    """What the artifacts node shows of itself: its service on the bus, and content behind a unix socket, or a port that wants a token."""

    def __init__(self, bus, folder, token=None):
        self.files, self.corrupt, self.gets, self.hold = {}, False, [], None
        self.cut = threading.Event()  # a content was not taken to its end
        self.half = threading.Event()  # half of a content has gone, and `hold` holds back the rest
        self.socket = str(folder / "door.sock")
        self.token, self.server = token, None
        self.up()
        where = f"http://127.0.0.1:{self.server.server_address[1]}" if token else f"unix:{self.socket}"
        self.peer = bus.dealer("artifacts", hb=60000)
        self.peer.ok("SUB", cid=1, serves=["artifacts.stat"], about={"http": where})

    def up(self):
        door, self.connections = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                door.connections.append(self.connection)

            def address_string(self):
                return "unix"

            def log_message(self, *_):
                pass

            def reply(self, status, body, **headers):
                self.send_response(status)
                for name, value in {"Content-Length": len(body), **headers}.items():
                    self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()
                return body if self.command == "GET" else b""

            def do_GET(self):
                if door.token and self.headers["Authorization"] != f"Bearer {door.token}":
                    self.wfile.write(self.reply(401, b"{}"))
                    return
                url = urllib.parse.urlsplit(self.path)
                key = urllib.parse.unquote(url.path.removeprefix("/api/artifacts").lstrip("/"))
                if not key:
                    prefix = urllib.parse.parse_qs(url.query)["prefix"][0]
                    objects = [{"path": path} for path in sorted(door.files) if path.startswith(prefix)]
                    body = json.dumps({"objects": objects, "folders": [], "next": None}).encode()
                    self.wfile.write(self.reply(200, body))
                    return
                if self.command == "GET":
                    door.gets.append(key)
                if key not in door.files:
                    self.wfile.write(self.reply(404, b"{}"))
                    return
                content = door.files[key]
                digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
                if door.corrupt:
                    content = content[:-1] + bytes([content[-1] ^ 1])
                body = self.reply(200, content, Repr_Digest=f"sha-256=:{digest}:")
                try:
                    self.wfile.write(body[:len(body) // 2])
                    if self.command == "GET" and door.hold:
                        door.half.set()
                        door.hold.wait(PATIENCE_S)
                    self.wfile.write(body[len(body) // 2:])
                except OSError:
                    self.close_connection = True
                    door.cut.set()

            do_HEAD = do_GET

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) if self.token else Server(self.socket, Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if not self.token:
            os.unlink(self.socket)
        self.server = None

    def close(self):
        if self.hold:
            self.hold.set()
        if self.server:
            self.down()


class Lab(stack.Stack):
    """A stack with a registry that has the model `small`, whose versions come from `models`."""

    def __init__(self, folder, models, model="models:/small@champion", more=", replicas: 2", delay="100ms", token=None, node=False, **env):
        nodes = (NODES + STORE if node else NODES).replace("MODEL", model).replace("MORE", more).replace("TRACKER_DELAY", delay)
        super().__init__(folder, nodes, **env)
        self.models_of, self.artifacts = models, None if node else Door(self, folder, token)
        wait_until(lambda: self.get("/health").status == 200, "a tracker")
        if node:
            wait_until((folder / "spool" / "door.sock").exists, "an artifacts node")

    def registry(self, method, path, **body):
        headers = {"traceparent": TRACE}
        answer = self.call(method, f"/api/2.0/mlflow/{path}", body, headers)
        assert answer.status == 200, answer.body
        return answer.json

    def register(self, *versions, source="mlflow-artifacts:/runs/{}/model.ngram"):
        if 1 in versions:
            self.registry("POST", "registered-models/create", name="small")
        for version in versions:
            key = source.format(version)
            self.put(key.removeprefix("mlflow-artifacts:/"), self.models_of[version])
            made = self.registry("POST", "model-versions/create", name="small", source=key)["model_version"]
            assert made["version"] == str(version)
        return self

    def put(self, key, content):
        if self.artifacts:
            self.artifacts.files[key] = content
            return
        door = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
        door.sock = socket.socket(socket.AF_UNIX)
        door.sock.connect(str(self.folder / "spool" / "door.sock"))
        door.request("PUT", f"/api/artifacts/{key}", content)
        answer = door.getresponse()
        assert answer.status in (200, 201), answer.read()
        door.close()

    def promote(self, version):
        self.registry("POST", "registered-models/alias", name="small", alias="champion", version=str(version))
        return self

    def loaded(self):
        return self.events("model.loaded")

    def until_loaded(self, version, by=2):
        """So many replicas say that they serve this version now, after all else that they said."""
        def there():
            last = {event["data"]["worker"]: event["data"]["version"] for event in self.loaded()}
            return list(last.values()) == [str(version)] * by

        wait_until(there, f"version {version} loaded by {by}: {self.loaded()}, {self.up.seen}")
        return self

    def log_holds(self, text, count=1):
        """So many lines hold this text, in all."""
        for _ in range(count - sum(text in line for line in self.up.seen)):
            self.up.wait_for(text)

    def cached(self):
        return sorted(os.listdir(self.folder / "cache"))

    def kill_workers(self):
        for pid in self.pids("small"):
            os.kill(pid, signal.SIGKILL)

    def answers(self, version):
        """Both replicas answer, with this version and its words."""
        workers = set()

        def both():
            answer = self.chat("small", max_tokens=8, temperature=0)
            assert answer.status == 200, answer.body
            workers.add(answer.headers["x-lineshaft-worker"])
            assert answer.headers["x-lineshaft-version"] == str(version)
            assert self.version_of(answer.json["choices"][0]["message"]["content"]) == version, answer.body
            return len(workers) == 2

        wait_until(both, "answers of both replicas")
        return self

    @staticmethod
    def version_of(text):
        """Of the first word of an answer."""
        return next((version for version, letter in LETTERS.items() if text.strip().startswith(letter)), None)

    def completed(self):
        return {event["data"]["request_id"]: event["data"] for event in self.events("chat.completed")}

    def close(self):
        if self.artifacts:
            self.artifacts.close()
        super().close()


@pytest.fixture
def lab(tmp_path, models):
    labs = []

    def begin(**how):
        labs.append(Lab(tmp_path, models, **how))
        return labs[-1]

    yield begin
    for each in labs:
        each.close()


def sha(content):
    return hashlib.sha256(content).hexdigest()


def test_every_replica_serves_the_version_of_the_alias_and_says_so(lab, models):
    s = lab()
    s.log_holds("version-absent", 2)
    refused = s.chat("small")
    assert refused.status == 503
    assert refused.json["error"]["message"] == \
        'no worker has the model "small" yet: it waits for a version with the alias champion of the model small'
    assert s.get("/v1/models").json == {"object": "list", "data": [], "lineshaft": {
        "waits": "it waits for a version with the alias champion of the model small"}}
    s.register(1, 2).promote(1).until_loaded(1).answers(1)
    cause = s.events("model.alias.set")[0]
    for event in s.loaded():
        told = event["data"]
        assert told["name"] == "small" and told["alias"] == "champion" and told["sha256"] == sha(models[1])
        assert told["source"] == "mlflow-artifacts:/runs/1/model.ngram" and "previous_version" not in told
        assert event["causationid"] == cause["id"] and event.get("traceparent") == cause.get("traceparent")
    listed = s.artifacts.peer.ok("ADM", op="services")["services"]
    about = [worker["about"]["models"] for service in listed if service["topic"] == "chat.generate" for worker in service["workers"]]
    assert [[(model["id"], model["version"], len(model["content"])) for model in models] for models in about] == [[("small", "1", 16)]] * 2
    assert {turn["version"] for turn in s.completed().values()} == {"1"}
    assert s.cached() == [sha(models[1]) + ".ngram"]


def test_fifty_streams_go_on_while_the_version_changes(lab, capsys):
    s = lab(more=", replicas: 2, pace: 20ms, slots: 64")
    s.register(1, 2).promote(1).until_loaded(1)
    streams = [s.chat_stream("small", seed=i, max_tokens=120) for i in range(50)]
    begun = [stream.data() for stream in streams]
    at = time.monotonic()
    s.promote(2)
    while s.chat("small", max_tokens=1).headers["x-lineshaft-version"] != "2":
        pass
    took = time.monotonic() - at
    s.until_loaded(2).answers(2)
    after = 0
    for first, stream in zip(begun, streams):
        assert stream.headers["x-lineshaft-version"] == "1"
        rest = stream.rest()
        assert rest[-1] == "[DONE]"
        choices = [record["choices"][0] for record in [first, *rest[:-1]] if record["choices"]]
        assert choices[-1]["finish_reason"] in ("stop", "length")
        words = "".join(choice["delta"].get("content") or "" for choice in choices).split()
        assert words and all(word.startswith("b") for word in words if word[0].isalpha())
        after += len(words) > 60
    with capsys.disabled():
        ms = [event["data"]["duration_ms"] for event in s.loaded()[-2:]]
        print(f"\nfrom the alias to the first answer of the new version: {took * 1e3:.0f} ms (replicas loaded it in {ms} ms)")
    turns = s.completed()
    assert {turns[stream.headers["x-request-id"]]["version"] for stream in streams} == {"1"}
    assert after >= 25
    assert {event["data"]["previous_version"] for event in s.loaded()[-2:]} == {"1"}


def test_with_the_artifacts_node_itself(lab, models):
    s = lab(node=True)
    s.register(1, 2).promote(1).until_loaded(1).answers(1).promote(2).until_loaded(2).answers(2)
    assert {event["data"]["sha256"] for event in s.loaded()[-2:]} == {sha(models[2])}
    s.promote(1).until_loaded(1)
    assert {event["data"]["from"] for event in s.loaded()[-2:]} == {"cache"}
    s.put("runs/3/model/data/model.ngram", models[3])
    made = s.registry("POST", "model-versions/create", name="small", source="mlflow-artifacts:/runs/3/model")["model_version"]
    s.promote(made["version"]).until_loaded(3).answers(3)


def test_rollback_fetches_nothing(lab):
    s = lab()
    s.register(1, 2).promote(1).until_loaded(1).promote(2).until_loaded(2)
    fetched = len(s.artifacts.gets)
    s.promote(1).until_loaded(1).answers(1)
    assert len(s.artifacts.gets) == fetched
    assert [(event["data"]["from"], event["data"]["previous_version"]) for event in s.loaded()[-2:]] == [("cache", "2")] * 2


def test_content_with_another_hash_is_never_served(lab, models):
    s = lab()
    s.register(1, 2).promote(1).until_loaded(1)
    s.artifacts.corrupt = True
    s.promote(2)
    s.log_holds("what came has the SHA-256", 2)
    assert s.answers(1).cached() == [sha(models[1]) + ".ngram"] or any(name.startswith(".part-") for name in s.cached())
    s.artifacts.corrupt = False
    s.until_loaded(2).answers(2)
    assert s.cached() == sorted(sha(models[version]) + ".ngram" for version in (1, 2))


def test_a_damaged_file_of_the_cache_is_fetched_anew(lab, models):
    s = lab()
    s.register(1, 2).promote(1).until_loaded(1)
    (s.folder / "cache" / (sha(models[2]) + ".ngram")).write_bytes(models[2][:-1] + b"x")
    s.promote(2).until_loaded(2).answers(2)
    assert (s.folder / "cache" / (sha(models[2]) + ".ngram")).read_bytes() == models[2]


def test_a_file_that_is_no_model_is_said_alike_by_all_replicas(lab, models):
    """One may remove it from the cache just before another opens it."""
    s = lab(more=", replicas: 4")
    s.register(1, 2).promote(1)
    s.artifacts.files["runs/2/model.ngram"] = b"no model"
    s.promote(2)
    s.log_holds("it is no model file", 4)
    assert not any("No such file" in line for line in s.up.seen) and sha(b"no model") + ".ngram" not in s.cached()


def test_content_without_a_place_for_it_is_not_read(lab, models):
    s = lab().register(1)
    key, = s.artifacts.files
    s.artifacts.files[key] = bytes(64 << 20)
    os.rmdir(s.folder / "cache")
    s.promote(1)
    assert s.artifacts.cut.wait(PATIENCE_S)
    s.log_holds("cannot write", 2)
    s.artifacts.files[key] = models[1]
    (s.folder / "cache").mkdir()
    s.until_loaded(1).answers(1)


def test_without_the_store_the_old_version_stays_until_it_is_back(lab):
    s = lab()
    s.register(1, 2).promote(1).until_loaded(1)
    s.artifacts.down()
    s.promote(2)
    s.log_holds("model-not-loaded", 2)
    s.answers(1)
    s.artifacts.up()
    s.until_loaded(2).answers(2)


def test_without_the_tracker_the_version_stays_and_a_new_worker_waits(lab):
    s = lab(delay="3s")
    s.register(1).promote(1).until_loaded(1)
    os.kill(s.pids("track")[0], signal.SIGKILL)
    s.answers(1)
    s.kill_workers()
    s.log_holds("registry-silent", 2)
    wait_until(lambda: len(s.loaded()) == 4, "loaded again by both")
    s.answers(1)


def test_a_kill_in_the_middle_of_a_fetch_leaves_nothing_half(lab, models):
    s = lab()
    s.register(1, 2).promote(1).until_loaded(1)
    s.artifacts.hold = threading.Event()
    s.promote(2)
    assert s.artifacts.half.wait(PATIENCE_S)
    s.kill_workers()
    s.artifacts.hold, hold = None, s.artifacts.hold
    hold.set()
    s.until_loaded(2).answers(2)
    assert s.cached() == sorted(sha(models[version]) + ".ngram" for version in (1, 2))


def test_a_deleted_alias_is_said_once_and_nothing_changes(lab):
    s = lab()
    s.register(1, 2).promote(1).until_loaded(1)
    s.registry("DELETE", "registered-models/alias", name="small", alias="champion")
    s.log_holds("version-absent", 2)
    s.registry("POST", "registered-models/alias", name="small", alias="other", version="2")
    s.answers(1)
    s.promote(2).until_loaded(2).answers(2)
    assert sum("version-absent" in line for line in s.up.seen) == 2


def test_an_event_of_somebody_else_begins_it_all_and_its_trace_goes_on(lab):
    """The workers may have it before the tracker has."""
    s = lab()
    s.register(1, 2).promote(1).until_loaded(1)
    body = {"name": "small", "alias": "champion", "version": 2}
    told = s.post("/api/events", {"topic": "model.alias.set", "data": body}, traceparent=TRACE)
    assert told.status in (200, 201, 202), told.body
    s.until_loaded(2)
    cause = s.events("model.alias.set")[-1]
    for event in s.loaded()[-2:]:
        assert event["causationid"] == cause["id"] == told.json["id"] and event["traceparent"] == cause["traceparent"]
        assert TRACE.split("-")[1] in event["traceparent"]


def test_a_door_on_a_port_wants_the_token(lab):
    s = lab(token="s3cret", LINESHAFT_TOKEN="s3cret")
    s.register(1, 2).promote(1).until_loaded(1)
    s.artifacts.token = "another"
    s.promote(2)
    s.log_holds("both need the same LINESHAFT_TOKEN", 2)
    s.answers(1)


def test_a_version_by_its_number_stays(lab):
    s = lab(model="models:/small/2")
    s.log_holds("small has no version 2 yet: the node waits", 2)
    s.register(1, 2).until_loaded(2).answers(2)
    s.promote(1).answers(2)
    assert all("alias" not in event["data"] for event in s.loaded())


def test_the_file_is_served_until_the_first_version_is_there(lab, models, tmp_path):
    (tmp_path / "base.ngram").write_bytes(models[3])
    s = lab(more=", file: base.ngram, replicas: 2")
    s.log_holds("no version of small has the alias champion yet: the file is served until then", 2)
    answer = s.with_model("small").chat("small", temperature=0)
    assert s.version_of(answer.json["choices"][0]["message"]["content"]) == 3
    assert len(answer.headers["x-lineshaft-version"]) == 16
    s.register(1).promote(1).until_loaded(1).answers(1)


def test_the_source_may_be_a_folder_of_the_store_or_a_path(lab, models, tmp_path):
    s = lab()
    s.register(1, source="mlflow-artifacts:/run one/{}/model").promote(1)
    s.artifacts.files["run one/1/model/MLmodel"] = b"{}"
    s.artifacts.files["run one/1/model/data/x.ngram"] = s.artifacts.files.pop("run one/1/model")
    s.until_loaded(1)
    (tmp_path / "made" / "deep").mkdir(parents=True)
    (tmp_path / "made" / "deep" / "2.ngram").write_bytes(models[2])
    (tmp_path / "3.ngram").write_bytes(models[3])
    for version, source in [(2, f"file://{tmp_path}/made"), (3, str(tmp_path / "3.ngram"))]:
        made = {"name": "small", "version": version, "source": source, "status": "READY"}
        assert s.post("/api/events", {"topic": "model.version.created", "data": made}).status < 300  # the API takes no local paths
        wait_until(lambda: s.call("GET", f"/api/2.0/mlflow/model-versions/get?name=small&version={version}").status == 200, "a version")
        s.promote(version).until_loaded(version).answers(version)


def test_a_source_is_a_uri_so_escapes_in_it_are_of_its_key_or_path(lab, models, tmp_path):
    s = lab()
    s.register(1, source="mlflow-artifacts:/run%20one%2B/{}/model.ngram").promote(1)
    s.artifacts.files = {"run one+/1/model.ngram": models[1]}
    s.until_loaded(1)
    (tmp_path / "of 2.ngram").write_bytes(models[2])
    made = {"name": "small", "version": 2, "source": f"file://{tmp_path}/of%202.ngram", "status": "READY"}
    assert s.post("/api/events", {"topic": "model.version.created", "data": made}).status < 300
    wait_until(lambda: s.call("GET", "/api/2.0/mlflow/model-versions/get?name=small&version=2").status == 200, "a version")
    s.promote(2).until_loaded(2).answers(2)


def test_a_source_that_cannot_be_read_is_said_and_changes_nothing(lab):
    s = lab()
    s.register(1).promote(1).until_loaded(1)
    s.register(2, source="s3://bucket/{}").promote(2)
    s.log_holds("this node reads mlflow-artifacts:/KEY, file:/PATH and paths", 2)
    made = {"name": "small", "version": 3, "source": "/dev/zero", "status": "READY"}
    assert s.post("/api/events", {"topic": "model.version.created", "data": made}).status < 300
    wait_until(lambda: s.call("GET", "/api/2.0/mlflow/model-versions/get?name=small&version=3").status == 200, "a version")
    s.promote(3)
    s.log_holds("/dev/zero is no regular file", 2)
    s.answers(1)


def test_the_cache_keeps_the_latest_used(lab, models):
    s = lab(more=", cache_keep: 2")
    s.register(1, 2, 3).promote(1).until_loaded(1, by=1).promote(2).until_loaded(2, by=1).promote(1).until_loaded(1, by=1)
    s.promote(3).until_loaded(3, by=1)
    assert s.cached() == sorted(sha(models[version]) + ".ngram" for version in (1, 3))


@pytest.mark.parametrize("line, wrong", [
    ('backend: ngram, model: "models:/x"', "neither an alias nor a version"),
    ('backend: ngram, model: "models:/x@"', "the alias behind @ is missing"),
    ('backend: ngram, model: "models:x@a"', "begins with models:/ and its name"),
    ('backend: ngram, model: "models:/x/Production"', "the version is no number"),
    ('backend: ngram, model: "models:/x@latest"', "that is no alias"),
    ('backend: ngram, model: "models:/x@v3"', "that is no alias"),
    ('backend: openai, url: "http://127.0.0.1:1/v1", model: "models:/x@a"', "only the backend ngram serves"),
])
def test_check_says_what_is_wrong_with_a_model_of_the_registry(tmp_path, line, wrong):
    file = tmp_path / "one.yaml"
    file.write_text(f"lineshaft: 1\nname: one\nbroker: {{ data: bus }}\nnodes:\n  small: {{ kind: inference, {line} }}\n")
    result = run("check", file)
    assert result.status == 1 and wrong in result.out + result.err and "models:/" in result.out + result.err
