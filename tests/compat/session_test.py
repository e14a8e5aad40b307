# SPDX-License-Identifier: Apache-2.0
"""Sessions, life, the verbs PING, BYE and ADM, stopping (docs/protocol.md, Sessions, Administration)."""
import signal
import time

import pytest
import zmq

from bus import Peer, pack, unpack


def test_hello_tells_who_answers_and_what_the_limits_are(bus):
    hello = bus.client("c").hello
    assert hello["v"] == 1 and hello["server"].startswith("lineshaft/") and hello["name"] == "test"
    assert len(hello["broker"]) == len(hello["boot"]) == 36 and hello["hb"] == 5000
    assert abs(hello["now_us"] / 1e6 - time.time()) < 3600 and isinstance(hello["caps"], list)
    assert (hello["header_max"], hello["body_max"]) == (8192, 1 << 20)
    assert (hello["batch_max"], hello["batch_count_max"]) == (8192 + (1 << 20), 4096)  # bounded by the 1 MiB segments


def test_broker_stays_and_boot_changes(bus):
    before = bus.client("c").hello
    bus.restart()
    after = bus.client("c").hello
    assert before["broker"] == after["broker"] and before["boot"] != after["boot"]


@pytest.mark.parametrize("keys", [
    {"client": "c"}, {"v": 2, "client": "c"}, {"v": "1", "client": "c"}, {"v": 1}, {"v": 1, "client": ""},
    {"v": 1, "client": "a b"}, {"v": 1, "client": "x" * 65}, {"v": 1, "client": 7}, {"v": 1, "client": "c", "member": 7},
    {"v": 1, "client": "c", "hb": 999}, {"v": 1, "client": "c", "hb": 60001}, {"v": 1, "client": "c", "hb": "5000"}])
def test_hello_with_a_bad_value_is_refused(bus, keys):
    d = bus.dealer()
    d.err("BAD_VALUE", "HELLO", keys)
    d.err("NO_SESSION", "SUB", cid=1, topics=["job.>"])


@pytest.mark.parametrize("verb, keys", [
    ("SUB", {"cid": 1, "topics": ["job.>"]}), ("ACK", {"cid": 1, "seqs": [1]}), ("NAK", {"cid": 1, "seqs": [1]}),
    ("TERM", {"cid": 1, "seqs": [1]}), ("WIP", {"cid": 1, "seqs": [1]}), ("BYE", {}), ("MORE", {"cid": 1, "n": 1}),
    ("REP", {"rid": 1})])
def test_verbs_that_need_a_session_say_so(bus, verb, keys):
    head = bus.dealer().err("NO_SESSION", verb, keys, tag=9)
    assert head["number"] == 401 and head["tag"] == 9


def test_the_other_verbs_need_none(bus):
    d = bus.dealer()
    d.ok("PUB", {"topic": "job.a"}, b"x")
    d.send("GET", {"stream": "events", "from": 0})
    assert [d.recv().verb for _ in range(2)] == ["MSG", "END"]
    d.ok("ADM", op="info")
    d.err("NO_RESPONDER", "REQ", rid=1, topic="job.a")


def test_ping_from_every_kind_of_socket(bus):
    for peer in (bus.dealer(), bus.req()):
        peer.send("PING", t=12, tag="x")
        pong = peer.expect("PONG").head
        assert pong["t"] == 12 and pong["tag"] == "x" and pong["now_us"] > 1e15
    d = bus.dealer()
    d.send_frames(b"PING")
    assert "t" not in d.expect("PONG").head


def test_the_same_client_and_member_replaces_the_older(bus):
    old = bus.client("c", member="m")
    other = bus.client("c", member="n")
    bus.client("c", member="m")
    assert old.expect("GOODBYE").head["reason"] == "replaced"
    old.err("NO_SESSION", "SUB", cid=1, topics=["job.>"])
    other.ok("SUB", cid=1, topics=["job.>"])


def test_bye_ends_the_session(bus):
    c = bus.client("c")
    c.ok("SUB", cid=1, topics=["job.>"])
    c.ok("BYE", tag=1)
    c.err("NO_SESSION", "MORE", cid=1, n=1)
    c.ok("HELLO", v=1, client="c")
    c.err("NOT_FOUND", "BYE", cid=1)


def test_silence_for_three_times_hb_ends_the_session_and_ping_keeps_it(bus):
    quiet, loud = bus.client("quiet", hb=1000), bus.client("loud", hb=1000)
    quiet.ok("SUB", cid=1, topics=["job.>"])
    loud.ok("SUB", cid=1, topics=["job.>"])
    while not quiet.socket.poll(300):
        loud.send("PING")
        loud.expect("PONG")
    assert quiet.expect("GOODBYE").head["reason"] == "silent"
    bus.publish("job.a")
    loud.wait("MSG")


def test_a_pong_tells_whether_the_session_stands(bus):
    """An idle consumer's socket reconnects by itself; only this tells it that its subscriptions are gone."""
    c = bus.client("c")
    c.send("PING")
    assert c.expect("PONG").head["session"] is True
    bus.restart()
    c.send("PING")
    assert c.expect("PONG").head["session"] is False


def test_after_a_restart_no_session_tells_a_client_to_come_back(bus):
    c = bus.client("c")
    bus.restart()
    c.send("PING")
    c.expect("PONG")
    assert c.err("NO_SESSION", "ACK", cid=1, seqs=[1])["again"] is False
    c.ok("HELLO", v=1, client="c")
    c.ok("SUB", cid=1, topics=["job.>"])


def test_an_ordered_stop_says_goodbye_and_ends_with_status_zero(bus):
    c = bus.client("c")
    assert bus.kill(signal.SIGTERM) == 0
    assert c.expect("GOODBYE").head["reason"] == "stopping"


def test_a_second_broker_on_one_data_directory_refuses_to_start(bus, make_bus):
    other = make_bus(start=False)
    other.data = bus.data
    with pytest.raises(RuntimeError):
        other.start()
    assert other.process.poll() not in (None, 0) and str(bus.process.pid) in other.log_text()
    bus.publish("job.a")


def test_a_client_without_member_does_not_replace_another(bus):
    one, two = bus.client("c"), bus.client("c")
    for peer in (one, two):
        peer.ok("SUB", cid=1, topics=["job.>"])


def test_info(bus):
    bus.client("c").ok("PUB", {"topic": "job.a"}, b"x")
    info = bus.admin("info")
    assert info["name"] == "test" and info["server"].startswith("lineshaft/") and info["sessions"] >= 1
    assert info["connections"] >= 2 and 0 <= info["memory"] <= info["memory_max"] and info["uptime_ms"] >= 0
    assert info["counters"] and all(isinstance(v, int) for v in info["counters"].values())


def test_streams(bus):
    seq, = bus.publish("job.a")
    streams = {s["name"]: s for s in bus.admin("streams")["streams"]}
    events = streams["events"]
    assert set(streams) == {"events", "memory", "$sys"} and streams["memory"]["durability"] == "memory"
    assert events["topics"] == ["run.>", "chat.>", "job.>"] and events["durability"] == "disk"
    assert events["next"] == seq + 1 and events["durable"] == seq and events["bytes"] > 0 and events["lost"] == []
    assert not events["problem"]


def test_consumers(bus):
    c = bus.client("c", member="m")
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.a", "job.b"], window=5)
    seqs = bus.publish("job.a", 7)
    for _ in range(5):
        c.expect("MSG")
    state = bus.consumer("w")
    position, = state["positions"]
    assert state["stream"] == "events" and state["takes"] == ["job.a", "job.b"] and state["share"] == "group"
    assert state["declared"] is False and state["members"] and position["in_flight"] == 5 and position["pending"] == 7
    c.send("ACK", cid=1, seqs=seqs[:5], sync=True)
    c.wait("OK", cid=1)
    assert bus.consumer("w")["acked"] == 5
    assert len(bus.admin("consumers", stream="events")["consumers"]) == 1
    assert bus.admin("consumers", stream="memory")["consumers"] == []


def test_a_consumer_can_be_dropped_and_starts_anew(bus):
    seqs = bus.publish("job.a", 2)
    c = bus.client("c")
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"])
    for seq in seqs:
        c.expect("MSG")
    c.ok("ACK", cid=1, seqs=seqs, sync=True)
    c.ok("BYE")
    bus.admin("consumer.drop", consumer="w")
    bus.dealer().err("NO_CONSUMER", "ADM", op="consumer.drop", consumer="w")
    bus.restart()
    c = bus.client("c")
    c.err("NO_CONSUMER", "SUB", cid=1, consumer="w")
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"])
    assert c.expect("MSG").head["seq"] == seqs[0]


def test_ipc_twins(make_bus, tmp_path):
    folder = tmp_path / "ipc"
    folder.mkdir()
    bus = make_bus(broker=f'  ipc: "{folder}"')
    d = Peer(bus.context, zmq.DEALER, f"ipc://{folder}/router")
    d.ok("PUB", {"topic": "job.a"}, pack(1))
    p = Peer(bus.context, zmq.PUSH, f"ipc://{folder}/push")
    p.send_frames(b"job.a", pack(2))
    bus.until("both", lambda: [unpack(e.body) for e in bus.stream()] == [1, 2])
    for name in ("live", "pub", "batch"):
        assert (folder / name).exists()
    d.close(), p.close()


def test_a_second_hello_starts_the_session_over(bus):
    c = bus.client("c")
    c.ok("SUB", cid=1, topics=["live.>"])
    c.ok("HELLO", v=1, client="d")
    bus.dealer().ok("PUB", {"topic": "live.a"}, b"x")
    assert c.barrier() == []
    c.ok("SUB", cid=1, topics=["live.>"])


def test_only_a_consumer_that_nobody_uses_or_declares_can_be_dropped(make_bus):
    bus = make_bus(more="consumers:\n  report: { stream: events, takes: [job.done] }")
    c, d = bus.client("c"), bus.dealer()
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"])
    d.err("CONFLICT", "ADM", op="consumer.drop", consumer="w")
    d.err("DENIED", "ADM", op="consumer.drop", consumer="report")
    c.ok("BYE")
    d.ok("ADM", op="consumer.drop", consumer="w")


def test_a_consumer_that_nobody_uses_can_be_sent_elsewhere(make_bus):
    """Also one that the topology declares; what it had, finished and unfinished, is forgotten, for a restart too."""
    bus = make_bus(more="consumers:\n  report: { stream: events, takes: [job.*] }")
    bus.publish("job.a", 6)
    d = bus.dealer()

    def join(*seqs):
        c = bus.client("c")
        c.ok("SUB", cid=1, consumer="report", window=4)
        assert [e.seq for e in c.events(len(seqs))] == [*seqs]
        return c

    c = join(1, 2, 3, 4)
    c.send("ACK", cid=1, seqs=[1, 3], sync=True)
    c.wait("OK", cid=1)
    d.err("CONFLICT", "ADM", {"op": "consumer.reset", "consumer": "report", "from": "all"})
    c.send("BYE")
    c.wait("OK")
    d.err("BAD_VALUE", "ADM", {"op": "consumer.reset", "consumer": "report", "from": "here"})
    d.err("BAD_VALUE", "ADM", {"op": "consumer.reset", "consumer": "report"})
    d.err("NO_CONSUMER", "ADM", {"op": "consumer.reset", "consumer": "other", "from": "all"})
    for place, seqs in [("all", (1, 2, 3, 4)), (5, (5, 6)), ("new", ()), ({"seq": 1 << 40}, ()), (0, (1, 2, 3, 4))]:
        goes_on = d.ok("ADM", {"op": "consumer.reset", "consumer": "report", "from": place})["next"]
        [end] = [stream["next"] for stream in bus.admin("streams")["streams"] if stream["name"] == "events"]
        assert goes_on == (seqs[0] if seqs else end)
        bus.restart()
        d = bus.dealer()
        join(*seqs).ok("BYE")


@pytest.mark.parametrize("verb, keys", [("SUB", {"cid": 1, "topics": ["job.>"]}), ("GET", {"stream": "events", "from": 0})])
def test_a_req_socket_is_told_what_it_cannot_do(bus, verb, keys):
    r = bus.req()
    r.ok("HELLO", v=1, client="r")
    r.err("BAD_FRAME", verb, keys)
    r.ok("PUB", {"topic": "job.a"}, b"x")
