# SPDX-License-Identifier: Apache-2.0
"""A broker for one test, and peers that speak LWP/1 to it with nothing but pyzmq and msgpack (docs/protocol.md)."""
import collections
import ctypes
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import threading
import time

import msgpack
import zmq

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINESHAFT = os.path.abspath(os.environ.get("LINESHAFT", ROOT / "build" / "lineshaft"))
with open(LINESHAFT, "rb") if os.path.isfile(LINESHAFT) else open(os.devnull, "rb") as program:
    SANITIZED = b"san_init" in program.read()  # then sizes mean little: quarantines, shadows
PATIENCE_S = int(os.environ.get("TEST_PATIENCE_S", "30"))  # for what must come; nothing depends on how long it took

# events: durable; memory: not synced; every other topic (live.>) is kept by no stream.
TOPOLOGY = """
lineshaft: 1
name: test
broker:
  listen: "tcp://127.0.0.1:{port}"
  data: "{data}"
{broker}
streams:
  memory: {{ topics: ["mem.>"], durability: memory, segment: 1MiB }}
  events: {{ topics: ["run.>", "chat.>", "job.>"], segment: {segment} }}
{more}
"""

Message = collections.namedtuple("Message", "verb head frames")
Event = collections.namedtuple("Event", "seq head body")


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def unpack(data):
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


def pack_batch(events):
    """events: (header map, body bytes) pairs -> the `packed` frame of a batch."""
    out = []
    for head, body in events:
        head = pack(head)
        out += [struct.pack(">II", len(head), len(body)), head, body]
    return b"".join(out)


def unpack_batch(packed):
    at, events = 0, []
    while at < len(packed):
        head_len, body_len = struct.unpack_from(">II", packed, at)
        at += 8
        events.append((unpack(packed[at:at + head_len]), packed[at + head_len:at + head_len + body_len]))
        at += head_len + body_len
    return events


def numbers_of(err):
    """The numbers that an ERR names: n, or n … n + count - 1."""
    return range(err["n"], err["n"] + err.get("count", 1))


def events_of(msg):
    """The events of one MSG, batched or not, as Event tuples with source and time filled in from a batch's map."""
    if not msg.head.get("batch"):
        body = msg.frames[1] if len(msg.frames) > 1 else b""
        return [Event(msg.head.get("seq"), unpack(msg.frames[0]), body)]
    events = []
    for i, (head, body) in enumerate(unpack_batch(msg.frames[0])):
        if "source" in msg.head:
            head.setdefault("source", msg.head["source"])
        events.append(Event(msg.head["seq"] + i, head, body))
    assert len(events) == msg.head["count"]
    return events


def port_range():
    """Of this process: outside the kernel's ephemeral range, and not that of the tests that run beside these (pytest-xdist), which may have
    chosen a port that they have not bound yet."""
    worker, count = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = (32000 - 10500) // count
    return 10500 + worker * share, 10500 + (worker + 1) * share - 5


GIVEN = collections.deque(maxlen=200)  # bases that may be unbound yet


def free_base():
    """A base port with base..base+4 all free, and none of them given lately."""
    for _ in range(500):
        base = random.SystemRandom().randrange(*port_range())
        if any(abs(base - other) < 5 for other in GIVEN):
            continue
        taken = []
        try:
            for port in range(base, base + 5):
                s = socket.socket()
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.append(s)
                s.bind(("127.0.0.1", port))
            GIVEN.append(base)
            return base
        except OSError:
            continue
        finally:
            for s in taken:
                s.close()
    raise RuntimeError("no five free ports in a row")


def die_with_parent():
    """preexec_fn: a killed test run takes its broker along."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)


class Peer:
    """One socket and its conversation. Every send and receive has a deadline; running into it fails the test."""

    def __init__(self, context, kind, endpoint):
        self.socket = context.socket(kind)
        self.socket.linger = 2000
        self.socket.sndtimeo = PATIENCE_S * 1000
        self.socket.rcvhwm = self.socket.sndhwm = 20000
        if kind == zmq.SUB:
            self.socket.rcvhwm = 0
        self.socket.connect(endpoint)
        self.kind = kind
        self.held = collections.deque()

    def close(self, linger=0):
        self.socket.close(linger)

    def send_frames(self, *frames):
        self.socket.send_multipart(list(frames))

    def send(self, verb, head=None, body=None, **keys):
        head = {**(head or {}), **keys}
        self.send_frames(verb.encode(), pack(head), *([] if body is None else [body]))

    def recv_frames(self, patience=PATIENCE_S):
        if not self.socket.poll(int(patience * 1000)):
            raise AssertionError(f"nothing came within {patience} s")
        return self.socket.recv_multipart()

    def recv(self, patience=PATIENCE_S):
        if self.held:
            return self.held.popleft()
        frames = self.recv_frames(patience)
        return Message(frames[0].decode(), unpack(frames[1]) if len(frames) > 1 else {}, frames[2:])

    def expect(self, verb, patience=PATIENCE_S):
        """The next message, which must have this verb."""
        msg = self.recv(patience)
        assert msg.verb == verb, f"{msg} instead of {verb}"
        return msg

    def wait(self, verb, patience=PATIENCE_S, **keys):
        """The next message with this verb and these keys; others are kept for later, in order."""
        aside = []
        until = time.monotonic() + patience
        while True:
            msg = self.recv(max(0.001, until - time.monotonic()))
            if msg.verb == verb and all(msg.head.get(k) == v for k, v in keys.items()):
                self.held.extendleft(reversed(aside))
                return msg
            aside.append(msg)

    def ok(self, verb, head=None, body=None, **keys):
        """Send, and the head of the OK that must be the next message."""
        self.send(verb, head, body, **keys)
        return self.expect("OK").head

    def err(self, name, verb, head=None, body=None, **keys):
        """Send, and the head of the ERR of that name that must be the next message."""
        self.send(verb, head, body, **keys)
        return self.expect_err(name)

    def expect_err(self, name):
        head = self.expect("ERR").head
        assert head["name"] == name, head
        assert head["text"] and isinstance(head["number"], int) and isinstance(head["again"], bool)
        return head

    def pipeline(self, count, make):
        """Publish make(0) … make(count - 1), (header, body) pairs, with n; what is refused for now is sent again."""
        todo, open_, n = collections.deque(range(count)), {}, 0
        while todo or open_:
            while todo and len(open_) < 1000:
                n += 1
                open_[n] = todo.popleft()
                head, body = make(open_[n])
                self.send("PUB", {**head, "n": n}, body)
            msg = self.recv()
            if msg.verb == "OK":
                open_ = {n: i for n, i in open_.items() if n > msg.head["upto"]}
            else:
                assert msg.verb == "ERR" and msg.head["again"], msg
                todo += [open_.pop(n) for n in numbers_of(msg.head)]

    def barrier(self):
        """Everything the broker had to say up to now: the messages that came before a PONG."""
        nonce = random.getrandbits(40)
        self.send("PING", t=nonce)
        before = []
        while True:
            msg = self.recv()
            if msg.verb == "PONG" and msg.head.get("t") == nonce:
                return before
            before.append(msg)

    def events(self, count, ack=None):
        """The next `count` delivered events; ack=cid acknowledges each message as it comes."""
        got = []
        while len(got) < count:
            msg = self.expect("MSG")
            got += events_of(msg)
            if ack is not None:
                self.send("ACK", cid=ack, seqs=[e.seq for e in events_of(msg)])
        assert len(got) == count, f"{len(got)} events instead of {count}"
        return got


class Refusal(Exception):
    """What a StandIn's answer raises to refuse: Refusal(number, sentence)."""


class StandIn:
    """A node that serves `topic`, in a thread until the bus is closed: `answer(topic, body)` of the subclass takes and gives JSON."""

    def __init__(self, bus, client, topic):
        self.peer, self.url = bus.dealer(), bus.url
        self.peer.ok("HELLO", v=1, client=client)
        self.peer.ok("SUB", cid=1, serves=[topic], slots=8)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                if not self.peer.socket.poll(1000):
                    self.peer.send("PING")
                    continue
                msg = self.peer.recv()
                assert msg.verb != "ERR", msg
                if msg.verb == "REQ":
                    self.reply(msg.head, json.loads(msg.frames[0]))
        except zmq.ZMQError:  # the bus is closed: the test is over
            pass

    def reply(self, head, body):
        try:
            self.peer.send("REP", body=json.dumps(self.answer(head["topic"], body)).encode(), cid=1, rid=head["rid"])
        except Refusal as refusal:
            number, sentence = refusal.args
            self.peer.send("REP", cid=1, rid=head["rid"], error=sentence, number=number)


class Bus:
    """`lineshaft broker` on a scratch folder. start, kill, stop and restart act on this process only."""

    def __init__(self, folder, broker="", more="", segment="1MiB", env=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.settings = {"broker": broker, "more": more, "segment": segment}
        self.env = {**os.environ, **(env or {})}
        self.file = self.folder / "topology.yaml"
        self.log = self.folder / "broker.log"
        self.process = None
        self.context = zmq.Context()
        self.context.max_sockets = 4000
        self.peers = []
        self.base = None

    def write(self):
        self.file.write_text(TOPOLOGY.format(port=self.base, data=self.data, **self.settings))

    def spawn(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([LINESHAFT, "broker", str(self.file)], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.env, preexec_fn=die_with_parent, cwd=self.folder)

    def start(self):
        """Start and wait until PING is answered. Another program may take a port between look and bind: try again."""
        for _ in range(5):
            if self.base is None:
                self.base = free_base()
                self.write()
            self.spawn()
            if self.ready():
                return self
            if "in use" not in self.log_text():
                break
            self.base = None
        raise RuntimeError(f"the broker did not start:\n{self.log_text()[-4000:]}")

    def ready(self, patience=20):
        peer = Peer(self.context, zmq.DEALER, self.url)
        until = time.monotonic() + patience
        try:
            while time.monotonic() < until and self.process.poll() is None:
                peer.send("PING")
                if peer.socket.poll(50):
                    return True
            return False
        finally:
            peer.close()

    def kill(self, sig=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(PATIENCE_S) if self.process else None

    def stop(self):
        """Ordered stop; the exit status."""
        return self.kill(signal.SIGTERM)

    def restart(self, sig=signal.SIGKILL):
        self.kill(sig)
        return self.start()

    def close(self):
        for peer in self.peers:
            peer.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.context.destroy(0)

    @property
    def url(self):
        return f"tcp://127.0.0.1:{self.base}"

    def endpoint(self, plus):
        return f"tcp://127.0.0.1:{self.base + plus}"

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def peer(self, kind, plus=0):
        peer = Peer(self.context, kind, self.endpoint(plus))
        self.peers.append(peer)
        return peer

    def dealer(self):
        return self.peer(zmq.DEALER)

    def req(self):
        return self.peer(zmq.REQ)

    def push(self):
        return self.peer(zmq.PUSH, 1)

    def feed(self, *prefixes, batch=False):
        """A SUB socket on the live feed (base+2, or base+4) whose subscriptions stand when this returns."""
        peer = self.peer(zmq.SUB, 4 if batch else 2)
        nonce = f"{random.getrandbits(60):x}"
        for prefix in prefixes:
            peer.socket.subscribe(prefix)
        peer.socket.subscribe(f"$sync.{nonce}")
        self.sync(peer, nonce)
        return peer

    def sync(self, feed, nonce):
        """PING {sync} until the marker comes through the feed. What came before it is dropped."""
        with_ping = Peer(self.context, zmq.DEALER, self.url)
        until = time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < until:
                with_ping.send("PING", sync=nonce)
                while feed.socket.poll(100):
                    if feed.socket.recv_multipart() == [f"$sync.{nonce}".encode()]:
                        return
            raise AssertionError("the feed's $sync marker did not come")
        finally:
            with_ping.close()

    def client(self, name="test", **hello):
        """A DEALER after HELLO."""
        peer = self.dealer()
        peer.hello = peer.ok("HELLO", v=1, client=name, **hello)
        return peer

    def publish(self, topic, count=1, **keys):
        """`count` acknowledged events with the bodies 0, 1, 2 …; their sequence numbers."""
        peer = Peer(self.context, zmq.DEALER, self.url)
        seqs = [peer.ok("PUB", {"topic": topic, **keys}, pack(i))["seq"] for i in range(count)]
        peer.close()
        return seqs

    def stream(self, name="events", **keys):
        """All events of a stream, by GET."""
        peer, at, got = self.dealer(), keys.pop("at", 0), []
        while True:
            peer.send("GET", {"stream": name, "from": at, "n": 1000, "bytes": 8 << 20, **keys})
            while (msg := peer.recv()).verb == "MSG":
                got += events_of(msg)
            assert msg.verb == "END", msg
            at = msg.head["next"]
            if at > msg.head["last"]:
                peer.close()
                return got

    def admin(self, op, **keys):
        peer = Peer(self.context, zmq.DEALER, self.url)
        try:
            return peer.ok("ADM", op=op, **keys)
        finally:
            peer.close()

    def consumer(self, name):
        found = self.admin("consumers", consumer=name)["consumers"]
        return found[0] if found else None

    def until(self, what, holds, patience=PATIENCE_S):
        """Ask the broker again and again until holds() is true: for what it does on its own time."""
        until = time.monotonic() + patience
        poller = zmq.Poller()
        while not holds():
            assert time.monotonic() < until, f"not within {patience} s: {what}"
            poller.poll(20)

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])
