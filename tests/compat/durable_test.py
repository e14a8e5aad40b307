# SPDX-License-Identifier: Apache-2.0
"""Durable consumers: groups, acknowledgement, redelivery, leases, positions (docs/protocol.md, Durable consumers)."""
import signal

import pytest
import zmq

from bus import events_of, pack, unpack

pytestmark = pytest.mark.short

W = {"consumer": "w", "stream": "events", "takes": ["job.>"]}


def join(bus, name="c", cid=1, hello=None, **keys):
    peer = bus.client(name, **(hello or {}))
    peer.sub = peer.ok("SUB", {**W, **keys}, cid=cid)
    return peer


def next_event(peer):
    """(seq, attempt, value) of the next delivery, which is a single event."""
    msg = peer.expect("MSG")
    event, = events_of(msg)
    return event.seq, msg.head["attempt"], unpack(event.body)


def settled(bus, name="w"):
    bus.until("everything acknowledged", lambda: sum(p["pending"] for p in bus.consumer(name)["positions"]) == 0)


def test_events_come_in_order_and_an_acknowledged_one_never_again(bus):
    seqs = bus.publish("job.a", 20)
    c = join(bus)
    assert c.sub["stream"] == "events" and c.sub["cid"] == 1 and c.sub["pending"] >= 20
    got = [next_event(c) for _ in range(20)]
    assert got == [(seq, 1, i) for i, seq in enumerate(seqs)]
    c.ok("ACK", cid=1, seqs=[seqs[0], [seqs[2], seqs[19]]], sync=True)
    bus.restart()
    again = join(bus)
    assert next_event(again)[::2] == (seqs[1], 1)
    again.ok("ACK", cid=1, seqs=[seqs[1]], sync=True)
    last, = bus.publish("job.a")
    assert next_event(again) == (last, 1, 0)


def test_a_group_of_three_shares_the_events(bus):
    members = [join(bus, window=10) for _ in range(3)]
    seqs = bus.publish("job.a", 90)
    got = {i: [] for i in range(3)}
    bus_poll = zmq.Poller()
    for m in members:
        bus_poll.register(m.socket, zmq.POLLIN)
    while sum(map(len, got.values())) < 90:
        ready = dict(bus_poll.poll(30000))
        assert ready, "nothing came"
        for i, m in enumerate(members):
            if m.socket in ready:
                seq = next_event(m)[0]
                got[i].append(seq)
                m.send("ACK", cid=1, seqs=[seq])
    assert sorted(sum(got.values(), [])) == seqs and all(got.values())
    assert all(g == sorted(g) for g in got.values())
    settled(bus)


def test_the_window_is_kept_and_an_ack_opens_it(bus):
    c = join(bus, window=3)
    seqs = bus.publish("job.a", 10)
    assert [next_event(c)[0] for _ in range(3)] == seqs[:3]
    assert c.barrier() == [] and bus.consumer("w")["positions"][0]["in_flight"] == 3
    c.send("ACK", cid=1, seqs=[seqs[1]])
    assert next_event(c)[0] == seqs[3]
    assert c.barrier() == []


def test_the_window_in_bytes_is_kept(bus):
    d = bus.dealer()
    for _ in range(6):
        d.ok("PUB", {"topic": "job.a"}, pack(b"x" * 10000))
    c = join(bus, bytes=25000)
    first, second = c.expect("MSG"), c.expect("MSG")
    assert all(m.verb != "MSG" for m in c.barrier()[1:])
    c.send("ACK", cid=1, seqs=[first.head["seq"], second.head["seq"]])
    c.expect("MSG")


def test_an_event_larger_than_the_window_in_bytes_still_comes(bus):
    bus.dealer().ok("PUB", {"topic": "job.a"}, pack(b"x" * 100000))
    assert join(bus, bytes=1000).expect("MSG").head["attempt"] == 1


def test_more_zero_pauses_and_more_resumes(bus):
    c = join(bus)
    c.send("MORE", cid=1, window=0)
    assert c.barrier() == []
    seqs = bus.publish("job.a", 3)
    assert c.barrier() == []
    c.send("MORE", cid=1, window=2)
    assert [next_event(c)[0] for _ in range(2)] == seqs[:2]


def test_nak_with_delay_comes_again_with_the_next_attempt(bus):
    c = join(bus)
    seq, = bus.publish("job.a")
    assert next_event(c) == (seq, 1, 0)
    c.send("NAK", cid=1, seqs=[seq], delay=1, error="first try")
    assert next_event(c) == (seq, 2, 0)
    c.ok("ACK", cid=1, seqs=[seq], sync=True)
    assert bus.consumer("w")["naked"] == 1


def test_nak_without_delay_uses_the_backoff_list(bus):
    c = join(bus, backoff=[1, 2], max_deliver=0)
    seq, = bus.publish("job.a")
    for attempt in range(1, 6):
        assert next_event(c) == (seq, attempt, 0)
        c.send("NAK", cid=1, seqs=[seq])


def test_a_naked_event_does_not_hold_up_others(bus):
    c = join(bus)
    first, = bus.publish("job.a")
    assert next_event(c)[0] == first
    c.send("NAK", cid=1, seqs=[first], delay=3600000)
    second, = bus.publish("job.a")
    assert next_event(c)[0] == second
    c.ok("ACK", cid=1, seqs=[second], sync=True)
    assert bus.consumer("w")["positions"][0]["pending"] == 1


def test_ack_wait_running_out_counts_as_an_attempt_and_wip_starts_it_anew(bus):
    c = join(bus, ack_wait=1000, backoff=[1])
    seq, other = bus.publish("job.a", 2)
    assert next_event(c)[0] == seq and next_event(c)[0] == other
    while not c.socket.poll(300):
        c.send("WIP", cid=1, seqs=[other])
    assert next_event(c) == (seq, 2, 0)
    c.ok("ACK", cid=1, seqs=[seq, other], sync=True)
    assert bus.consumer("w")["expired"] == 1


def test_a_late_ack_counts_and_late_naks_are_stale(bus):
    c = join(bus, ack_wait=1000, backoff=[3600000])
    seq, other = bus.publish("job.a", 2)
    next_event(c), next_event(c)
    bus.until("both leases ended", lambda: bus.consumer("w")["expired"] == 2)
    for verb in ("NAK", "TERM", "WIP"):
        assert c.err("STALE", verb, cid=1, seqs=[seq, other])["seqs"]
    c.ok("ACK", cid=1, seqs=[seq, other], sync=True)
    state = bus.consumer("w")
    assert state["positions"][0]["pending"] == 0 and state["late_acks"] == 2


def test_the_rest_of_a_partly_stale_list_takes_effect(bus):
    c = join(bus)
    first, second = bus.publish("job.a", 2)
    next_event(c), next_event(c)
    c.ok("ACK", cid=1, seqs=[first], sync=True)
    assert c.err("STALE", "NAK", cid=1, seqs=[first, second], delay=0)["seqs"] in ([first], [[first, first]])
    assert next_event(c)[:2] == (second, 2)


def test_a_killed_member_gives_its_events_back_at_once_with_the_same_attempt(bus):
    first, second = join(bus, hello={"member": "m1"}), None
    seqs = bus.publish("job.a", 5)
    assert [next_event(first)[0] for _ in range(5)] == seqs
    second = join(bus, hello={"member": "m2"})
    assert second.barrier() == []
    first.close()
    assert [next_event(second)[:2] for _ in range(5)] == [(seq, 1) for seq in seqs]


def test_bye_gives_events_back_without_an_attempt(bus):
    first = join(bus)
    seq, = bus.publish("job.a")
    next_event(first)
    second = join(bus)
    first.ok("BYE")
    assert next_event(second)[:2] == (seq, 1)
    first.err("NO_SESSION", "ACK", cid=1, seqs=[seq], tag=1)


def test_bye_with_a_cid_ends_one_subscription(bus):
    c = join(bus)
    c.ok("SUB", cid=2, topics=["live.>"])
    seq, = bus.publish("job.a")
    next_event(c)
    c.ok("BYE", cid=1)
    other = join(bus)
    assert next_event(other)[:2] == (seq, 1)
    bus.dealer().ok("PUB", {"topic": "live.a"}, b"x")
    assert c.expect("MSG").head["cid"] == 2


def test_a_silent_member_loses_its_events_to_another(bus):
    silent = join(bus, hello={"member": "silent", "hb": 1000})
    seq, = bus.publish("job.a")
    next_event(silent)
    other = join(bus, hello={"member": "other"})
    assert next_event(other)[:2] == (seq, 1)
    assert silent.wait("GOODBYE").head["reason"] == "silent"
    silent.err("NO_SESSION", "ACK", cid=1, seqs=[seq], tag=1)


def test_events_of_a_stopped_broker_come_again_and_positions_stay(bus):
    c = join(bus)
    seqs = bus.publish("job.a", 4)
    for _ in range(4):
        next_event(c)
    c.ok("ACK", cid=1, seqs=[seqs[0]], sync=True)
    assert bus.kill(signal.SIGTERM) == 0
    assert c.wait("GOODBYE").head["reason"] == "stopping"
    bus.start()
    again = bus.client("c")
    again.ok("SUB", cid=1, consumer="w")
    assert [next_event(again)[0] for _ in range(3)] == seqs[1:]


def test_failed_attempts_are_remembered_across_a_kill(bus):
    c = join(bus, backoff=[3600000])
    seq, = bus.publish("job.a")
    next_event(c)
    c.ok("NAK", cid=1, seqs=[seq], delay=1, tag=1)
    assert next_event(c)[:2] == (seq, 2)
    c.ok("NAK", cid=1, seqs=[seq], delay=1, tag=2)
    assert next_event(c)[:2] == (seq, 3)
    bus.until("the attempts are on disk", lambda: bus.consumer("w")["naked"] == 2)
    c.ok("ACK", cid=1, seqs=[], sync=True)
    bus.restart()
    assert next_event(join(bus, backoff=[3600000]))[:2] == (seq, 3)


def test_share_each_gives_every_member_every_event_and_its_own_position(bus):
    a = join(bus, hello={"member": "a"}, share="each")
    b = join(bus, hello={"member": "b"}, share="each")
    seqs = bus.publish("job.a", 3)
    for member in (a, b):
        assert [next_event(member)[0] for _ in range(3)] == seqs
    a.ok("ACK", cid=1, seqs=[[seqs[0], seqs[2]]], sync=True)
    b.ok("ACK", cid=1, seqs=[seqs[0]], sync=True)
    bus.restart()
    a = join(bus, hello={"member": "a"}, share="each")
    b = join(bus, hello={"member": "b"}, share="each")
    assert [next_event(b)[0] for _ in range(2)] == seqs[1:]
    last, = bus.publish("job.a")
    assert next_event(a)[0] == next_event(b)[0] == last
    assert {p["member"] for p in bus.consumer("w")["positions"]} == {"a", "b"}


@pytest.mark.parametrize("start, expected", [
    ("all", [0, 1, 2, 3, 4]), ("new", []), ("last", [4]), ({"last": 2}, [3, 4]), ({"seq": 3}, [2, 3, 4]), ({"time_us": 3}, [2, 3, 4])])
def test_a_new_consumer_starts_where_from_says(bus, start, expected):
    d = bus.dealer()
    for i in range(5):
        d.ok("PUB", {"topic": "job.a"}, pack(i))
    d.send("GET", {"stream": "events", "from": 0})
    told = [d.expect("MSG").head for _ in range(5)]
    d.expect("END")
    if isinstance(start, dict):
        start = {"seq": told[2]["seq"]} if "seq" in start else {"time_us": told[2]["ts_us"]} if "time_us" in start else start
        if "time_us" in start:
            expected = [i for i, m in enumerate(told) if m["ts_us"] >= start["time_us"]]
    c = join(bus, **{"from": start})
    d.ok("PUB", {"topic": "job.a"}, pack("end"))
    got = [next_event(c)[2]]
    while got[-1] != "end":
        got.append(next_event(c)[2])
    assert got[:-1] == expected


def test_takes_filters_by_pattern(bus):
    d = bus.dealer()
    for topic in ("job.a", "job.a.x", "job.b", "run.a", "job.a.x.y"):
        d.ok("PUB", {"topic": topic}, pack(topic))
    c = join(bus, takes=["job.*.x", "job.b"])
    d.ok("PUB", {"topic": "job.b"}, pack("end"))
    assert [next_event(c)[2] for _ in range(3)] == ["job.a.x", "job.b", "end"]


def test_another_definition_is_a_conflict_and_the_same_one_is_not(bus):
    c = join(bus, ack_wait=5000)
    for keys in ({"takes": ["run.>"]}, {"ack_wait": 6000}, {"max_deliver": 9}, {"share": "each"}, {"backoff": [7]},
                 {"from": "new"}):
        assert c.err("CONFLICT", "SUB", {**W, "ack_wait": 5000, **keys}, cid=2)["cid"] == 2
    c.ok("SUB", {**W, "ack_wait": 5000}, cid=3)
    c.ok("SUB", consumer="w", cid=4)


def test_a_declared_consumer_is_there_from_the_start(make_bus):
    bus = make_bus(more="consumers:\n  report: { stream: events, takes: [job.done], from: all, max_deliver: 2 }")
    bus.publish("job.done", 2)
    state = bus.consumer("report")
    assert state["declared"] is True and state["takes"] == ["job.done"] and state["max_deliver"] == 2
    c = bus.client("c")
    c.ok("SUB", cid=1, consumer="report")
    assert [next_event(c)[2] for _ in range(2)] == [0, 1]


def test_two_consumers_have_their_own_positions(bus):
    one, two = join(bus), join(bus, consumer="v")
    seqs = bus.publish("job.a", 2)
    for c in (one, two):
        assert [next_event(c)[0] for _ in range(2)] == seqs
    one.ok("ACK", cid=1, seqs=seqs, sync=True)
    assert bus.consumer("w")["positions"][0]["pending"] == 0 and bus.consumer("v")["positions"][0]["pending"] == 2


def test_an_ack_of_events_never_delivered_skips_nothing(bus):
    """Nobody can acknowledge the future: a wild range must not make events vanish."""
    c = join(bus, window=1)
    c.send("ACK", cid=1, seqs=[[1, 1 << 60], 1 << 62])
    seqs = bus.publish("job.a", 3)
    got = []
    for _ in seqs:
        got.append(next_event(c)[0])
        c.send("ACK", cid=1, seqs=[got[-1]])
    assert got == seqs


def test_acking_twice_is_harmless(bus):
    c = join(bus)
    seq, = bus.publish("job.a")
    next_event(c)
    assert c.ok("ACK", cid=1, seqs=[seq, seq, [seq, seq]], sync=True, tag="t")["tag"] == "t"
    c.ok("ACK", cid=1, seqs=[seq], sync=True)
    assert bus.consumer("w")["acked"] == 1


def test_what_was_acknowledged_after_a_restart_never_comes_again(bus):
    """The failed third event comes first after the restart, ahead of where the position stands."""
    c = join(bus, backoff=[1], window=3)
    seqs = bus.publish("job.a", 3)
    for _ in seqs:
        next_event(c)
    c.send("NAK", cid=1, seqs=[seqs[2]], delay=3600000)
    c.ok("ACK", cid=1, seqs=[seqs[0]], sync=True)
    bus.restart()
    c = join(bus, backoff=[1], window=1)
    last, = bus.publish("job.a")
    got = []
    while last not in got:
        got.append(next_event(c)[0])
        c.send("ACK", cid=1, seqs=[got[-1]])
    assert sorted(got) == [seqs[1], seqs[2], last]


def test_a_tag_has_exactly_one_answer(bus):
    c = join(bus)
    seq, = bus.publish("job.a")
    next_event(c)
    assert c.ok("WIP", cid=1, seqs=[seq], tag=1)["tag"] == 1
    assert c.err("STALE", "NAK", cid=1, seqs=[seq + 5], tag=2)["tag"] == 2
    assert c.ok("ACK", cid=1, seqs=[seq], tag=3)["tag"] == 3
    assert c.barrier() == []
