# SPDX-License-Identifier: Apache-2.0
"""Ephemeral subscriptions and the live feed (docs/protocol.md)."""
import zmq

from bus import events_of, pack, unpack


def test_an_ephemeral_subscription_gets_what_comes_after_it(bus):
    bus.publish("job.a", 3)
    c = bus.client("c")
    assert c.ok("SUB", cid=4, topics=["job.*", "live.>"])["cid"] == 4
    seq, = bus.publish("job.b")
    bus.dealer().ok("PUB", {"topic": "live.x.y"}, pack("l"))
    kept, live = c.expect("MSG"), c.expect("MSG")
    if "seq" not in kept.head:
        kept, live = live, kept
    assert kept.head["seq"] == seq and kept.head["stream"] == "events" and "attempt" not in kept.head
    assert "seq" not in live.head and "stream" not in live.head and live.head["ts_us"] > 0
    assert events_of(live)[0].head["topic"] == "live.x.y"


def test_credit_is_spent_and_more_adds_to_it(bus):
    c = bus.client("c")
    c.ok("SUB", cid=1, topics=["job.>"], stream="events", window=2)
    seqs = bus.publish("job.a", 6)
    assert [e.seq for e in c.events(2)] == seqs[:2]
    assert c.barrier() == []
    c.send("MORE", cid=1, n=3)
    assert [e.seq for e in c.events(3)] == seqs[2:5]
    assert c.barrier() == []


def test_with_a_stream_from_works_as_for_durable_consumers(bus):
    seqs = bus.publish("job.a", 5)
    c = bus.client("c")
    c.ok("SUB", cid=1, topics=["job.>"], stream="events", **{"from": "all"})
    assert [e.seq for e in c.events(5)] == seqs
    c.ok("SUB", cid=2, topics=["job.>"], stream="events", **{"from": {"seq": seqs[3]}})
    assert [e.seq for e in c.events(2)] == seqs[3:]
    c.ok("SUB", cid=3, topics=["job.>"], stream="events", **{"from": {"last": 1}})
    assert c.events(1)[0].seq == seqs[4]


def test_from_streams_goes_on_where_a_reader_stopped_in_each(bus):
    d = bus.dealer()
    for i in range(3):
        d.ok("PUB", {"topic": "job.a"}, pack(f"j{i}"))
        d.ok("PUB", {"topic": "mem.a"}, pack(f"m{i}"))
    at = {name: bus.stream(name)[1].seq for name in ("events", "memory")}
    c = bus.client("c")
    c.ok("SUB", cid=1, topics=["job.>", "mem.>"], **{"from": {"streams": at}})
    assert [unpack(e.body) for e in c.events(4)] == ["j1", "m1", "j2", "m2"]
    c.ok("SUB", cid=2, topics=["job.>", "mem.>"], **{"from": {"streams": {"memory": at["memory"]}}})
    assert [unpack(e.body) for e in c.events(2)] == ["m1", "m2"]


def test_what_no_stream_keeps_is_dropped_without_credit(bus):
    c = bus.client("c")
    c.ok("SUB", cid=1, topics=["live.>"], window=1)
    d = bus.dealer()
    for i in range(5):
        d.ok("PUB", {"topic": "live.a"}, pack(i))
    assert unpack(c.events(1)[0].body) == 0
    c.send("MORE", cid=1, n=5)
    c.barrier()
    d.ok("PUB", {"topic": "live.a"}, pack("end"))
    assert unpack(c.events(1)[0].body) == "end"


def test_a_wildcard_first_never_matches_the_brokers_own_topics(bus):
    c = bus.client("c")
    c.ok("SUB", cid=1, topics=[">"])
    c.ok("SUB", cid=2, topics=["$sys.rejected"])
    bus.push().send_frames(b"Nonsense", b"x")
    assert c.expect("MSG").head["cid"] == 2
    bus.publish("job.a")
    assert c.expect("MSG").head["cid"] == 1


def test_the_subscription_ends_with_the_session(bus):
    c = bus.client("c")
    c.ok("SUB", cid=1, topics=["live.>"])
    c.ok("BYE")
    bus.dealer().ok("PUB", {"topic": "live.a"}, b"x")
    assert c.barrier() == []


def test_the_feed_carries_topic_delivery_header_body(bus):
    feed = bus.feed("job.", "live.")
    bus.client("maker").ok("PUB", {"topic": "job.a", "id": "i"}, b"body")
    topic, delivery, head, body = feed.recv_frames()
    delivery, head = unpack(delivery), unpack(head)
    assert topic == b"job.a" and body == b"body" and head["id"] == "i" and head["source"] == "maker"
    assert delivery["stream"] == "events" and delivery["seq"] == bus.stream()[0].seq and delivery["ts_us"] > 0
    bus.dealer().ok("PUB", {"topic": "live.a"}, b"x")
    assert set(unpack(feed.recv_frames()[1])) == {"ts_us"}


def test_feed_subscriptions_are_byte_prefixes(bus):
    feed = bus.feed("job.turn")
    d = bus.dealer()
    for topic in ("job.tur", "job.turnover", "job.turn"):
        d.ok("PUB", {"topic": topic}, b"x")
    assert [feed.recv_frames()[0] for _ in range(2)] == [b"job.turnover", b"job.turn"]


def test_after_sync_nothing_is_missed(bus):
    for i in range(20):
        feed = bus.feed(f"job.s{i}")
        bus.publish(f"job.s{i}")
        assert feed.recv_frames()[0] == f"job.s{i}".encode()
        feed.close()


def test_a_gap_on_the_feed_can_be_filled_with_get(bus):
    """A reader with a tiny queue that sleeps through a burst sees the gap in seq, and GET has what it missed."""
    feed = bus.peer(zmq.SUB, 2)
    feed.socket.rcvhwm = 1000
    bus.publish("job.a", 5)
    feed.socket.subscribe("job.")
    feed.socket.subscribe("$sync.n1")
    bus.sync(feed, "n1")
    seen = bus.publish("job.a")[0]
    assert unpack(feed.recv_frames()[1])["seq"] == seen
    d = bus.dealer()
    d.send("GET", {"stream": "events", "from": 0, "topics": ["job.>"]})
    assert [d.expect("MSG").head["seq"] for _ in range(6)][-1] == seen


def test_stats_appear_on_the_feed_and_are_not_stored(make_bus):
    bus = make_bus(broker="  stats_every: 1s")
    feed = bus.feed("$sys.stats")
    topic, _, _, body = feed.recv_frames()
    assert topic == b"$sys.stats" and isinstance(unpack(body), dict)
    assert bus.stream("$sys") == []
