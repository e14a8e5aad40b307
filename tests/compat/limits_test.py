# SPDX-License-Identifier: Apache-2.0
"""The limits of docs/protocol.md, at and one over the edge."""
import pytest

from bus import pack, pack_batch


def nested(depth):
    value = 1
    for _ in range(depth - 1):
        value = [value]
    return value


def padded(size):
    """A PUB header of exactly `size` bytes."""
    head = {"topic": "job.a", "pad": ""}
    head["pad"] = "x" * 256
    return {**head, "pad": "x" * (256 + size - len(pack(head)))}


def test_header_bytes(bus):
    d = bus.dealer()
    d.ok("PUB", padded(8192), b"x")
    d.err("TOO_BIG", "PUB", padded(8193), b"x")
    d.ok("PUB", {"topic": "job.a"}, b"x")


def test_header_keys(bus):
    d = bus.dealer()
    d.ok("PUB", {"topic": "job.a", **{f"k{i}": i for i in range(63)}}, b"x")
    d.send("PUB", {"topic": "job.a", **{f"k{i}": i for i in range(64)}}, b"x")
    assert d.expect("ERR").head["name"] in ("TOO_BIG", "BAD_FRAME")


def test_header_depth(bus):
    d = bus.dealer()
    d.ok("PUB", {"topic": "job.a", "x": nested(7)}, b"x")
    d.send("PUB", {"topic": "job.a", "x": nested(60)}, b"x")
    assert d.expect("ERR").head["name"] in ("TOO_BIG", "BAD_FRAME")


def test_body_bytes(make_bus):
    bus = make_bus(segment="16MiB")
    d = bus.dealer()
    d.ok("PUB", {"topic": "job.a"}, b"\xc4" + b"x" * ((1 << 20) - 1))
    assert d.err("TOO_BIG", "PUB", {"topic": "job.a", "n": 1}, b"x" * ((1 << 20) + 1))["n"] == 1
    assert len(bus.stream(bytes=8 << 20)) == 1


def test_body_max_can_be_raised(make_bus):
    bus = make_bus(broker="  body_max: 4MiB", segment="16MiB")
    bus.dealer().ok("PUB", {"topic": "job.a"}, b"x" * (4 << 20))
    c = bus.client()
    c.ok("SUB", cid=1, topics=["job.>"], stream="events", **{"from": "all"})
    assert len(c.expect("MSG").frames[1]) == 4 << 20


def test_batch_count(bus):
    d = bus.dealer()
    jobs = [({"topic": "job.a", "id": str(i)}, b"x") for i in range(4097)]
    d.ok("PUB", {"batch": 4096}, pack_batch(jobs[:4096]))
    d.err("TOO_BIG", "PUB", {"batch": 4097}, pack_batch(jobs))


def test_batch_bytes(make_bus):
    bus = make_bus(broker="  batch_max: 1MiB\n  body_max: 500KiB", segment="4MiB")
    d = bus.dealer()
    jobs = [({"topic": "job.a", "id": str(i)}, b"x" * 10000) for i in range(120)]
    d.ok("PUB", {"batch": 90}, pack_batch(jobs[:90]))
    d.err("TOO_BIG", "PUB", {"batch": 1}, pack_batch([({"topic": "job.a", "id": "x"}, b"x" * (500 * 1024 + 1))]))
    d.send("PUB", {"batch": 120}, pack_batch(jobs))  # a frame over the limit: disconnected, and nothing is stored
    bus.dealer().ok("PUB", {"topic": "job.a", "id": "last"}, b"x")
    assert len(bus.stream(bytes=8 << 20)) == 91


def test_a_frame_far_over_the_limit_disconnects_its_sender_only(bus):
    d, other = bus.dealer(), bus.client()
    d.ok("PUB", {"topic": "job.a"}, b"x")
    d.send("PUB", {"topic": "job.a"}, b"x" * (80 << 20))
    other.ok("PUB", {"topic": "job.a"}, b"x")
    assert len(bus.stream()) == 2 and bus.process.poll() is None


@pytest.mark.parametrize("topic, fine", [("job." + "a" * 196, True), ("job." + "a" * 197, False)])
def test_topic_bytes(bus, topic, fine):
    d = bus.dealer()
    d.send("PUB", {"topic": topic}, b"x")
    assert d.recv().verb == ("OK" if fine else "ERR")


def test_hello_tells_the_batch_limit_that_the_smallest_segment_allows(bus):
    hello = bus.client().hello
    limit = hello["batch_max"]
    assert hello["header_max"] + hello["body_max"] <= limit < 2 << 20
    d = bus.dealer()
    jobs = [({"topic": "job.a", "id": str(i)}, b"x" * 1000) for i in range(limit // 1000)]
    head = d.err("TOO_BIG", "PUB", {"batch": len(jobs), "n": 1}, pack_batch(jobs))
    assert (head["n"], head["count"]) == (1, len(jobs))
    d.ok("PUB", {"batch": 500, "n": len(jobs) + 1}, pack_batch(jobs[:500]))


def test_subscriptions_and_services_share_a_limit_of_512(bus):
    c = bus.client()
    for cid in range(256):
        c.ok("SUB", cid=cid, topics=["job.>"], window=10)
        c.ok("SUB", cid=1000 + cid, serves=[f"job.s{cid}"])
    c.err("QUOTA", "SUB", cid=512, serves=["job.x"])
    c.ok("BYE", cid=5)
    c.ok("SUB", cid=512, serves=["job.x"])


def test_a_reader_of_nothing_is_paused_by_its_window_not_disconnected(bus):
    """A member with the largest window that reads late finds every event in place."""
    c = bus.client(hb=60000)
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"], window=10000)
    pub = bus.dealer()
    for n in range(1, 121):
        jobs = [({"topic": "job.a", "id": f"{n}-{i}"}, b"x" * 100) for i in range(100)]
        pub.send("PUB", {"batch": 100, "n": 1 + (n - 1) * 100}, pack_batch(jobs))
    while pub.expect("OK").head["upto"] < 12000:
        pass
    seqs = [c.expect("MSG").head["seq"] for _ in range(10000)]
    assert seqs == sorted(seqs) and c.barrier() == []
    c.send("ACK", cid=1, seqs=[[seqs[0], seqs[-1]]])
    for _ in range(2000):
        c.expect("MSG")
