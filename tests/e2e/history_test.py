# SPDX-License-Identifier: Apache-2.0
"""The history checker finds what is wrong: one bad history for every check, each made from a good one."""
import json
import subprocess
import sys

import pytest

import history


def good():
    """Three events from one connection, one of them a duplicate, seen by consumer w."""
    h = []
    for n, id_ in enumerate(["a", "b", "c"], 1):
        h += [{"op": "pub", "t": n, "conn": "p1", "n": n, "id": id_, "hash": f"h{id_}", "amount": n},
              {"op": "ok", "t": n + .5, "conn": "p1", "id": id_, "level": "disk", "seq": n},
              {"op": "log", "seq": n, "id": id_, "hash": f"h{id_}"},
              {"op": "deliver", "t": n + .6, "consumer": "w", "member": "m", "session": "s1", "seq": n, "id": id_, "attempt": 1,
               "hash": f"h{id_}"},
              {"op": "ack", "t": n + .7, "consumer": "w", "seq": n, "sync": True, "ok": True},
              {"op": "sink", "consumer": "w", "id": id_}]
    return h + [{"op": "pub", "t": 5, "conn": "p2", "n": 1, "id": "a", "hash": "ha", "amount": 1},
                {"op": "ok", "t": 6, "conn": "p2", "id": "a", "level": "disk", "seq": 1, "dup": True},
                {"op": "balance", "consumer": "w", "value": 6}, {"op": "consumer", "name": "w"},
                {"op": "measure", "what": "rss", "value": 5, "bound": 10}]


def verdict(entries):
    h = history.History()
    for e in entries:
        h.add(e)
    return history.check(h)


def find(entries, op, **keys):
    return next(e for e in entries if e["op"] == op and all(e.get(k) == v for k, v in keys.items()))


def without(op, **keys):
    def change(h):
        h.remove(find(h, op, **keys))
    return change


def with_(**entry):
    return lambda h: h.append(entry)


def changed(op, where, **keys):
    return lambda h: find(h, op, **where).update(keys)


def swapped(h):
    """b and c change places in the log and everywhere else."""
    for e in h:
        if e.get("id") in ("b", "c") and "seq" in e:
            e["seq"] = 5 - e["seq"]


DELIVER = {"op": "deliver", "t": 9, "consumer": "w", "member": "m", "session": "s2", "seq": 2, "id": "b", "attempt": 1, "hash": "hb"}


def test_a_good_history_passes():
    report = verdict(good())
    assert report.valid, report.text()
    assert (report.counts["published"], report.counts["ok"], report.counts["lost"]) == (3, 3, 0)


@pytest.mark.parametrize("name, change, check, seq", [
    ("acknowledged and lost", without("log", id="b"), "C1", 2),
    ("never delivered", without("deliver", id="c"), "C1", 3),
    ("delivered and forgotten", without("ack", seq=3), "C1", 3),
    ("a phantom in the log", with_(op="log", seq=7, id="ghost", hash="x"), "C2", 7),
    ("other bytes in the log", changed("log", {"id": "b"}, hash="other"), "C2", 2),
    ("other bytes delivered", changed("deliver", {"id": "b"}, hash="other"), "C2", 2),
    ("a phantom delivered", changed("deliver", {"id": "b"}, id="ghost"), "C2", 2),
    ("a number used twice", changed("deliver", {"id": "b"}, seq=1), "C4", 1),
    ("a number reused after a restart", with_(**{**DELIVER, "seq": 3}), "C4", 3),
    ("delivered, then gone", with_(**{**DELIVER, "seq": 9}), "C4", 9),
    ("stored twice", with_(op="log", seq=9, id="b", hash="hb"), "C7", 2),
    ("stored twice", with_(op="log", seq=9, id="b", hash="hb"), "C4", 2),
    ("two events in one place", with_(op="log", seq=2, id="c", hash="hc"), "C4", 2),
    ("out of the sender's order", swapped, "C5", 2),
    ("a duplicate acknowledged as new", changed("ok", {"conn": "p2"}, dup=False), "C7", 1),
    ("a duplicate under another number", changed("ok", {"conn": "p2"}, seq=3), "C7", 1),
    ("two dead letters for one", lambda h: h.extend([{"op": "dead", "consumer": "w", "seq": 2}] * 2), "C7", 2),
    ("acknowledged on disk, yet again", with_(**DELIVER), "C9", 2),
    ("no row", without("sink", id="b"), "C11", 2),
    ("two rows", with_(op="sink", consumer="w", id="b"), "C11", 2),
    ("a row out of nowhere", with_(op="sink", consumer="w", id="ghost"), "C11", None),
    ("counted twice", changed("balance", {}, value=8), "C11", None),
    ("out of bounds", changed("measure", {}, value=11), "C12", None),
])
def test_a_bad_history_is_found(name, change, check, seq):
    entries = good()
    change(entries)
    report = verdict(entries)
    assert check in report.violations, f"{name}: not found\n{report.text()}"
    assert min(report.violations[check])[0] == (seq if seq is not None else sys.maxsize)
    assert f"FAIL {check}" in report.text()


def refused_and_stored(h):
    h.remove(find(h, "ok", id="b"))
    h.append({"op": "fail", "t": 3, "conn": "p1", "id": "b", "number": 422, "again": False})


def test_refused_and_stored_is_found():
    entries = good()
    refused_and_stored(entries)
    assert set(verdict(entries).violations) == {"C3"}


def test_an_unknown_event_may_be_in_the_log_or_not():
    for stored in (True, False):
        entries = [e for e in good() if not (e.get("id") == "b" and e["op"] == "ok")]
        if not stored:
            entries = [e for e in entries if not (e.get("id") == "b" and e["op"] != "pub" or e.get("seq") == 2)]
            find(entries, "balance")["value"] = 4
        report = verdict(entries)
        assert report.valid and report.counts["unknown"] == 1, report.text()


def out_of_order(disturbed):
    entries = good()
    find(entries, "deliver", seq=3)["t"] = 1.9
    if disturbed:
        entries.append({"op": "disturb", "t": 1.8, "consumer": "w"})
    return verdict(entries)


def test_first_deliveries_out_of_order_are_found_unless_a_member_died():
    assert set(out_of_order(False).violations) == {"C6"} and out_of_order(False).violations["C6"][0][0] == 2
    assert out_of_order(True).valid


def test_a_resend_takes_a_new_place():
    entries = good()
    swapped(entries)
    entries.append({**find(entries, "pub", id="b"), "n": 4})
    assert "C5" not in verdict(entries).violations


def test_what_retention_took_is_not_lost():
    entries = good()
    for op in ("log", "deliver", "ack", "sink"):
        without(op, **({"seq": 1} if op != "sink" else {"id": "a"}))(entries)
    find(entries, "balance")["value"] = 5
    assert "C1" in verdict(entries).violations
    assert verdict(entries + [{"op": "log-first", "seq": 2}]).valid


def test_a_dead_letter_is_worked_off():
    entries = good()
    without("ack", seq=2)(entries)
    without("sink", id="b")(entries)
    find(entries, "balance")["value"] = 4
    entries.append({"op": "dead", "consumer": "w", "seq": 2})
    report = verdict(entries)
    assert report.valid, report.text()


def test_the_program_reports_and_exits_accordingly(tmp_path):
    def run(entries, tail=""):
        path = tmp_path / "h.jsonl"
        path.write_text("".join(json.dumps(e) + "\n" for e in entries) + tail)
        done = subprocess.run([sys.executable, history.__file__, path], capture_output=True, text=True)
        return done.returncode, done.stdout

    assert run(good(), tail='{"op": "pub", "t"')[0] == 0
    entries = good()
    without("log", id="b")(entries)
    status, text = run(entries)
    assert status == 1 and "lost 1" in text and "first at seq 2" in text
    assert run([{"op": "log"}])[0] == 2
