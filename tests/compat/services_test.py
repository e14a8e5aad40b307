# SPDX-License-Identifier: Apache-2.0
"""What clients say of themselves: HTTP routes, services with slots and about, stats; and the broker's own events
(docs/protocol.md, Sessions, Requests, Administration, The broker's own events)."""
import pytest
import zmq

from bus import pack, unpack

pytestmark = pytest.mark.short

RUNS = {"method": "GET", "path": "/api/runs/{id}", "topic": "job.runs", "summary": "one run"}


def route(**keys):
    return {**RUNS, **keys}


def told(bus):
    return [(r["method"], r["path"], r["client"]) for r in bus.admin("routes")["routes"]]


def next_on(feed, topic):
    """The body of the next event of this topic on a live feed."""
    while True:
        frames = feed.recv_frames()
        if frames[0] == topic:
            return unpack(frames[3])


# ---- routes


def test_routes_are_told_sorted_by_path_each_once(bus):
    routes = [route(path="/b", method=m) for m in ("PUT", "GET")] + [
        {"method": "POST", "path": "/a/{rest...}", "topic": "job.a", "future": 1}, RUNS]
    bus.client("c", member="1", routes=routes), bus.client("c", member="2", routes=routes)
    bus.client("d", routes=[route(path="/c/"), route(path="/")])
    assert told(bus) == [("GET", "/", "d"), ("POST", "/a/{rest...}", "c"), ("GET", "/api/runs/{id}", "c"),
                         ("GET", "/b", "c"), ("PUT", "/b", "c"), ("GET", "/c/", "d")]
    assert bus.admin("routes")["routes"][2] == {**RUNS, "client": "c"}
    assert bus.admin("routes")["routes"][1]["summary"] == ""


@pytest.mark.parametrize("wrong", [
    5, {}, route(method="TRACE"), route(method="get"), route(method=None), route(path=""), route(path="a"), route(path=7),
    route(path="/" + "x" * 400), route(path="/a//b"), route(path="/a b"), route(path="/a/{"), route(path="/a/{}"),
    route(path="/a/x{id}"), route(path="/a/{i d}"), route(path="/{a...}/b"), route(path="/{a}/{a}"), route(path="/a?b=1"),
    route(path="/%41"), route(path="/{" + "x" * 65 + "}"), route(topic="job.*"), route(topic="Job"), route(topic="$sys.a"),
    route(topic=None), route(summary="x" * 201), route(summary=1),
    route(bytes=1), route(bytes="yes"), route(path="/api/runs/{other}", topic="job.b")])
def test_a_wrong_route_is_named_and_refused(bus, wrong):
    head = bus.dealer().err("BAD_VALUE", "HELLO", v=1, client="c", routes=[RUNS, wrong])
    assert "route 2" in head["text"]
    assert told(bus) == []


def test_a_route_may_carry_bytes(bus):
    bus.client("c", routes=[route(path="/a", bytes=True), route(path="/b", bytes=False), route(path="/c")])
    assert [r.get("bytes") for r in bus.admin("routes")["routes"]] == [True, None, None]


def test_512_long_routes_and_no_more(bus):
    many = [{"method": "GET", "path": f"/{i:03}/".ljust(400, "x"), "topic": "job." + "y" * 190, "summary": "z" * 200}
            for i in range(513)]
    bus.dealer().err("BAD_VALUE", "HELLO", v=1, client="c", routes=many)
    bus.dealer().err("BAD_VALUE", "HELLO", v=1, client="c", routes="/a")
    before = bus.admin("info")["memory"]
    c = bus.client("c", routes=many[:512])
    assert len(bus.admin("routes")["routes"]) == 512 and bus.admin("info")["memory"] - before > 400_000
    c.ok("BYE")
    assert bus.admin("info")["memory"] == before


def test_one_route_has_one_client(bus):
    holder = bus.client("holder", routes=[RUNS])
    d = bus.dealer()
    head = d.err("CONFLICT", "HELLO", v=1, client="other", routes=[route(path="/x"), route(path="/api/runs/{name}")])
    assert "/api/runs/{id}" in head["text"] and "holder" in head["text"]
    d.err("NO_SESSION", "SUB", cid=1, topics=["job.>"])
    assert told(bus) == [("GET", "/api/runs/{id}", "holder")]
    d.ok("HELLO", v=1, client="other", routes=[route(method="DELETE"), route(path="/api/runs/{id...}")])
    holder.ok("BYE")
    d.ok("HELLO", v=1, client="other", routes=[RUNS])
    assert told(bus) == [("GET", "/api/runs/{id}", "other")]


def test_a_session_goes_on_when_its_second_hello_is_refused(bus):
    bus.client("holder", routes=[RUNS])
    c = bus.client("c", routes=[route(path="/mine")])
    c.ok("SUB", cid=1, topics=["live.>"])
    c.err("CONFLICT", "HELLO", v=1, client="c", routes=[RUNS])
    bus.dealer().ok("PUB", {"topic": "live.a"}, b"x")
    assert c.expect("MSG").head["cid"] == 1
    assert ("GET", "/mine", "c") in told(bus)
    c.ok("HELLO", v=1, client="renamed", routes=[route(path="/mine")])
    assert ("GET", "/mine", "renamed") in told(bus)


def test_a_route_lives_as_long_as_one_of_its_members(bus):
    one = bus.client("c", member="1", routes=[RUNS])
    two = bus.client("c", member="2", routes=[route(path="/api/runs/{run}", topic="job.new")])
    assert bus.admin("routes")["routes"][0]["topic"] == "job.new"  # the latest one's
    two.close()
    bus.until("the older one's", lambda: bus.admin("routes")["routes"][0]["topic"] == "job.runs")
    bus.client("c", member="1")  # replaced, and the new one declares none
    assert one.expect("GOODBYE").head["reason"] == "replaced"
    assert told(bus) == []
    assert bus.stop() == 0


# ---- services


def test_services_name_their_workers(bus):
    a = bus.client("a", member="1")
    a.ok("SUB", cid=1, serves=["job.sum", "job.add", "job.sum"], slots=3, about={"models": [{"id": "m"}]})
    b = bus.client("b", member="2")
    b.ok("SUB", cid=9, serves=["job.sum"])
    d = bus.dealer()
    d.send("REQ", rid=1, topic="job.add")
    a.expect("REQ")
    add, total = bus.admin("services")["services"]
    assert (add["topic"], add["members"], add["slots"], add["busy"], add["waiting"]) == ("job.add", 1, 3, 1, 0)
    assert (total["topic"], total["members"], total["slots"], total["busy"]) == ("job.sum", 2, 4, 1)
    assert total["workers"] == [
        {"client": "a", "member": "1", "slots": 3, "busy": 1, "about": {"models": [{"id": "m"}]}},
        {"client": "b", "member": "2", "slots": 1, "busy": 0, "about": {}}]


def test_a_worker_that_is_away_counts_as_absent(bus):
    w, d = bus.client("w"), bus.dealer()
    w.ok("SUB", cid=1, serves=["job.sum"], slots=1)
    d.send("REQ", rid=1, topic="job.sum")
    call = w.expect("REQ").head["rid"]
    d.send("REQ", rid=2, topic="job.sum")
    w.ok("SUB", cid=1, serves=["job.sum"], slots=0, away=True)
    assert d.wait("ERR", rid=2).head["name"] == "NO_RESPONDER"
    d.send("REQ", rid=3, topic="job.sum")
    assert d.wait("ERR", rid=3).head["name"] == "NO_RESPONDER"
    w.send("REP", {"rid": call}, b"done")
    assert d.wait("REP", rid=1).frames == [b"done"]
    w.ok("SUB", cid=1, serves=["job.sum"], slots=1, away=False)
    d.send("REQ", rid=4, topic="job.sum")
    w.expect("REQ")
    w.err("BAD_VALUE", "SUB", cid=1, serves=["job.sum"], away=1)


def test_sub_again_changes_slots_and_about_and_calls_go_on(bus):
    w, d = bus.client("w"), bus.dealer()
    w.ok("SUB", cid=1, serves=["job.sum"], slots=2, about={"a": 1})
    d.send("REQ", rid=1, topic="job.sum")
    call = w.expect("REQ").head["rid"]
    assert w.ok("SUB", cid=1, serves=["job.sum"], slots=5, tag=7) == {"cid": 1, "tag": 7}
    worker, = bus.admin("services")["services"][0]["workers"]
    assert (worker["slots"], worker["busy"], worker["about"]) == (5, 1, {"a": 1})
    w.ok("SUB", cid=1, serves=["job.sum"], about={})
    worker, = bus.admin("services")["services"][0]["workers"]
    assert (worker["slots"], worker["about"]) == (5, {})
    w.send("REP", {"rid": call}, b"done")
    assert d.expect("REP").frames[0] == b"done"


def test_an_update_that_is_wrong_changes_nothing(bus):
    w = bus.client("w")
    w.ok("SUB", cid=1, serves=["job.sum"], slots=2)
    w.ok("SUB", cid=2, topics=["job.>"])
    w.err("CONFLICT", "SUB", cid=1, serves=["job.sum", "job.add"], slots=9)
    w.err("CONFLICT", "SUB", cid=1, topics=["job.>"])
    w.err("CONFLICT", "SUB", cid=2, serves=["job.>"])
    for keys in ({"slots": 1001}, {"slots": -1}, {"slots": "2"}, {"about": 5}, {"about": [1]}, {"about": {"x": "y" * 16384}},
                 {"slots": 9, "about": "x"}, {"about": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {}}}}}}}}}}):
        w.err("BAD_VALUE", "SUB", {"cid": 1, "serves": ["job.sum"], **keys})
        w.err("BAD_VALUE", "SUB", {"cid": 3, "serves": ["job.new"], **keys})
    service, = bus.admin("services")["services"]
    assert service["topic"] == "job.sum" and service["slots"] == 2
    w.ok("SUB", cid=1, serves=["job.sum"], about={"x": "y" * 4080})


def test_with_no_slots_requests_wait_and_come_when_they_are_raised(bus):
    w, d = bus.client("w"), bus.dealer()
    w.ok("SUB", cid=1, serves=["job.sum"], slots=0)
    for rid in range(3):
        d.send("REQ", rid=rid, topic="job.sum")
    d.barrier()
    assert w.barrier() == [] and bus.admin("info")["requests_waiting"] == 3
    w.send("SUB", cid=1, serves=["job.sum"], slots=2)
    assert [w.recv().verb for _ in range(3)] == ["OK", "REQ", "REQ"] and w.barrier() == []
    assert bus.admin("services")["services"][0]["waiting"] == 1
    w.ok("SUB", cid=1, serves=["job.sum"], slots=0)
    w.ok("BYE", cid=1)
    assert [d.expect_err("NO_RESPONDER")["rid"] for _ in range(3)]


def test_with_slots_lowered_what_is_under_way_goes_on(bus):
    w, d = bus.client("w"), bus.dealer()
    w.ok("SUB", cid=1, serves=["job.sum"], slots=2)
    for rid in range(3):
        d.send("REQ", rid=rid, topic="job.sum")
    calls = [w.expect("REQ").head["rid"] for _ in range(2)]
    w.ok("SUB", cid=1, serves=["job.sum"], slots=1)
    w.send("REP", {"rid": calls[0]}, b"0")
    d.expect("REP")
    assert w.barrier() == []
    w.send("REP", {"rid": calls[1]}, b"1")
    w.expect("REQ")


# ---- stats


def test_stats_of_the_latest_ping_stay_with_the_session(bus):
    c, d = bus.client("c", member="1"), bus.client("b", member="2")
    c.send("PING", stats={"requests_total": 3, "queue": 2**63, "load_1": -0.5}, t=4)
    assert c.expect("PONG").head["t"] == 4
    c.send("PING")
    c.expect("PONG")
    b, cc = bus.admin("sessions")["sessions"]
    assert (b["client"], b["member"], "stats" in b) == ("b", "2", False)
    assert (cc["client"], cc["member"]) == ("c", "1") and cc["since_us"] > 1e15
    assert cc["stats"] == {"requests_total": 3, "queue": 2**63, "load_1": -0.5}
    c.send("PING", stats={})
    c.expect("PONG")
    assert bus.admin("sessions")["sessions"][1]["stats"] == {}
    c.send("PING", stats={"a": 1})
    c.expect("PONG")
    c.ok("HELLO", v=1, client="c")
    assert all("stats" not in s for s in bus.admin("sessions")["sessions"])
    d.ok("BYE")
    assert len(bus.admin("sessions")["sessions"]) == 1


@pytest.mark.parametrize("stats", [
    5, [1], {"a": "1"}, {"a": None}, {"a": True}, {"a": {}}, {"A": 1}, {"": 1}, {"a" * 101: 1}, {"a-b": 1}, {5: 1}, {"a": float("nan")},
    {"a": float("inf")}, {f"a{i}": 1 for i in range(201)}, {f"{i:099}": 1 for i in range(41)}])
def test_stats_that_are_not_numbers_by_name_are_refused(bus, stats):
    c = bus.client("c")
    c.send("PING", stats={"good": 1})
    c.expect("PONG")
    c.err("BAD_VALUE", "PING", stats=stats)
    assert bus.admin("sessions")["sessions"][0]["stats"] == {"good": 1}


def test_stats_without_a_session_are_ignored(bus):
    d = bus.dealer()
    d.send("PING", stats={"a": 1})
    assert d.expect("PONG").head["session"] is False
    assert bus.admin("sessions")["sessions"] == []


# ---- the broker's own events


def test_sys_stats_tells_what_there_is_to_measure(make_bus):
    bus = make_bus(broker="  stats_every: 100ms")
    feed = bus.feed("$sys.stats")
    c, w = bus.client("c", member="1"), bus.client("w", member="2")
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.a"], window=2)
    seqs = bus.publish("job.a", 5) + bus.publish("job.b", 1)
    for _ in range(2):
        c.expect("MSG")
    c.send("ACK", cid=1, seqs=seqs[:1], sync=True)
    c.wait("OK", cid=1), c.expect("MSG")
    w.ok("SUB", cid=1, serves=["job.sum"], slots=0)
    bus.dealer().send("REQ", rid=1, topic="job.sum")
    w.send("PING", stats={"tokens_total": 7})
    w.expect("PONG")
    bus.until("the request", lambda: bus.admin("info")["requests_waiting"] == 1)
    next_on(feed, b"$sys.stats")
    body = next_on(feed, b"$sys.stats")  # made after all that
    while feed.socket.poll(0):
        body = next_on(feed, b"$sys.stats")
    info = bus.admin("info")
    assert set(info) - {"op"} <= set(body) and set(info["counters"]) == set(body["counters"])
    assert body["sessions"] == 2 and body["requests"] == body["requests_waiting"] == 1 and body["memory"] > 0
    events = {s["name"]: s for s in body["streams"]}["events"]
    assert events["events"] == events["published"] == 6 and events["next"] == seqs[-1] + 1 and events["first"] == seqs[0]
    assert events["health"] == "healthy" and events["bytes"] > 0
    consumer, = body["consumers"]
    assert "positions" not in consumer and consumer["name"] == "w" and consumer["stream"] == "events"
    assert (consumer["pending"], consumer["in_flight"], consumer["acked"], consumer["delivered"]) == (4, 2, 1, 3)
    assert consumer["oldest_ms"] >= 0 and consumer["naked"] == consumer["dead"] == 0
    (node,) = body["nodes"]
    assert (node["client"], node["member"], node["stats"]) == ("w", "2", {"tokens_total": 7}) and "truncated" not in body
    told, = bus.admin("consumers")["consumers"]
    assert {k: told[k] for k in consumer if k != "oldest_ms"} == {k: v for k, v in consumer.items() if k != "oldest_ms"}


def test_sys_stats_that_would_be_too_big_is_cut_and_says_so(make_bus):
    bus = make_bus(broker="  stats_every: 100ms\n  body_max: 4KiB")
    feed = bus.feed("$sys.stats")
    for i in range(8):
        c = bus.client("c", member=str(i))
        c.send("PING", stats={f"{'n' * 90}{k}": k for k in range(9)})
        c.expect("PONG")
    while "truncated" not in (body := next_on(feed, b"$sys.stats")):
        pass
    assert body["truncated"] is True and len(pack(body)) <= 4096
    assert 0 < len(body["nodes"]) < 8 and {s["name"] for s in body["streams"]} == {"events", "memory", "$sys"}


@pytest.mark.parametrize("batch", [False, True])
def test_sys_services_is_told_on_every_feed_when_something_changed(bus, batch):
    feed = bus.feed("$sys.services", batch=batch)
    watch, w = bus.client("watch"), bus.client("w")
    watch.ok("SUB", cid=1, topics=["$sys.stats", "$sys.services"])

    def told_once():
        """Both feeds tell the change, with the same number."""
        msg = watch.wait("MSG", cid=1)
        assert unpack(msg.frames[0])["topic"] == "$sys.services" and "stream" not in msg.head
        on_feed = feed.recv_frames()
        assert on_feed[0] == b"$sys.services"
        return unpack(msg.frames[1])["change"]

    changes = []
    for step in (lambda: w.ok("SUB", cid=1, serves=["job.sum"]), lambda: w.ok("SUB", cid=1, serves=["job.sum"], slots=4),
                 lambda: w.ok("SUB", cid=1, serves=["job.sum"], about={"a": 1}), lambda: w.ok("BYE", cid=1),
                 lambda: w.ok("HELLO", v=1, client="w", routes=[RUNS]), lambda: w.close()):
        step()
        changes.append(told_once())
    assert changes == sorted(set(changes))
    assert bus.stream("$sys") == []


def test_sys_services_is_quiet_when_nothing_changed(bus):
    w, watch = bus.client("w"), bus.client("watch")
    watch.ok("SUB", cid=1, topics=["$sys.services"])
    w.ok("SUB", cid=1, serves=["job.sum"], slots=2, about={"a": 1})
    first = unpack(watch.expect("MSG").frames[1])["change"]
    w.ok("SUB", cid=1, serves=["job.sum"], slots=2, about={"a": 1})
    w.send("PING", stats={"a": 1})
    w.expect("PONG")
    bus.client("c")
    for nth, step in enumerate((lambda: w.ok("SUB", cid=1, serves=["job.sum"], slots=3), lambda: w.ok("BYE", cid=1)), 1):
        step()
        assert unpack(watch.expect("MSG").frames[1])["change"] == first + nth


def test_answers_of_admin_work_from_a_req_socket(bus):
    r = bus.req()
    r.ok("HELLO", v=1, client="r", routes=[RUNS])
    for op in ("routes", "sessions", "services"):
        assert r.ok("ADM", op=op)["op"] == op
    assert bus.peer(zmq.DEALER).ok("ADM", op="sessions")["sessions"][0]["client"] == "r"
