# SPDX-License-Identifier: Apache-2.0
"""What the broker counts: by topic, by session, by service (docs/protocol.md, Administration)."""
import time

import pytest
import zmq

from bus import pack, pack_batch, unpack

pytestmark = pytest.mark.short

KEYS = {"topic": "job.a", "id": "1", "source": "me", "time": "2026-01-01T00:00:00Z"}
OWN = len(pack(KEYS))  # a header with nothing for the broker to fill in


def flows(bus, **keys):
    """{topic: (stream, events, bytes)}, the busiest first."""
    return {t["topic"]: (t.get("stream"), t["events"], t["bytes"]) for t in bus.admin("topics", **keys)["topics"]}


def session(bus, client):
    return next(s for s in bus.admin("sessions")["sessions"] if s["client"] == client)


def test_every_way_to_publish_counts_by_topic(bus):
    d = bus.client("me")
    d.ok("PUB", KEYS, b"12345")
    assert flows(bus) == {"job.a": ("events", 1, OWN + 5)}
    d.send_frames(pack({**KEYS, "id": "2", "data": b"67"}))
    d.expect("OK")
    d.ok("PUB", {"batch": 2, "n": 1}, pack_batch([({**KEYS, "id": "3"}, b"x"), ({**KEYS, "id": "4"}, b"")]))
    assert flows(bus) == {"job.a": ("events", 4, 4 * OWN + 8)}
    d.send_frames(b"job.a", b"{}")
    d.expect("OK")
    bus.req().ok("PUB", {**KEYS, "id": "5"}, b"")
    assert flows(bus)["job.a"][1] == 6


@pytest.mark.parametrize("kind, plus", [(zmq.PUSH, 1), (zmq.PUB, 3)])
def test_what_comes_without_a_session_counts_too(bus, kind, plus):
    feed = bus.feed("job.")
    p = bus.peer(kind, plus)
    while not feed.socket.poll(50):  # a PUB socket drops what it sends before it is joined
        p.send_frames(b"PUB", pack(KEYS), b"12345")
    p.send_frames(b"PUB", pack({"batch": 1}), pack_batch([({**KEYS, "id": "3", "topic": "job.b"}, b"x")]))
    p.send_frames(b"job.c", b"")
    p.send_frames(pack({"topic": "mem.d"}))
    bus.until("all four have come", lambda: len(flows(bus)) == 4)
    told = flows(bus)
    assert told["job.a"] == ("events", 1, OWN + 5) and told["job.b"] == ("events", 1, OWN + 1)
    assert told["job.c"][:2] == ("events", 1) and told["mem.d"][:2] == ("memory", 1)


def test_what_no_stream_keeps_counts_and_names_none(bus):
    d = bus.client("me")
    d.ok("PUB", {**KEYS, "topic": "live.a"}, b"123")
    d.ok("PUB", {"batch": 1}, pack_batch([({**KEYS, "topic": "live.a"}, b"45")]))
    assert flows(bus) == {"live.a": (None, 2, 2 * len(pack({**KEYS, "topic": "live.a"})) + 5)}
    assert session(bus, "me")["published"] == 2


def test_what_is_refused_or_known_already_does_not_count(bus):
    d = bus.client("me")
    d.ok("PUB", KEYS, b"1")
    assert d.ok("PUB", KEYS, b"1")["dup"]
    assert d.ok("PUB", {"batch": 2}, pack_batch([(KEYS, b"1"), ({**KEYS, "id": "2"}, b"1")]))["dup"] == 1
    d.err("SCHEMA", "PUB", {"topic": "chat.completed"}, pack({}))
    d.err("BAD_TOPIC", "PUB", {"topic": "Job"})
    assert flows(bus) == {"job.a": ("events", 2, 2 * OWN + 2)}
    assert session(bus, "me")["published"] == 2


def test_topics_come_busiest_first_and_as_many_as_asked(bus):
    before = time.time_ns() // 1000
    for topic, count in (("job.few", 1), ("job.many", 5), ("mem.some", 3)):
        bus.publish(topic, count)
    answer = bus.admin("topics")
    assert [t["topic"] for t in answer["topics"]] == ["job.many", "mem.some", "job.few"]
    assert answer["total"] == 3 and answer["since_us"] <= before <= answer["topics"][1]["last_us"] <= answer["now_us"]
    assert list(flows(bus, n=2)) == ["job.many", "mem.some"] and bus.admin("topics", n=2)["total"] == 3
    assert flows(bus, n=0) == {}
    assert list(flows(bus, stream="events")) == ["job.many", "job.few"] and bus.admin("topics", stream="events")["total"] == 2
    bus.dealer().err("NO_STREAM", "ADM", op="topics", stream="none")


def test_of_many_topics_the_busiest_are_found(bus):
    d = bus.dealer()
    counts = {f"live.t{i}": 1 + i * 7919 % 199 for i in range(199)}  # each count once, in no order
    events = [({"topic": topic, "id": str(i)}, b"") for topic, count in counts.items() for i in range(count)]
    for at in range(0, len(events), 4000):
        d.ok("PUB", {"batch": len(events[at:at + 4000])}, pack_batch(events[at:at + 4000]))
    ranked = sorted(counts, key=counts.get, reverse=True)
    for n in (1, 2, 50, 199, 5000):
        assert list(flows(bus, n=n)) == ranked[:n]


def test_the_table_of_topics_begins_anew_before_it_is_too_long(bus):
    d = bus.dealer()
    since = bus.admin("topics")["since_us"]
    for at in range(0, 20000, 4000):
        d.ok("PUB", {"batch": 4000}, pack_batch([({"topic": f"live.{i}", "id": "1"}, b"") for i in range(at, at + 4000)]))
    d.ok("PUB", {"topic": "live.last"}, b"")
    answer = bus.admin("topics")
    assert [t["topic"] for t in answer["topics"]] == ["live.last"] and answer["total"] == 1 and answer["since_us"] > since


def test_the_brokers_own_events_count_where_a_stream_keeps_them(bus):
    bus.push().send_frames(b"PUB", pack({"topic": "Job"}))
    bus.until("it is refused", lambda: "$sys.rejected" in flows(bus))
    assert flows(bus)["$sys.rejected"][:2] == ("$sys", 1)


def test_a_session_counts_what_goes_to_and_fro(bus):
    worker, asker, reader = bus.client("worker"), bus.client("asker"), bus.client("reader")
    worker.ok("SUB", cid=1, serves=["ask.it"])
    reader.ok("SUB", cid=1, consumer="c", stream="events", takes=["job.>"])
    reader.ok("SUB", cid=2, topics=["live.>"])
    asker.ok("PUB", KEYS, b"")
    asker.ok("PUB", {"topic": "live.a"}, b"")
    reader.recv(), reader.recv()
    asker.send("REQ", {"rid": 1, "topic": "ask.it"})
    worker.send("REP", {"rid": worker.expect("REQ").head["rid"]})
    asker.expect("REP")
    told = {name: tuple(session(bus, name)[k] for k in ("published", "delivered", "requests", "served"))
            for name in ("worker", "asker", "reader")}
    assert told == {"worker": (0, 0, 0, 1), "asker": (2, 0, 1, 0), "reader": (0, 2, 0, 0)}
    asker.ok("HELLO", v=1, client="asker")
    assert session(bus, "asker")["published"] == 0


def test_a_service_counts_requests_beyond_its_workers(bus):
    def ask(count):
        asker = bus.req()
        for _ in range(count):
            asker.send("REQ", {"topic": "ask.it"})
            worker.send("REP", {"rid": worker.expect("REQ").head["rid"]})
            asker.expect("REP")

    def requests():
        return {s["topic"]: s["requests"] for s in bus.admin("services")["services"]}

    worker = bus.client("worker")
    worker.ok("SUB", cid=1, serves=["ask.it", "ask.it", "other.it"])
    ask(2)
    assert requests() == {"ask.it": 2, "other.it": 0}
    worker.ok("BYE")
    worker = bus.client("worker")
    worker.ok("SUB", cid=1, serves=["ask.*", "ask.it"])
    ask(3)
    assert requests() == {"ask.*": 3, "ask.it": 5}


def test_answers_tell_when_they_were_true(bus):
    for op in ("info", "streams", "consumers", "services", "routes", "sessions", "topics"):
        before = time.time_ns() // 1000
        assert before - 1_000_000 < bus.admin(op)["now_us"] <= time.time_ns() // 1000


def test_the_statistics_tell_topics_and_flow(make_bus):
    bus = make_bus(broker="  stats_every: 100ms\n")
    d = bus.client("me")
    for i in range(201):
        d.ok("PUB", {"topic": f"live.{i}"}, b"")
    d.ok("PUB", {"topic": "live.7"}, b"")
    d.send("PING", stats={"x": 1})
    d.expect("PONG")
    feed = bus.feed("$sys.stats")
    while True:
        stats = unpack(feed.recv_frames()[3])
        if stats["nodes"]:
            break
    assert len(stats["topics"]) == 200 and stats["topics"][0]["topic"] == "live.7"
    assert stats["nodes"] == [{"client": "me", "member": stats["nodes"][0]["member"], "published": 202, "delivered": 0,
                               "requests": 0, "served": 0, "stats": {"x": 1}}]
