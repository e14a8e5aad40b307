# SPDX-License-Identifier: Apache-2.0
"""Peers that mean harm, or are broken in the same way: the broker lives, serves others meanwhile, and stays small."""
import random
import resource

import pytest
import zmq

from bus import SANITIZED, Peer, pack, pack_batch, unpack
from zmtp import GREETING, LONG, MORE, Raw, frame, message

pytestmark = pytest.mark.short

RSS_GROWTH_KIB = 150 * 1024
MIB = 1 << 20


class Watch:
    """The honest neighbour: a round trip at any moment, and a look at the broker's size."""

    def __init__(self, bus, growth_kib=RSS_GROWTH_KIB):
        self.growth_kib = growth_kib * (10 if SANITIZED else 1)
        self.bus, self.peer, self.count = bus, bus.dealer(), 0
        self.served()
        self.before = bus.rss_kib()
        self.most = 0

    def served(self):
        self.count += 1
        assert self.peer.ok("PUB", {"topic": "job.honest"}, pack(self.count))["level"] == "disk"
        return True

    def look(self):
        self.served()
        self.most = max(self.most, self.bus.rss_kib() - self.before)
        assert self.most < self.growth_kib, f"the broker grew by {self.most // 1024} MiB"
        assert self.bus.process.poll() is None


@pytest.fixture
def watch(bus):
    watch = Watch(bus)
    yield watch
    watch.look()
    print(f"the broker grew by {watch.most // 1024} MiB at most")


@pytest.mark.parametrize("plus, kind", [(0, "DEALER"), (1, "PUSH"), (3, "PUB"), (2, "SUB"), (4, "SUB")])
def test_endless_multipart_is_cut_off(bus, watch, plus, kind):
    """A message that never ends: libzmq counts whole messages, so its limits never see this one."""
    raw = Raw(bus.base + plus, kind)
    chunk = frame(b"x" * 1024, more=True) * 1024
    for _ in range(400):
        if not raw.send(chunk):
            break
        watch.look()
    assert raw.cut or raw.ended(5), "400 MiB of one message were taken"


@pytest.mark.parametrize("plus, kind", [(0, "DEALER"), (1, "PUSH"), (2, "SUB"), (3, "PUB"), (4, "SUB")])
@pytest.mark.parametrize("size", [100 * MIB, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_giant_announced_frame_costs_nothing(bus, watch, plus, kind, size):
    raw = Raw(bus.base + plus, kind)
    raw.send(bytes([LONG | MORE]) + size.to_bytes(8, "big") + b"x" * 1000)
    watch.look()
    assert raw.ended(), "the connection stands"


@pytest.mark.parametrize("plus", [2, 4])
def test_a_flood_of_subscriptions_is_bounded(bus, watch, plus):
    raw, rng = Raw(bus.base + plus, "SUB"), random.Random(1)
    for _ in range(300):
        flood = b"".join(frame(b"\x01" + rng.randbytes(100).hex().encode()) for _ in range(1000))
        if not raw.send(flood):
            break
        watch.look()
    feed = bus.feed("job.", batch=plus == 4)
    watch.served()
    assert feed.recv_frames()[0] == b"job.honest"


@pytest.mark.parametrize("plus", [2, 4])
def test_a_subscription_behind_many_others_is_heard(bus, plus):
    """All of them come in one piece, more than a turn of the broker takes: the rest must not wait for what comes next."""
    raw, out = Raw(bus.base + plus, "SUB"), bus.dealer()
    raw.send((frame(b"\x01a") + frame(b"\0a")) * 1000 + frame(b"\x01live."))
    bus.until("the feed", lambda: out.ok("PUB", topic="live.x") and raw.arrived(b"live.x"))


def test_five_thousand_idle_connections(bus):
    watch = Watch(bus, growth_kib=5000 * 50)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    peers = []
    try:
        for i in range(5000):
            peers.append(Raw(bus.base, "DEALER"))
            if i % 500 == 0:
                watch.look()
        assert bus.client("late").hello["v"] == 1
        watch.look()
    finally:
        for raw in peers:
            raw.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_beyond_the_limit_harm_nobody(make_bus):
    bus = make_bus(broker="  connections_max: 50")
    watch = Watch(bus)
    peers = [Raw(bus.base) for _ in range(200)]
    for raw in peers:
        raw.send(GREETING)
    watch.look()
    for raw in peers:
        raw.close()
    bus.until("room again", lambda: bus.client("late"))


@pytest.mark.parametrize("plus", range(5))
def test_garbage_at_every_port(bus, watch, plus):
    rng = random.Random(plus)
    for i in range(100):
        raw = Raw(bus.base + plus)
        raw.send(rng.choice([b"", GREETING, GREETING[:rng.randrange(64)]]) + rng.randbytes(rng.randrange(1, 4000)))
        if i % 3:
            raw.close()
    watch.look()


def test_slow_handshakes_are_ended_and_hold_nobody_up(bus, watch):
    peers = [Raw(bus.base + i % 5) for i in range(100)]
    for i, raw in enumerate(peers):
        raw.send(GREETING[:1 + i % 63])
    watch.look()
    assert bus.client("late").hello["v"] == 1
    assert all(raw.ended(60) for raw in peers)


def test_a_publisher_that_never_reads_its_answers(bus, watch):
    raw = Raw(bus.base, "DEALER")
    pub = message(b"PUB", pack({"topic": "job.flood"}), b"x" * 10)
    for _ in range(200):
        if not raw.send(pub * 1000):
            break
        watch.look()
    watch.look()
    raw.close()
    watch.served()


def test_a_consumer_that_never_acknowledges_holds_its_window_and_no_more(bus, watch):
    lazy = bus.client("lazy", member="lazy", hb=60000)
    lazy.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.x"], window=10000)
    d = bus.dealer()
    for n in range(30):
        events = [({"topic": "job.x", "id": f"{n}-{i}"}, b"x" * 200) for i in range(1000)]
        d.ok("PUB", {"batch": 1000}, pack_batch(events))
        watch.look()
    assert bus.consumer("w")["positions"][0]["in_flight"] <= 10000
    busy = bus.client("busy", member="busy")
    busy.ok("SUB", cid=1, consumer="w", window=1000)
    seqs = [e.seq for e in busy.events(20000, ack=1)]
    assert len(set(seqs)) == 20000


@pytest.mark.parametrize("plus", [2, 4])
def test_a_feed_reader_that_never_reads(bus, watch, plus):
    raw = Raw(bus.base + plus, "SUB")
    raw.send(frame(b"\x01"))
    good = bus.feed("job.", batch=plus == 4)
    d = bus.dealer()
    for n in range(100):
        events = [({"topic": "job.x", "id": f"{n}-{i}"}, b"x" * 1000) for i in range(1000)]
        d.ok("PUB", {"batch": 1000}, pack_batch(events))
        while good.socket.poll(0):
            good.socket.recv_multipart()
        watch.look()
    raw.close()


def test_a_member_that_reads_nothing_does_not_hold_up_its_group(bus, watch):
    """Its socket takes what fits its window; the others work on."""
    raw = Raw(bus.base, "DEALER")
    raw.send(message(b"HELLO", pack({"v": 1, "client": "deaf", "hb": 60000})))
    raw.send(message(b"SUB", pack({"cid": 1, "consumer": "w", "stream": "events", "takes": ["job.x"], "window": 10000,
                                   "bytes": 64 * MIB})))
    good = bus.client("good")
    good.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.x"], window=100)
    d = bus.dealer()
    for n in range(40):
        d.ok("PUB", {"batch": 100}, pack_batch([({"topic": "job.x", "id": f"{n}-{i}"}, b"x" * 10000) for i in range(100)]))
        watch.look()
    good.events(100, ack=1)
    raw.close()
    good.events(3900, ack=1)


def valid_messages():
    batch = pack_batch([({"topic": "job.fuzz", "id": str(i)}, pack(i)) for i in range(5)])
    durable = {"cid": 1, "consumer": "f", "stream": "events", "takes": ["job.>"], "from": {"last": 3}, "backoff": [1, 2]}
    verbs = [
        ("HELLO", {"v": 1, "client": "fuzz", "hb": 5000}),
        ("PUB", {"topic": "job.fuzz", "id": "f", "n": 1, "tag": 3, "traceparent": "00-1-2-3"}, b"x"),
        ("PUB", {"batch": 5}, batch),
        ("SUB", durable),
        ("SUB", {"cid": 2, "topics": ["job.>", "live.*"], "window": 3}),
        ("SUB", {"cid": 3, "serves": ["job.fuzz"], "slots": 2}),
        ("ACK", {"cid": 1, "seqs": [1, [2, 5]], "sync": True}),
        ("NAK", {"cid": 1, "seqs": [[1, 9]], "delay": 1, "error": "e"}),
        ("TERM", {"cid": 1, "seqs": [3]}),
        ("WIP", {"cid": 1, "seqs": [4]}),
        ("MORE", {"cid": 1, "window": 5, "bytes": 9}),
        ("GET", {"stream": "events", "from": 0, "n": 3, "topics": ["job.*"]}),
        ("GET", {"stream": "events", "seq": 1}),
        ("REQ", {"rid": 1, "topic": "job.fuzz", "timeout": 10, "parts": 2}, b"?"),
        ("REP", {"rid": 1, "n": 0, "more": True}, b"!"),
        ("CANCEL", {"rid": 1}),
        ("PING", {"t": 1, "sync": "abc"}),
        ("BYE", {"cid": 2}),
        ("ADM", {"op": "info"}),
        ("ADM", {"op": "dlq.replay", "seq": 1}),
        ("ADM", {"op": "consumers", "consumer": "f"}),
    ]
    messages = [[verb.encode(), pack(head), *body] for verb, head, *body in verbs]
    return messages + [[pack({"topic": "job.fuzz", "data": {"a": [1, 2.5, None]}})], [b"job.fuzz", b"body"]]


POISON = [b"\xdf\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff", b"\xdb\xff\xff\xff\xf0", b"\xc1", b"\x91" * 50, b"\xc6\0\0\0\xff",
          b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcb\x7f\xf8" + bytes(6)]


def mutated(rng, frames):
    frames = [bytearray(f) for f in frames]
    for _ in range(rng.randrange(1, 4)):
        f = rng.choice(frames)
        act = rng.randrange(8)
        at = rng.randrange(len(f) + 1)
        if act == 0 and f:
            f[at % len(f)] = rng.randrange(256)
        elif act == 1 and f:
            f[at % len(f)] ^= 1 << rng.randrange(8)
        elif act == 2:
            del f[at:]
        elif act == 3:
            f[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif act == 4:
            f[at:at] = rng.choice(POISON)
        elif act == 5:
            frames.insert(rng.randrange(len(frames) + 1), bytearray(rng.randbytes(rng.randrange(30))))
        elif act == 6 and len(frames) > 1:
            frames.remove(f)
        elif act == 7:
            f[:] = rng.choice(valid_messages())[0]
    return [bytes(f) for f in frames]


@pytest.mark.parametrize("kind, plus, count", [(zmq.DEALER, 0, 20000), (zmq.PUSH, 1, 5000), (zmq.PUB, 3, 5000)])
def test_random_and_mutated_messages(bus, watch, kind, plus, count):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng, valid = random.Random(seed), valid_messages()
    peer = bus.peer(kind, plus)
    if kind == zmq.DEALER:
        peer.ok("HELLO", v=1, client="fuzz")
    for i in range(count):
        if i % 2000 == 1999:
            watch.look()
            peer.close()
            peer = Peer(bus.context, kind, bus.endpoint(plus))
            bus.peers.append(peer)
        frames = rng.choice(valid)
        peer.send_frames(*(mutated(rng, frames) if rng.random() < 0.8 else frames))
        while kind == zmq.DEALER and peer.socket.poll(0):
            frames = peer.socket.recv_multipart()
            verb = frames[0] or frames[1]
            assert verb.isalpha() and verb.isupper(), frames
    watch.look()


def test_raw_garbage_inside_a_good_connection(bus, watch):
    rng = random.Random(7)
    for kind, plus in (("DEALER", 0), ("PUSH", 1), ("SUB", 2), ("PUB", 3), ("SUB", 4)):
        for _ in range(40):
            raw = Raw(bus.base + plus, kind)
            raw.send(rng.randbytes(rng.randrange(1, 3000)))
            raw.close()
        watch.look()


def test_commands_in_the_middle_of_the_conversation(bus, watch):
    """ZMTP commands where messages belong, a second READY, PING with a context, an ERROR."""
    for command in (b"\x05READY" + b"\xff" * 20, b"\x04PING\0\0" + b"c" * 16, b"\x05ERROR\x03bad", b"\x09SUBSCRIBE" + b"x" * 200,
                    b"\x00", b"\xff"):
        for plus, kind in ((0, "DEALER"), (2, "SUB")):
            raw = Raw(bus.base + plus, kind)
            raw.send(frame(command, command=True) + message(b"PING", pack({})))
            watch.served()
            raw.close()


def test_a_storm_of_connections_and_sessions(bus, watch):
    """HELLO and gone, a thousand times, each leaving a subscription, an open delivery and a request behind."""
    bus.publish("job.a", 3)
    worker = bus.client("worker")
    worker.ok("SUB", cid=1, serves=["job.sum"])
    for i in range(1000):
        peer = Peer(bus.context, zmq.DEALER, bus.url)
        peer.ok("HELLO", v=1, client="storm")
        peer.send("SUB", {"cid": 1, "consumer": "w", "stream": "events", "takes": ["job.a"]})
        peer.send("REQ", rid=1, topic="job.sum")
        peer.close()
        if i % 100 == 0:
            watch.look()
    bus.until("the storm's members to be gone", lambda: not bus.consumer("w")["members"])
    c = bus.client("calm")
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.a"])
    assert [unpack(e.body) for e in c.events(3, ack=1)] == [0, 1, 2]
