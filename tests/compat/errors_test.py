# SPDX-License-Identifier: Apache-2.0
"""Every error of the protocol's table is provoked, with the number and the `again` that the table gives it.
STORAGE and DISK_FULL need a failing disk: tests/e2e/faults_test.py. BUG cannot be asked for."""
import re
import signal

import pytest
import zmq

from bus import ROOT, pack, unpack

ROW = re.compile(r"^\| ([A-Z_]+) \| (\d+) \| (yes|no) \| ", re.M)
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text()
TABLE = {name: (int(number), again == "yes") for name, number, again in ROW.findall(DOCUMENT.split("## Errors")[1])}
ELSEWHERE = {"STORAGE", "DISK_FULL", "BUG"}


def serving(bus):
    w = bus.client("worker")
    w.ok("SUB", cid=1, serves=["job.sum"])
    return w


def bad_frame(bus):
    d = bus.dealer()
    d.send_frames(b"7up")
    return d.expect("ERR").head


def bad_topic(bus):
    return bus.dealer().err("BAD_TOPIC", "PUB", {"topic": "Job.A"}, b"")


def bad_value(bus):
    return bus.dealer().err("BAD_VALUE", "PUB", {"topic": "job.a", "id": 7}, b"")


def no_session(bus):
    return bus.dealer().err("NO_SESSION", "SUB", cid=1, topics=["job.>"])


def denied(bus):
    return bus.dealer().err("DENIED", "PUB", {"topic": "$sys.x"}, b"")


def no_stream(bus):
    return bus.dealer().err("NO_STREAM", "GET", {"stream": "nowhere", "from": 0})


def no_consumer(bus):
    return bus.client().err("NO_CONSUMER", "SUB", cid=1, consumer="nobody")


def no_request(bus):
    return bus.dealer().err("NO_REQUEST", "CANCEL", rid=1)


def not_found(bus):
    return bus.dealer().err("NOT_FOUND", "GET", stream="events", seq=1 << 50)


def bad_verb(bus):
    return bus.dealer().err("BAD_VERB", "FETCH", x=1)


def conflict(bus):
    c = bus.client()
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.a"])
    return c.err("CONFLICT", "SUB", cid=2, consumer="w", stream="events", takes=["job.b"])


def trimmed(bus):
    d = bus.dealer()
    d.pipeline(120, lambda i: ({"topic": "short.a"}, pack(b"x" * 10000)))
    told = []

    def gone():
        d.send("GET", stream="short", seq=1)
        msg = d.recv()
        if msg.verb == "ERR":
            told.append(msg.head)
            return True
        d.expect("END")
        return False

    bus.until("retention", gone, patience=90)
    return told[0]


def too_big(bus):
    return bus.dealer().err("TOO_BIG", "PUB", {"topic": "job.a"}, b"x" * ((1 << 20) + 1))


def schema(bus):
    return bus.dealer().err("SCHEMA", "PUB", {"topic": "run.metric"}, pack({"key": 7}))


def busy(bus):
    serving(bus)
    d = bus.dealer()
    for rid in range(50):
        d.send("REQ", rid=rid, topic="job.sum")
    return d.recv().head


def quota(bus):
    c = bus.client()
    for cid in range(512):
        c.ok("SUB", cid=cid, topics=["job.>"], window=10)
    return c.err("QUOTA", "SUB", cid=512, topics=["job.>"], window=10)


def stale(bus):
    c = bus.client()
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.a"])
    return c.err("STALE", "NAK", cid=1, seqs=[1])


def cancelled(bus):
    serving(bus)
    d = bus.dealer()
    d.send("REQ", rid=1, topic="job.sum")
    return d.err("CANCELLED", "CANCEL", rid=1)


def no_responder(bus):
    return bus.dealer().err("NO_RESPONDER", "REQ", rid=1, topic="job.sum")


def worker_lost(bus):
    w, d = serving(bus), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum")
    w.send("REP", {"rid": w.expect("REQ").head["rid"], "more": True}, b"x")
    d.expect("REP")
    w.close()
    return d.expect("ERR").head


def timeout(bus):
    serving(bus)
    return bus.dealer().err("TIMEOUT", "REQ", rid=1, topic="job.sum", timeout=20)


def draining(bus):
    """A broker that is told to stop while publishers go on: those who are too late hear DRAINING."""
    d = bus.client()
    try:
        for n in range(1, 20001):
            d.socket.send_multipart([b"PUB", pack({"topic": "job.a", "n": n}), b"x" * 500], zmq.DONTWAIT)
            if n == 10000:
                bus.process.send_signal(signal.SIGTERM)
    except zmq.Again:
        pass  # the broker is gone, and the socket holds as much as it may
    try:
        while True:
            msg = d.recv(5)
            if msg.verb == "ERR" and msg.head["name"] != "BUSY":
                return msg.head
    except AssertionError:
        return pytest.skip("the broker was gone before the stop met a publish")


@pytest.mark.parametrize("name", sorted(set(TABLE) - ELSEWHERE))
def test_error(make_bus, name):
    short = "  short: { topics: ['short.>'], segment: 64KiB, retain: { size: 128KiB } }"
    bus = make_bus(broker="  requests_max: 40" if name == "BUSY" else "", more=short if name == "TRIMMED" else "")
    head = globals()[name.lower()](bus)
    number, again = TABLE[name]
    assert head["name"] == name and head["number"] == number and head["again"] is again
    assert 8 <= len(head["text"]) <= 480 and "\n" not in head["text"]
    if name == "TRIMMED":
        assert head["first"] > 1


@pytest.mark.parametrize("frames", [
    [b"PUB"], [b"PUB", b"not a map"], [b"PUB", pack(7)], [b"PUB", pack({"topic": "job.a"})[:-1]],
    [b"PUB", pack({"topic": "job.a"}), b"", b""],
    [b"\x81"], [b"\x80"], [b"\xff"], [b" "], [b"!"], [b"", b"", b"PUB"], [b"1", b"2"], [b"Nope.nope"], [b"PUBX", pack({})],
    [pack({"topic": "job.a", "data": 1}), b"extra"], [b"PUB", pack({1: "x"})], [b"PUB", pack({"topic": 3})], [b"a..b", b""],
    [b"job.A", b""], [b"job.a", b"x", b"y"], [b"." * 10, b""], [b"x" * 201, b""], [b"PUB", pack({"topic": "job." + "a" * 200})]],
    ids=range(23))
def test_messages_of_the_wrong_form_are_answered_and_harm_nobody(bus, frames):
    d = bus.dealer()
    d.send_frames(*frames)
    answer = d.recv_frames()
    verb, head = [unpack(f) if f[:1] > b"\x7f" else f for f in answer if f]
    assert verb == b"ERR" and head["number"] in (400, 405) and head["again"] is False
    d.ok("PUB", {"topic": "job.a"}, b"x")
    assert len(bus.stream()) == 1


@pytest.mark.parametrize("key, value", [
    ("topic", "job.*"), ("topic", "job.>"), ("topic", ""), ("id", ""), ("id", "x" * 257), ("id", 7),
    ("source", "x" * 257), ("source", ""),
    ("source", None), ("time", 7), ("subject", []), ("traceparent", {}), ("n", -1), ("n", "1"), ("tag", -1),
    ("tag", "x" * 65),
    ("tag", [1]), ("batch", "2"), ("batch", 0)])
def test_header_values_of_the_wrong_type_or_range(bus, key, value):
    d = bus.dealer()
    d.send("PUB", {"topic": "job.a", key: value}, b"x")
    head = d.expect("ERR").head
    assert head["number"] == 400 and bus.stream() == []


@pytest.mark.parametrize("verb, keys, name", [
    ("SUB", {"topics": ["job.>"]}, "BAD_VALUE"), ("SUB", {"cid": "1", "topics": ["job.>"]}, "BAD_VALUE"),
    ("SUB", {"cid": 1}, "BAD_VALUE"),
    ("SUB", {"cid": 1, "topics": []}, "BAD_VALUE"), ("SUB", {"cid": 1, "topics": ["a.>.b"]}, None),
    ("SUB", {"cid": 1, "topics": "job.>"}, "BAD_VALUE"),
    ("SUB", {"cid": 1, "topics": ["job.>"], "stream": "nowhere"}, "NO_STREAM"),
    ("SUB", {"cid": 1, "topics": ["job.>"], "window": -1}, "BAD_VALUE"),
    ("SUB", {"cid": 1, "topics": ["job.>"], "window": 10001}, "BAD_VALUE"),
    ("SUB", {"cid": 1, "topics": ["job.>"], "from": "sometime"}, "BAD_VALUE"),
    ("SUB", {"cid": 1, "consumer": "w", "stream": "nowhere", "takes": ["job.>"]}, "NO_STREAM"),
    ("SUB", {"cid": 1, "consumer": "w", "stream": "events"}, "BAD_VALUE"),
    ("SUB", {"cid": 1, "consumer": "w", "stream": "events", "takes": ["job.>"], "share": "all"}, "BAD_VALUE"),
    ("SUB", {"cid": 1, "consumer": "w", "stream": "events", "takes": ["job.>"], "backoff": 7}, "BAD_VALUE"),
    ("SUB", {"cid": 1, "consumer": "no good", "stream": "events", "takes": ["job.>"]}, None),
    ("SUB", {"cid": 1, "serves": []}, "BAD_VALUE"),
    ("SUB", {"cid": 1, "serves": ["job.a"], "slots": 1001}, "BAD_VALUE"), ("ACK", {"cid": 77, "seqs": [1]}, "NOT_FOUND"),
    ("ACK", {"cid": 77}, None),
    ("NAK", {"cid": 77, "seqs": [1]}, "NOT_FOUND"), ("BYE", {"cid": 77}, "NOT_FOUND"),
    ("MORE", {"cid": 77, "n": 1}, "NOT_FOUND"),
    ("GET", {"stream": "events", "from": "x"}, "BAD_VALUE"),
    ("GET", {"stream": "events", "from": 0, "n": 1001}, "BAD_VALUE"), ("GET", {}, "BAD_VALUE"),
    ("REQ", {"rid": 1}, None), ("REQ", {"rid": 1, "topic": "job.*"}, "BAD_TOPIC"),
    ("REQ", {"rid": 1, "topic": "job.a", "timeout": 3600001}, "BAD_VALUE"),
    ("ADM", {}, "BAD_VALUE"), ("ADM", {"op": "dance"}, None), ("ADM", {"op": "dlq.replay"}, "BAD_VALUE"),
    ("ADM", {"op": "dlq.replay", "seq": 1}, "NOT_FOUND"),
    ("OK", {}, "BAD_VERB"), ("MSG", {}, "BAD_VERB"), ("PING", {"sync": "A B"}, "BAD_VALUE"),
    ("PING", {"sync": "x" * 65}, "BAD_VALUE")])
def test_verbs_with_wrong_keys(bus, verb, keys, name):
    c = bus.client()
    c.send(verb, keys, tag=99)
    head = c.expect("ERR").head
    assert head["tag"] == 99 and 400 <= head["number"] < 500 and (name is None or head["name"] == name), head
    c.ok("SUB", cid=50, topics=["job.>"])


@pytest.mark.parametrize("seqs", [7, ["a"], [-1], [[1]], [[5, 2]], [[1, 2, 3]], [[1, "x"]], {}])
def test_seqs_of_the_wrong_form(bus, seqs):
    c = bus.client()
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"])
    c.err("BAD_VALUE", "ACK", cid=1, seqs=seqs, tag=1)


def test_a_cid_names_one_subscription(bus):
    c = bus.client()
    c.ok("SUB", cid=1, topics=["job.>"])
    assert c.err("CONFLICT", "SUB", cid=1, topics=["run.>"])["cid"] == 1
