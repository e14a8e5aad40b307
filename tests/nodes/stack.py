# SPDX-License-Identifier: Apache-2.0
"""A whole stack for tests: `lineshaft up` on a topology of its own, with the mock of an OpenAI backend, and HTTP to talk to it."""
import http.client
import json
import os
import socket
import subprocess
import threading

import bus
from bus import PATIENCE_S, die_with_parent, free_base
from cli import Background, wait_until

BUILD = os.environ.get("LINESHAFT_BUILD", "build")
MOCK_MODELS = ["echo", "fixed", "hang"]
HEAD = """
lineshaft: 1
name: stack
broker: {{ listen: "tcp://127.0.0.1:{port}", data: bus, stats_every: 200ms }}
streams:
  events: {{ topics: [">"], segment: 1MiB }}
nodes:
"""


def free_port():
    """A port that is free now, outside the kernel's ephemeral range."""
    return free_base()


class Mock:
    """tests/mock/openai: the backend that misbehaves on command."""

    def __init__(self, *args):
        self.process = subprocess.Popen([os.path.join(BUILD, "tests/mock/openai"), *map(str, args)], stdout=subprocess.PIPE, text=True,
                                        preexec_fn=die_with_parent)
        self.url = self.process.stdout.readline().strip()
        self.port = int(self.url.split(":")[2].split("/")[0])

    def state(self):
        return json.loads(Http(self.port).get("/mock/state").body)

    def until(self, key, least):
        wait_until(lambda: self.state()[key] >= least, f"{key} >= {least} at the mock: {self.state()}")
        return self.state()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Stream:
    """A streamed answer, record by record."""

    def __init__(self, connection, response):
        self.connection, self.response = connection, response
        self.status, self.headers = response.status, response.headers

    def record(self):
        """The next record as its fields {data, id, event}; None at the end. Comments are dropped."""
        fields = {}
        while True:
            line = self.response.readline()
            if not line:
                return None
            line = line.rstrip(b"\n").decode()
            if not line and ("data" in fields or "id" in fields):
                return fields
            name, _, value = line.partition(":")
            if name:
                fields[name] = fields.get(name, "") + value.removeprefix(" ")

    def data(self):
        """The next record with data, as JSON; the text itself if it is [DONE]; None at the end."""
        while (record := self.record()) is not None:
            if "data" in record:
                return record["data"] if record["data"] == "[DONE]" else json.loads(record["data"])
        return None

    def rest(self):
        out = []
        while (data := self.data()) is not None:
            out.append(data)
        return out

    def close(self):
        """Goes away at once, in the middle of things."""
        if self.connection.sock:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()
        self.connection.close()


class Http:
    def __init__(self, port, key=None):
        self.port, self.key = port, key

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {**({"Authorization": f"Bearer {self.key}"} if self.key else {}), **(headers or {})}
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, headers)
        return connection

    def call(self, method, path, body=None, headers=None):
        connection = self.ask(method, path, body, headers)
        try:
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.call("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path, body, **headers):
        return self.call("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def stream(self, method, path, body=None, headers=None):
        connection = self.ask(method, path, body, headers)
        return Stream(connection, connection.getresponse())

    def chat(self, model, text="hello", **fields):
        return self.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}], **fields})

    def chat_stream(self, model, text="hello", **fields):
        return self.stream("POST", "/v1/chat/completions",
                           {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **fields})


class Stack(Http):
    """`lineshaft up` in a folder. `nodes` is YAML below nodes:, with {http} and {mock} filled in."""

    def __init__(self, folder, nodes, mock=None, head=HEAD, **env):
        super().__init__(free_port())
        self.folder, self.base, self.mock = folder, free_base(), mock
        while self.base <= self.port <= self.base + 4:
            self.base = free_base()
        text = head.format(port=self.base) + nodes.format(http=f"127.0.0.1:{self.port}", mock=mock.url if mock else "")
        (folder / "stack.yaml").write_text(text)
        self.up = Background("up", "stack.yaml", cwd=folder, **env)
        self.url = f"tcp://127.0.0.1:{self.base}"
        self.context = None
        wait_until(self.ready, f"ready: {self.up.seen[-20:]}")

    def ready(self):
        try:
            return self.get("/readyz").status == 200
        except OSError:
            if self.up.process.poll() is not None:
                self.up.end()
                raise AssertionError("up ended:\n" + "\n".join(self.up.seen)) from None
            return False

    def with_model(self, *names):
        wait_until(lambda: set(names) <= set(self.models()), f"models {names}")
        return self

    def models(self):
        return [model["id"] for model in self.get("/v1/models").json["data"]]

    def events(self, topic="chat.>"):
        """Every stored event so far, oldest first."""
        out = []
        stream = self.stream("GET", f"/api/events?topic=%3E&stream=events&from=all")
        last = json.loads(self.post("/api/events", {"topic": "test.mark"}).body)["id"]
        while (event := stream.data()) is not None and event["id"] != last:
            out.append(event)
        stream.close()
        return [event for event in out if event["topic"].startswith(topic.rstrip(">"))]

    def until_event(self, topic, count=1):
        found = []

        def there():
            found[:] = [event for event in self.events() if event["topic"] == topic]
            return len(found) >= count

        wait_until(there, f"{count} {topic}")
        return found

    def pids(self, node, member=None):
        """Process ids of a node's replicas, or of the one, by the environment that `up` gave them."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    env = file.read().split(b"\0")
                with open(f"/proc/{pid}/comm") as file:
                    name = file.read().strip()
            except OSError:
                continue
            if member and f"LINESHAFT_MEMBER={member}".encode() not in env:
                continue
            if f"LINESHAFT_NODE={node}".encode() in env and f"LINESHAFT_URL={self.url}".encode() in env and name.startswith("lineshaft"):
                found.append(int(pid))
        return found

    def broker_pid(self):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except (OSError, IndexError):
                continue
            if parent == self.up.process.pid and words[1:2] == [b"broker"]:
                return int(pid)
        raise AssertionError("no broker")

    def dealer(self, name, **hello):
        """A node in Python: a peer of the bus that has said HELLO."""
        import zmq
        self.context = self.context or zmq.Context()
        peer = bus.Peer(self.context, zmq.DEALER, self.url)
        peer.ok("HELLO", v=1, client=name, **hello)
        return peer

    def close(self):
        self.up.close()
        if self.context:
            self.context.destroy(linger=0)


def together(count, work):
    """Runs work(i) in so many threads; the first failure is raised."""
    failures = []

    def run(i):
        try:
            work(i)
        except BaseException as failure:  # a failed assertion must not vanish in a thread
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S * 4)
    if failures:
        raise failures[0]
