# SPDX-License-Identifier: Apache-2.0
"""Publishing one by one and pipelined, from every kind of socket (docs/protocol.md, Publishing)."""
import json

import pytest
import zmq

from bus import PATIENCE_S, Peer, events_of, pack, unpack

pytestmark = pytest.mark.short


def test_two_lines_from_a_req_socket_give_a_durable_acknowledgement(bus):
    s = bus.context.socket(zmq.REQ); s.connect(bus.url)
    s.send(pack({"topic": "run.metric", "data": {"run_id": "r1", "key": "loss", "value": 0.7, "step": 3}}))
    assert s.poll(PATIENCE_S * 1000)
    verb, ok = s.recv_multipart()
    s.close(0)
    ok = unpack(ok)
    assert verb == b"OK" and ok["stream"] == "events" and ok["seq"] >= 1 and ok["level"] == "disk" and ok["id"]
    assert [e.head["topic"] for e in bus.stream()] == ["run.metric"]


def test_the_three_forms_are_the_same_event(bus):
    d = bus.dealer()
    body = pack({"x": 1})
    d.ok("PUB", {"topic": "job.a"}, body)
    d.send_frames(pack({"topic": "job.a", "data": {"x": 1}}))
    d.expect("OK")
    d.send_frames(b"job.a", body)
    d.expect("OK")
    assert [(e.head["topic"], e.body) for e in bus.stream()] == [("job.a", body)] * 3


def test_bare_map_data_of_type_bin_is_the_body_as_it_is(bus):
    r = bus.req()
    r.send_frames(pack({"topic": "job.a", "data": b'{"json": true}'}))
    r.expect("OK")
    assert json.loads(bus.stream()[0].body) == {"json": True}


def test_the_broker_fills_in_what_is_absent_and_keeps_what_is_there(bus):
    bus.dealer().ok("PUB", {"topic": "job.a"}, b"x")
    bus.client("maker").ok("PUB", {"topic": "job.a"}, b"x")
    given = {"topic": "job.a", "id": "i1", "source": "me", "time": "2026-01-02T03:04:05Z", "subject": "s",
             "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "lab": [1, {"k": None}]}
    bus.dealer().ok("PUB", given, b"x")
    bare, named, full = [e.head for e in bus.stream()]
    assert bare["source"] == "anonymous" and len(bare["id"]) == 36 and bare["id"][14] == "7" and "T" in bare["time"]
    assert named["source"] == "maker"
    assert full == given


def test_a_tag_comes_back(bus):
    d = bus.dealer()
    assert d.ok("PUB", {"topic": "job.a", "tag": 17}, b"x")["tag"] == 17
    assert d.ok("PUB", {"topic": "job.a", "tag": "seventeen"}, b"x")["tag"] == "seventeen"
    assert d.err("BAD_TOPIC", "PUB", {"topic": "Job", "tag": 18}, b"x")["tag"] == 18


def test_levels_say_what_the_stream_promises(bus):
    d = bus.dealer()
    assert d.ok("PUB", {"topic": "job.a"}, b"x")["level"] == "disk"
    assert d.ok("PUB", {"topic": "mem.a"}, b"x")["level"] == "memory"
    ok = d.ok("PUB", {"topic": "live.a"}, b"x")
    assert ok["level"] == "none" and "seq" not in ok and "stream" not in ok


def test_a_window_of_1000_is_acknowledged_cumulatively(bus):
    d, count, window, upto, sent = bus.dealer(), 10000, 1000, 0, 0
    while upto < count:
        while sent < count and sent - upto < window:
            sent += 1
            d.send("PUB", {"topic": "job.a", "id": f"e{sent}", "n": sent}, pack(sent))
        ok = d.expect("OK").head
        assert upto < ok["upto"] <= sent and ok["level"] == "disk"
        upto = ok["upto"]
    events = bus.stream()
    assert [unpack(e.body) for e in events] == list(range(1, count + 1))
    assert [e.seq for e in events] == sorted({e.seq for e in events})
    assert "n" not in events[0].head


def test_an_error_does_not_stop_the_pipeline_and_comes_before_its_ok(bus):
    d = bus.dealer()
    for n, topic in enumerate(["job.a", "Bad", "job.b", "$x", "job.c"], 1):
        d.send("PUB", {"topic": topic, "id": f"e{n}", "n": n}, b"x")
    refused, upto = {}, 0
    while upto < 5:
        msg = d.recv()
        if msg.verb == "ERR":
            assert msg.head["n"] > upto
            refused[msg.head["n"]] = msg.head["name"]
        else:
            upto = msg.head["upto"]
    assert refused == {2: "BAD_TOPIC", 4: "DENIED"}
    assert [e.head["id"] for e in bus.stream()] == ["e1", "e3", "e5"]


def test_n_must_grow(bus):
    d = bus.dealer()
    d.send("PUB", {"topic": "job.a", "n": 1}, b"x")
    assert d.expect("OK").head["upto"] == 1
    assert d.err("BAD_VALUE", "PUB", {"topic": "job.a", "n": 1}, b"y")["n"] == 1
    d.send("PUB", {"topic": "job.a", "n": 2}, b"z")
    assert d.expect("OK").head["upto"] == 2
    assert [e.body for e in bus.stream()] == [b"x", b"z"]


def test_counting_starts_at_1_on_every_connection(bus):
    """A socket reconnects by itself: an OK must never cover numbers that the broker behind it did not see."""
    d = bus.dealer()
    for n in (1, 2, 3):
        d.send("PUB", {"topic": "job.a", "n": n}, pack(n))
    while d.expect("OK").head["upto"] < 3:
        pass
    bus.restart()
    assert d.err("NO_SESSION", "PUB", {"topic": "job.a", "n": 5}, b"x")["n"] == 5
    d.send("PUB", {"topic": "job.a", "n": 1}, pack(4))
    assert d.expect("OK").head["upto"] == 1
    assert d.err("NO_SESSION", "PUB", {"topic": "job.a", "n": 3}, b"x")["n"] == 3
    assert [unpack(e.body) for e in bus.stream()] == [1, 2, 3, 4]


def test_the_same_id_is_stored_once_also_after_a_kill(bus):
    event = {"topic": "job.a", "id": "order-1", "source": "shop"}
    d = bus.dealer()
    first = d.ok("PUB", event, b"x")
    again = d.ok("PUB", event, b"x")
    assert again["dup"] is True and again["seq"] == first["seq"] and again["level"] == "disk"
    assert "dup" not in d.ok("PUB", {**event, "source": "other"}, b"x")
    bus.restart()
    after = bus.dealer().ok("PUB", event, b"x")
    assert after["dup"] is True and after["seq"] == first["seq"]
    assert [e.head["source"] for e in bus.stream()] == ["shop", "other"]


def test_pipelined_duplicates_are_counted(bus):
    d = bus.dealer()
    for n in (1, 2, 3, 4):
        d.send("PUB", {"topic": "job.a", "id": f"e{n % 2}", "source": "s", "n": n}, b"x")
    dups, upto = 0, 0
    while upto < 4:
        ok = d.expect("OK").head
        dups, upto = dups + ok.get("dup", 0), ok["upto"]
    assert dups == 2 and len(bus.stream()) == 2


def test_a_resend_after_a_kill_is_safe(bus):
    d = bus.client("pump")
    for n in range(1, 501):
        d.send("PUB", {"topic": "job.a", "id": f"e{n}", "n": n}, b"x")
    d.expect("OK")
    bus.restart()
    d = bus.client("pump")
    for n in range(1, 501):
        d.send("PUB", {"topic": "job.a", "id": f"e{n}", "n": n}, b"x")
    while d.expect("OK").head["upto"] < 500:
        pass
    ids = [e.head["id"] for e in bus.stream()]
    assert len(ids) == len(set(ids)) == 500


def test_push_publishes_without_reply_in_all_forms(bus):
    p = bus.push()
    p.send("PUB", {"topic": "job.a", "id": "1"}, b"x")
    p.send_frames(pack({"topic": "job.a", "id": "2", "data": b"x"}))
    p.send_frames(b"job.a", b"x")
    bus.until("three events", lambda: len(bus.stream()) == 3)
    assert [e.head["id"] for e in bus.stream()][:2] == ["1", "2"]


def test_pub_is_lossy_while_joining_and_works_when_joined(bus):
    feed = bus.feed("live.")
    p = bus.peer(zmq.PUB, 3)
    sent = 0

    def arrived():
        nonlocal sent
        sent += 1
        p.send_frames(b"live.a", pack(sent))
        return feed.socket.poll(20)

    bus.until("a first event from the PUB socket", arrived)
    first = unpack(feed.recv_frames()[3])
    assert 1 <= first <= sent
    p.send_frames(b"live.end", b"joined")
    while (got := feed.recv_frames())[0] != b"live.end":
        assert unpack(got[3]) > first
    assert got[3] == b"joined"


@pytest.mark.parametrize("kind, plus", [(zmq.PUSH, 1), (zmq.PUB, 3)])
def test_what_an_unanswered_socket_gets_refused_becomes_an_event(bus, kind, plus):
    p = bus.peer(kind, plus)
    watch = bus.client("watch")
    watch.ok("SUB", cid=1, topics=["$sys.rejected"], stream="$sys", **{"from": "all"})

    def rejected():
        p.send_frames(b"Nonsense", b"x" * 1000)
        return watch.socket.poll(20)

    bus.until("$sys.rejected", rejected)
    event = events_of(watch.expect("MSG"))[0]
    told = unpack(event.body)
    assert event.head["topic"] == "$sys.rejected"
    assert told["reason"] and told["text"] and told["socket"] and 0 < len(told["head"]) <= 256
    assert bytes(told["head"][:8] if isinstance(told["head"], bytes) else told["head"][:8].encode()) == b"Nonsense"


def test_a_body_that_does_not_fit_its_schema_is_refused_with_the_place(make_bus, tmp_path):
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "job.done.yaml").write_text("type: object\nrequired: [size]\nproperties:\n  size: { type: integer, minimum: 1 }\n")
    bus = make_bus(more=f'schemas: ["{folder}"]')
    d = bus.dealer()
    assert "size" in d.err("SCHEMA", "PUB", {"topic": "job.done", "id": "a"}, pack({"size": "big"}))["path"]
    assert d.err("SCHEMA", "PUB", {"topic": "job.done"}, b'{"size": 0}')["number"] == 422
    d.ok("PUB", {"topic": "job.done"}, pack({"size": 1}))
    d.ok("PUB", {"topic": "job.done"}, b'{"size": 2}')
    p = bus.push()
    p.send_frames(b"job.done", pack({"size": 0}))
    bus.until("$sys.rejected", lambda: len(bus.stream("$sys")) == 1)
    assert unpack(bus.stream("$sys")[0].body)["reason"] == "SCHEMA"
    assert len(bus.stream()) == 2


def test_req_sockets_get_their_empty_frame_back(bus):
    """A DEALER that sends the empty frame sees it in every reply, as a REQ socket needs it."""
    d = bus.dealer()
    d.send_frames(b"", b"PUB", pack({"topic": "job.a"}), b"x")
    assert d.recv_frames()[:2] == [b"", b"OK"]
    d.send_frames(b"", b"PUB", pack({"topic": "Bad"}), b"x")
    assert d.recv_frames()[:2] == [b"", b"ERR"]


def test_publishing_to_memory_survives_a_crash_of_the_broker(bus):
    d = bus.dealer()
    for i in range(100):
        d.ok("PUB", {"topic": "mem.a"}, pack(i))
    bus.restart()
    assert [unpack(e.body) for e in bus.stream("memory")] == list(range(100))


def test_every_event_that_a_slow_linger_lets_out_arrives(bus):
    """PUSH, send, close: the linger of the protocol's advice is enough."""
    for i in range(50):
        p = Peer(bus.context, zmq.PUSH, bus.endpoint(1))
        p.send_frames(b"job.a", pack(i))
        p.close(linger=2000)
    bus.until("50 events", lambda: len(bus.stream()) == 50)


def test_a_bare_map_may_be_numbered_and_tagged(bus):
    d = bus.dealer()
    d.send_frames(pack({"topic": "job.a", "data": 1, "tag": "t"}))
    assert d.expect("OK").head["tag"] == "t"
    d.send_frames(pack({"topic": "job.a", "n": 1, "data": 2}))
    assert d.expect("OK").head["upto"] == 1
    d.send_frames(pack({"topic": "job.a"}))
    d.expect("OK")
    d.send_frames(b"job.a")
    d.expect("OK")
    events = bus.stream()
    assert [e.body for e in events] == [pack(1), pack(2), b"", b""]
    assert not {"n", "tag", "data"} & {key for e in events for key in e.head}


def test_several_open_publishes_are_answered_in_their_order(bus):
    d = bus.dealer()
    for i in range(100):
        d.send("PUB", {"topic": ("job.a", "mem.a", "live.a")[i % 3], "tag": i}, b"x")
    assert [d.expect("OK").head["tag"] for _ in range(100)] == list(range(100))
