# SPDX-License-Identifier: Apache-2.0
"""Requests: parts with credit, cancel, time-out, re-routing, from REQ sockets too (docs/protocol.md, Requests)."""
import pytest

from bus import pack, unpack

pytestmark = pytest.mark.short


def worker(bus, name="worker", topic="job.sum", slots=1, **hello):
    peer = bus.client(name, **hello)
    assert peer.ok("SUB", cid=1, serves=[topic], slots=slots)["cid"] == 1
    return peer


def test_a_request_and_its_one_part_answer(bus):
    w, d = worker(bus), bus.client("asker")
    d.send("REQ", {"rid": 5, "topic": "job.sum", "subject": "s1", "timeout": 10000}, pack([1, 2]))
    rq = w.expect("REQ")
    assert rq.head["cid"] == 1 and rq.head["topic"] == "job.sum" and rq.head["subject"] == "s1"
    assert rq.head["client"] == "asker" and 0 < rq.head["timeout"] <= 10000 and rq.head["parts"] == 16
    w.send("REP", {"rid": rq.head["rid"], "cost": 3}, pack(sum(unpack(rq.frames[0]))))
    rep = d.expect("REP")
    assert rep.head["rid"] == 5 and rep.head["n"] == 0 and rep.head["more"] is False and rep.head["cost"] == 3
    assert unpack(rep.frames[0]) == 3


def test_a_hundred_parts_with_credit(bus):
    """The worker pauses at zero credit and goes on with MORE; the requester renews as it reads."""
    w, d = worker(bus), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum", parts=10)
    rq = w.expect("REQ").head
    credit, sent, got = rq["parts"], 0, []
    assert credit == 10
    while len(got) < 100:
        while credit and sent < 100:
            w.send("REP", {"rid": rq["rid"], "n": sent, "more": sent < 99}, pack(sent))
            sent, credit = sent + 1, credit - 1
        rep = d.expect("REP")
        assert rep.head["n"] == len(got) and rep.head["more"] is (len(got) < 99)
        got.append(unpack(rep.frames[0]))
        if len(got) % 5 == 0 and len(got) <= 90:
            d.send("MORE", rid=1, parts=5)
            more = w.expect("MORE").head
            assert more["rid"] == rq["rid"]
            credit += more["parts"]
    assert got == list(range(100))


def test_a_part_over_the_credit_is_refused_and_ends_the_request(bus):
    w, d = worker(bus), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum", parts=2)
    rid = w.expect("REQ").head["rid"]
    for n in range(3):
        w.send("REP", {"rid": rid, "n": n, "more": True}, b"x")
    assert w.expect_err("QUOTA")["rid"] == rid
    assert [d.expect("REP").head["n"] for _ in range(2)] == [0, 1]
    assert d.expect("ERR").head["rid"] == 1


def test_a_failing_worker_says_so_in_its_last_part(bus):
    w, d = worker(bus), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum")
    w.send("REP", rid=w.expect("REQ").head["rid"], error="the model is not loaded", number=503, again=True)
    rep = d.expect("REP").head
    assert rep["error"] == "the model is not loaded" and rep["number"] == 503 and rep["again"] is True and rep["more"] is False
    d.err("NO_REQUEST", "CANCEL", rid=1)


def test_a_failure_needs_no_credit(bus):
    w, d = worker(bus), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum", parts=1)
    rid = w.expect("REQ").head["rid"]
    w.send("REP", {"rid": rid, "more": True}, b"x")
    w.send("REP", rid=rid, error="the model broke", number=502, again=False)
    assert d.expect("REP").head["more"] is True
    rep = d.expect("REP").head
    assert rep["error"] == "the model broke" and rep["number"] == 502 and rep["more"] is False
    assert not w.barrier(), "the worker did nothing wrong"


def test_no_responder_is_told_at_once(bus):
    d = bus.dealer()
    head = d.err("NO_RESPONDER", "REQ", rid=3, topic="job.nobody", timeout=3600000)
    assert head["rid"] == 3 and head["again"] is True
    w = worker(bus, topic="job.nobody")
    w.ok("BYE")
    d.err("NO_RESPONDER", "REQ", rid=4, topic="job.nobody")


def test_cancel_ends_the_request_and_the_worker_is_told(bus):
    w, d = worker(bus), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum")
    rid = w.expect("REQ").head["rid"]
    assert d.err("CANCELLED", "CANCEL", rid=1)["rid"] == 1
    told = w.expect("CANCEL").head
    assert told["rid"] == rid and told["reason"] == "cancelled"
    w.send("REP", {"rid": rid, "more": False}, b"too late")
    assert [m for m in w.barrier() if m.verb != "ERR"] == [] and d.barrier() == []
    d.send("REQ", rid=1, topic="job.sum")
    w.send("REP", {"rid": w.expect("REQ").head["rid"]}, b"in time")
    assert d.expect("REP").frames[0] == b"in time"


def test_a_deadline_passes(bus):
    w, d = worker(bus), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum", timeout=100)
    rid = w.expect("REQ").head["rid"]
    assert d.expect_err("TIMEOUT")["rid"] == 1
    assert w.expect("CANCEL").head == {"rid": rid, "reason": "timeout"}


def test_a_request_waits_for_a_free_worker_and_times_out_waiting(bus):
    w, d = worker(bus, slots=1), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum")
    rid = w.expect("REQ").head["rid"]
    d.send("REQ", rid=2, topic="job.sum", timeout=100)
    assert d.expect_err("TIMEOUT")["rid"] == 2
    d.send("REQ", rid=3, topic="job.sum")
    w.send("REP", {"rid": rid}, b"1")
    assert d.expect("REP").head["rid"] == 1
    w.send("REP", {"rid": w.expect("REQ").head["rid"]}, b"3")
    assert d.expect("REP").head["rid"] == 3


def test_slots_bound_what_a_worker_has_at_a_time(bus):
    w, d = worker(bus, slots=3), bus.dealer()
    for rid in range(5):
        d.send("REQ", rid=rid, topic="job.sum")
    rids = [w.expect("REQ").head["rid"] for _ in range(3)]
    assert w.barrier() == []
    w.send("REP", {"rid": rids[1]}, b"x")
    assert d.expect("REP").head["rid"] == 1
    w.expect("REQ")
    service, = bus.admin("services")["services"]
    assert service["topic"] == "job.sum" and service["slots"] == 3 and service["busy"] == 3 and service["waiting"] == 1


def test_requests_go_round_the_members(bus):
    a, b, d = worker(bus, "a"), worker(bus, "b"), bus.dealer()
    for rid in range(2):
        d.send("REQ", rid=rid, topic="job.sum")
    a.expect("REQ"), b.expect("REQ")


def test_before_its_first_part_a_dead_workers_request_goes_to_another(bus):
    first, d = worker(bus, "first"), bus.dealer()
    d.send("REQ", {"rid": 1, "topic": "job.sum"}, b"work")
    first.expect("REQ")
    second = worker(bus, "second")
    first.close()
    rq = second.expect("REQ")
    assert rq.frames[0] == b"work"
    second.send("REP", {"rid": rq.head["rid"]}, b"done")
    assert d.expect("REP").frames[0] == b"done"


def test_after_its_first_part_the_requester_is_told(bus):
    first, d = worker(bus, "first"), bus.dealer()
    worker(bus, "second")
    d.send("REQ", rid=1, topic="job.sum")
    first.send("REP", {"rid": first.expect("REQ").head["rid"], "n": 0, "more": True}, b"half")
    assert d.expect("REP").head["more"] is True
    first.close()
    head = d.expect_err("WORKER_LOST")
    assert head["rid"] == 1 and head["again"] is False


def test_when_the_last_worker_dies_waiting_requests_end(bus):
    w, d = worker(bus), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum")
    w.expect("REQ")
    w.close()
    assert d.expect_err("NO_RESPONDER")["rid"] == 1


def test_a_requester_that_goes_away_cancels(bus):
    w, d = worker(bus), bus.client("asker")
    d.send("REQ", rid=1, topic="job.sum")
    rid = w.expect("REQ").head["rid"]
    d.close()
    assert w.expect("CANCEL").head == {"rid": rid, "reason": "gone"}


def test_from_a_req_socket_the_parts_come_joined(bus):
    w, r = worker(bus), bus.req()
    r.send("REQ", {"topic": "job.sum"}, b"?")
    rq = w.expect("REQ").head
    rid, credit = rq["rid"], rq["parts"]
    for n in range(40):
        if not credit:
            credit += w.expect("MORE").head["parts"]
        w.send("REP", {"rid": rid, "n": n, "more": n < 39}, b"%02d" % n)
        credit -= 1
    rep = r.expect("REP")
    assert rep.frames[0] == b"".join(b"%02d" % n for n in range(40)) and "rid" not in rep.head
    r.send("REQ", topic="job.nobody")
    assert r.expect_err("NO_RESPONDER")
    r.send("REQ", topic="job.sum", timeout=50)
    assert r.expect_err("TIMEOUT")


def test_patterns_serve_many_topics(bus):
    w, d = worker(bus, topic="job.>"), bus.dealer()
    d.send("REQ", rid=1, topic="job.a.b")
    assert w.expect("REQ").head["topic"] == "job.a.b"


def test_one_rid_is_one_open_request(bus):
    w, d = worker(bus, slots=2), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum")
    w.expect("REQ")
    assert d.err("CONFLICT", "REQ", rid=1, topic="job.sum")["rid"] == 1
    d.err("NO_REQUEST", "CANCEL", rid=9)


def test_a_part_over_the_limit_is_too_big(bus):
    w, d = worker(bus), bus.dealer()
    d.send("REQ", rid=1, topic="job.sum")
    rid = w.expect("REQ").head["rid"]
    w.send("REP", {"rid": rid, "more": True}, b"x" * ((1 << 20) + 1))
    assert w.expect_err("TOO_BIG")["rid"] == rid
