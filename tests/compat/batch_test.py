# SPDX-License-Identifier: Apache-2.0
"""Batches: publishing, delivery to durable and ephemeral subscriptions, GET, and the batched feed."""
import pytest

from bus import events_of, pack, pack_batch, unpack, unpack_batch

pytestmark = pytest.mark.short


def jobs(*ids, topic="job.a"):
    return [({"topic": topic, "id": str(i)}, pack(i)) for i in ids]


def test_one_ok_answers_for_a_batch_without_n(bus):
    d = bus.client("maker")
    ok = d.ok("PUB", {"batch": 5}, pack_batch(jobs(*range(5))))
    assert ok["count"] == 5 and ok["stream"] == "events" and ok["level"] == "disk"
    assert "dup" not in ok and "refused" not in ok
    events = bus.stream()
    assert [e.seq for e in events] == list(range(ok["seq"], ok["seq"] + 5))
    assert [unpack(e.body) for e in events] == list(range(5))
    assert {e.head["source"] for e in bus.stream(batch=True)} == {"maker"}


def test_batches_with_n_count_their_events(bus):
    d = bus.dealer()
    for n in (1, 101, 201):
        d.send("PUB", {"batch": 100, "n": n}, pack_batch(jobs(*range(n, n + 100))))
    while d.expect("OK").head["upto"] < 300:
        pass
    assert [unpack(e.body) for e in bus.stream()] == list(range(1, 301))


def test_refused_events_of_a_batch_are_named_by_index_or_by_n(bus):
    d = bus.dealer()
    mixed = jobs(1) + [({"topic": "Bad", "id": "x"}, b"")] + jobs(2) + [({"topic": "job.a"}, b"no id")] + jobs(3)
    d.send("PUB", {"batch": 5}, pack_batch(mixed))
    errors = [d.expect("ERR").head for _ in range(2)]
    assert {e["index"]: e["name"] for e in errors} == {1: "BAD_TOPIC", 3: "BAD_VALUE"}
    ok = d.expect("OK").head
    assert ok["refused"] == 2 and len(bus.stream()) == 3
    d.send("PUB", {"batch": 5, "n": 1}, pack_batch(mixed))
    assert {d.expect("ERR").head["n"] for _ in range(2)} == {2, 4}
    ok = d.expect("OK").head
    assert ok["upto"] == 5 and ok["dup"] == 3


def test_duplicates_in_a_batch_are_counted(bus):
    d = bus.dealer()
    d.ok("PUB", {"batch": 3}, pack_batch(jobs(1, 2, 3)))
    assert d.ok("PUB", {"batch": 4}, pack_batch(jobs(3, 4, 4, 1)))["dup"] == 3
    assert [unpack(e.body) for e in bus.stream()] == [1, 2, 3, 4]


def test_a_batch_may_mix_topics_and_streams(bus):
    d = bus.dealer()
    ok = d.ok("PUB", {"batch": 3}, pack_batch(jobs(1) + jobs(2, topic="mem.a") + jobs(3, topic="live.a")))
    assert ok["level"] == "none" and ok["count"] == 3
    assert [unpack(e.body) for e in bus.stream()] == [1]
    assert [unpack(e.body) for e in bus.stream("memory")] == [2]


@pytest.mark.parametrize("packed", [b"", b"\0\0", b"\0\0\0\xff\0\0\0\1x", pack_batch(jobs(1)), pack_batch(jobs(1, 2)) + b"\0"])
def test_a_batch_that_is_not_what_its_count_says_is_refused_whole(bus, packed):
    head = bus.dealer().err("BAD_FRAME", "PUB", {"batch": 2}, packed)
    assert head["number"] == 400 and bus.stream() == []


def test_push_takes_batches(bus):
    bus.push().send("PUB", {"batch": 50}, pack_batch(jobs(*range(50))))
    bus.until("50 events", lambda: len(bus.stream()) == 50)


def test_batched_delivery_carries_the_stored_bytes_and_acks_by_range(bus):
    pub = bus.client("maker")
    pub.ok("PUB", {"batch": 100}, pack_batch(jobs(*range(100))))
    pub.ok("PUB", {"topic": "job.b", "id": "single"}, pack("single"))
    c = bus.client("c")
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"], batch=True)
    got, batched = [], 0
    while len(got) < 101:
        msg = c.expect("MSG")
        assert msg.head["cid"] == 1 and msg.head["ts_us"] > 0
        if msg.head.get("batch"):
            batched += 1
            assert len(unpack_batch(msg.frames[0])) == msg.head["count"]
        got += events_of(msg)
    assert batched >= 1 and len({e.seq for e in got}) == 101
    assert {e.head["source"] for e in got} == {"maker"}
    assert [unpack(e.body) for e in got] == list(range(100)) + ["single"]
    assert c.ok("ACK", cid=1, seqs=[[got[0].seq, got[-1].seq]], sync=True)["cid"] == 1
    assert bus.consumer("w")["positions"][0]["pending"] == 0


def test_batched_get_and_unbatched_get_tell_the_same(bus):
    bus.dealer().ok("PUB", {"batch": 30}, pack_batch(jobs(*range(30))))
    bus.publish("job.b", 3)
    plain, batched = bus.stream(), bus.stream(batch=True)
    assert [(e.seq, e.head["id"], e.head["topic"], e.body) for e in plain] == \
           [(e.seq, e.head["id"], e.head["topic"], e.body) for e in batched]


def test_batched_get_does_not_hand_out_more_than_asked(bus):
    bus.dealer().ok("PUB", {"batch": 30}, pack_batch(jobs(*range(30))))
    d = bus.dealer()
    d.send("GET", {"stream": "events", "from": bus.stream()[4].seq, "n": 10, "batch": True})
    got = []
    while (msg := d.recv()).verb == "MSG":
        got += events_of(msg)
    assert [unpack(e.body) for e in got] == list(range(4, 14)) and msg.head["next"] == got[-1].seq + 1


def test_the_batched_feed_has_one_topic_per_message(bus):
    feed = bus.feed("job.", batch=True)
    pub = bus.client("maker")
    pub.ok("PUB", {"batch": 40}, pack_batch(jobs(*range(20)) + jobs(*range(20, 40), topic="job.b")))
    got = []
    while len(got) < 40:
        topic, delivery, packed = feed.recv_frames()
        delivery = unpack(delivery)
        events = unpack_batch(packed)
        assert delivery["batch"] is True and delivery["count"] == len(events) and delivery["stream"] == "events"
        assert {head["topic"] for head, _ in events} == {topic.decode()}
        got += [(delivery["seq"] + i, unpack(body)) for i, (_, body) in enumerate(events)]
    assert [value for _, value in got] == list(range(40))
    assert [seq for seq, _ in got] == [e.seq for e in bus.stream()]


def test_bare_feed_clients_never_see_batches(bus):
    feed = bus.feed("job.")
    bus.client("maker").ok("PUB", {"batch": 10}, pack_batch(jobs(*range(10))))
    for i in range(10):
        topic, delivery, head, body = feed.recv_frames()
        assert topic == b"job.a" and unpack(body) == i and unpack(head)["id"] == str(i)
        assert "batch" not in unpack(delivery)


def test_an_ephemeral_subscription_may_ask_for_batches(bus):
    c = bus.client("c")
    c.ok("SUB", cid=1, topics=["job.*"], batch=True, window=100)
    bus.dealer().ok("PUB", {"batch": 60}, pack_batch(jobs(*range(60))))
    assert [unpack(e.body) for e in c.events(60)] == list(range(60))


def test_a_filtered_consumer_gets_only_its_events_out_of_a_batch(bus):
    bus.dealer().ok("PUB", {"batch": 6}, pack_batch(jobs(1, 2) + jobs(3, topic="job.b") + jobs(4) + jobs(5, 6, topic="job.b")))
    c = bus.client("c")
    c.ok("SUB", cid=1, consumer="b", stream="events", takes=["job.b"], batch=True)
    assert [unpack(e.body) for e in c.events(3, ack=1)] == [3, 5, 6]
    bus.until("nothing pending", lambda: bus.consumer("b")["positions"][0]["pending"] == 0)
