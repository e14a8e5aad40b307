# SPDX-License-Identifier: Apache-2.0
"""Reading the log: GET in all its forms (docs/protocol.md, Reading the log)."""
from bus import events_of, pack, unpack


def get(peer, **keys):
    """(values, END's head) of a range GET."""
    peer.send("GET", {"stream": "events", **keys})
    got = []
    while (msg := peer.recv()).verb == "MSG":
        assert msg.head["stream"] == "events" and msg.head["ts_us"] > 0
        got += events_of(msg)
    assert msg.verb == "END"
    return [unpack(e.body) for e in got], msg.head


def test_get_one_event_from_req_and_dealer(bus):
    seqs = bus.publish("job.a", 3)
    r = bus.req()
    r.send("GET", stream="events", seq=seqs[1], tag=5)
    msg = r.expect("MSG")
    assert msg.head["seq"] == seqs[1] and msg.head["tag"] == 5 and unpack(events_of(msg)[0].body) == 1
    d = bus.dealer()
    d.send("GET", stream="events", seq=seqs[2])
    assert unpack(events_of(d.expect("MSG"))[0].body) == 2
    d.expect("END")


def test_get_what_is_not_there(bus):
    bus.publish("job.a")
    d = bus.dealer()
    d.err("NOT_FOUND", "GET", stream="events", seq=1 << 40)
    d.err("NO_STREAM", "GET", stream="nowhere", seq=1)


def test_ranges_page_through_the_whole_stream(bus):
    seqs, d = bus.publish("job.a", 25), bus.dealer()
    at, pages = 0, []
    while True:
        values, end = get(d, n=10, **{"from": at})
        pages.append(values)
        at = end["next"]
        if at > end["last"]:
            break
    assert sum(pages, []) == list(range(25)) and max(map(len, pages)) == 10
    assert end["first"] == seqs[0] and end["last"] == seqs[-1]


def test_n_is_100_by_default(bus):
    bus.publish("job.a", 120)
    assert len(get(bus.dealer(), **{"from": 0})[0]) == 100


def test_from_time_and_last(bus):
    bus.publish("job.a", 5)
    d = bus.dealer()
    d.send("GET", {"stream": "events", "from": 0})
    at = [d.expect("MSG").head["ts_us"] for _ in range(5)]
    d.expect("END")
    assert get(d, **{"from": {"time_us": at[3]}})[0] == [i for i in range(5) if at[i] >= at[3]]
    assert get(d, **{"from": {"last": 2}})[0] == [3, 4]


def test_bytes_bound_an_answer(bus):
    d = bus.dealer()
    for i in range(10):
        d.ok("PUB", {"topic": "job.a"}, pack(b"x" * 10000))
    values, end = get(d, bytes=35000, **{"from": 0})
    assert 1 <= len(values) <= 4 and end["next"] <= end["last"]


def test_topics_filter_and_next_moves_on(bus):
    d = bus.dealer()
    for i in range(10):
        d.ok("PUB", {"topic": "job.b" if i == 7 else "job.a"}, pack(i))
    at, got = 0, []
    while True:
        values, end = get(d, topics=["job.b"], **{"from": at})
        got += values
        assert end["next"] > at
        at = end["next"]
        if at > end["last"]:
            break
    assert got == [7]


def test_sequence_numbers_are_never_used_twice(bus):
    seen = []
    for _ in range(4):
        seen += bus.publish("job.a", 3)
        bus.restart()
    assert seen == sorted(set(seen)) and [e.seq for e in bus.stream()] == seen


def test_retention_trims_and_says_so(make_bus):
    bus = make_bus(more="  short: { topics: ['short.>'], segment: 64KiB, retain: { size: 256KiB } }")
    d = bus.dealer()
    first = d.ok("PUB", {"topic": "short.a"}, pack(b"x" * 10000))["seq"]
    d.pipeline(200, lambda i: ({"topic": "short.a"}, pack(b"x" * 10000)))

    def trimmed():
        d.send("GET", stream="short", seq=first)
        msg = d.recv()
        if msg.verb == "MSG":
            d.expect("END")
            return False
        assert msg.head["name"] == "TRIMMED" and msg.head["number"] == 410 and msg.head["first"] > first
        return True

    bus.until("the first event to be trimmed", trimmed, patience=90)
    assert bus.stream("short")[-1].seq >= first + 200
