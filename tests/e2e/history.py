#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what publishers and consumers saw against what the log holds.

    history.py FILE.jsonl ...        prints a report; exit 0 if every check holds, 1 if not, 2 for a file that is no history

One JSON map a line, in any order across files; `t` is CLOCK_MONOTONIC in seconds.

    pub      t conn n id key hash amount   an event was handed to the socket: the n-th of connection conn (source + id name it)
    ok       t conn id level seq? dup?     it was acknowledged
    fail     t conn id number again        it was refused for certain
    deliver  t consumer member session seq id attempt hash
    ack      t consumer seq sync ok        ok: its OK came (only asked for with sync)
    disturb  t consumer?                   a member, or without `consumer` the broker, was killed or stopped
    log      seq id hash                   the whole stream at the end; log-first seq: what retention left
    dead     consumer seq                  a dead letter at the end
    sink     consumer id                   a row of the consumer's table at the end
    balance  consumer value                the sum that the consumer kept beside the rows
    consumer name                          it must have worked off everything
    measure  what value bound              value must not be above bound

An event that has neither ok nor fail is unknown: it may be in the log or not. All checks are linear.
"""
import collections
import json
import sys

CHECKS = {
    "C1": "what was acknowledged is in the log with the same bytes and was worked off by every consumer",
    "C2": "nothing was stored or delivered that nobody published, and no bytes were changed",
    "C3": "what was refused for certain is not in the log",
    "C4": "a sequence number names one event, always, and an event has one sequence number",
    "C5": "a connection's events are in the log in the order in which it sent them",
    "C6": "first deliveries come in the order of the log",
    "C7": "the same id is stored once, and its later acknowledgements say so",
    "C9": "what was acknowledged on disk by a consumer is never delivered again",
    "C11": "every effect happened exactly once",
    "C12": "what must be bounded is bounded",
}


class History:
    def __init__(self):
        self.by_op = collections.defaultdict(list)

    def add(self, entry):
        self.by_op[entry["op"]].append(entry)

    def read(self, lines):
        for line in lines:
            # A client that is killed may leave half a line, which is one that it had not finished saying.
            if line.endswith("\n"):
                self.add(json.loads(line))
        return self


class Report:
    def __init__(self):
        self.violations = collections.defaultdict(list)
        self.counts = collections.Counter()

    def bad(self, check, seq, text):
        self.violations[check].append((seq if seq is not None else sys.maxsize, text))

    @property
    def valid(self):
        return not self.violations

    def text(self):
        names = ("published", "ok", "failed", "unknown", "lost", "duplicated", "reordered", "stored", "delivered")
        lines = ["  ".join(f"{name} {self.counts[name]}" for name in names)]
        for check, promise in CHECKS.items():
            found = sorted(self.violations.get(check, []))
            lines.append(f"{'FAIL' if found else 'ok  '} {check:<4} {promise}")
            if found:
                first = "" if found[0][0] == sys.maxsize else f", first at seq {found[0][0]}"
                lines.append(f"          {len(found)} times{first}: {found[0][1]}")
        return "\n".join(lines)


def check(history):
    """All checks over one stream's history; a Report."""
    report, ops = Report(), history.by_op
    pubs, log = index_pubs(ops), {}
    seq_of = collections.defaultdict(set)
    for e in ops["log"]:
        if log.setdefault(e["seq"], e)["id"] != e["id"]:
            report.bad("C4", e["seq"], f"the log has two events at {e['seq']}: {log[e['seq']]['id']} and {e['id']}")
        seq_of[e["id"]].add(e["seq"])
    first = min((e["seq"] for e in ops["log-first"]), default=0)
    counts = report.counts
    counts.update(published=len(pubs), stored=len(log), delivered=len(ops["deliver"]))
    outcomes(report, ops, pubs)
    check_log(report, ops, pubs, log, seq_of)
    check_acknowledged(report, ops, pubs, seq_of, first)
    check_mapping(report, ops, log, first)
    check_publish_order(report, ops, seq_of)
    check_dedup(report, ops, seq_of)
    for name in [e["name"] for e in ops["consumer"]]:
        check_consumer(report, ops, pubs, log, name)
    for e in ops["measure"]:
        if e["value"] > e["bound"]:
            report.bad("C12", None, f"{e['what']} is {e['value']}, above {e['bound']}")
    return report


def index_pubs(ops):
    pubs = {}
    for e in ops["pub"]:
        pubs.setdefault(e["id"], e)
    return pubs


def outcomes(report, ops, pubs):
    done = {e["id"] for e in ops["ok"]}
    refused = {e["id"] for e in ops["fail"]} - done
    report.counts.update(ok=len(done), failed=len(refused), unknown=len(set(pubs) - done - refused))


def check_log(report, ops, pubs, log, seq_of):
    """C2 and the log's part of C3, C4."""
    for seq, e in log.items():
        pub = pubs.get(e["id"])
        if pub is None:
            report.bad("C2", seq, f"the log holds {e['id']}, which nobody published")
        elif pub["hash"] != e["hash"]:
            report.bad("C2", seq, f"{e['id']} was published with other bytes than the log holds")
    done = {e["id"] for e in ops["ok"]}
    sent = collections.Counter(e["id"] for e in ops["pub"])
    refusals = collections.Counter(e["id"] for e in ops["fail"])
    for id_, times in refusals.items():
        # A resend of an event whose first sending got no answer may be refused although the first one was stored.
        if id_ in seq_of and id_ not in done and times >= sent[id_]:
            report.bad("C3", min(seq_of[id_]), f"{id_} was refused, and is in the log")
    for id_, seqs in seq_of.items():
        if len(seqs) > 1:
            report.counts["duplicated"] += 1
            report.bad("C4", min(seqs), f"{id_} is in the log {len(seqs)} times: {sorted(seqs)[:4]}")
            report.bad("C7", min(seqs), f"{id_} was stored {len(seqs)} times")


def check_acknowledged(report, ops, pubs, seq_of, first):
    """C1: the log's half. What retention took is not lost, so an ok with a seq below `first` is let be."""
    for e in ops["ok"]:
        if e["level"] == "none" or (e.get("seq") or first) < first:
            continue
        if e["id"] not in seq_of:
            report.counts["lost"] += 1
            report.bad("C1", e.get("seq"), f"{e['id']} was acknowledged (level {e['level']}), and is not in the log")
        elif e["id"] not in pubs:
            report.bad("C2", e.get("seq"), f"{e['id']} was acknowledged, and nobody published it")


def check_mapping(report, ops, log, first):
    """C4: one sequence number, one event, over everything that anyone ever saw."""
    seen = {seq: e["id"] for seq, e in log.items()}
    for e in ops["deliver"] + [e for e in ops["ok"] if e.get("seq") is not None]:
        seq, what = e["seq"], "delivered" if e["op"] == "deliver" else "acknowledged"
        if seen.setdefault(seq, e["id"]) != e["id"]:
            report.bad("C4", seq, f"{seq} was {what} as {e['id']} and is {seen[seq]} elsewhere")
        elif seq not in log and seq >= first:
            report.bad("C4", seq, f"{e['id']} was {what} as {seq}, and the log has no {seq}")


def check_publish_order(report, ops, seq_of):
    """C5: events that were sent only once, in the order of n, have rising sequence numbers. (A resend takes a new place.)"""
    sent = collections.Counter(e["id"] for e in ops["pub"])
    done = {e["id"] for e in ops["ok"]}
    last = {}
    for e in sorted(ops["pub"], key=lambda e: e["n"]):
        if sent[e["id"]] > 1 or e["id"] not in done or e["id"] not in seq_of:
            continue
        seq = min(seq_of[e["id"]])
        if seq < last.get(e["conn"], 0):
            report.counts["reordered"] += 1
            report.bad("C5", seq, f"{e['id']} (n {e['n']} of {e['conn']}) is at {seq}, behind an earlier one at {last[e['conn']]}")
        last[e["conn"]] = max(seq, last.get(e["conn"], 0))


def check_dedup(report, ops, seq_of):
    """C7: of several acknowledgements that carry a seq, all name the same one and all but one say dup."""
    oks = collections.defaultdict(list)
    for e in ops["ok"]:
        if e.get("seq") is not None:
            oks[e["id"]].append(e)
    for id_, told in oks.items():
        if len({e["seq"] for e in told}) > 1:
            report.bad("C7", min(e["seq"] for e in told), f"{id_} was acknowledged under two sequence numbers")
        if sum(1 for e in told if not e.get("dup")) > 1:
            report.bad("C7", told[0]["seq"], f"{id_} was acknowledged as new {len(told)} times")


def check_consumer(report, ops, pubs, log, name):
    delivered = [e for e in ops["deliver"] if e["consumer"] == name]
    acks = [e for e in ops["ack"] if e["consumer"] == name]
    dead = collections.Counter(e["seq"] for e in ops["dead"] if e["consumer"] == name)
    for e in delivered:
        pub = pubs.get(e["id"])
        if pub is None:
            report.bad("C2", e["seq"], f"{name} was given {e['id']}, which nobody published")
        elif pub["hash"] != e["hash"]:
            report.bad("C2", e["seq"], f"{name} was given {e['id']} with other bytes than were published")
    given, acked = {e["seq"] for e in delivered}, {e["seq"] for e in acks}
    for seq, e in log.items():
        if seq not in given:
            report.bad("C1", seq, f"{name} was never given {e['id']}")
        elif seq not in acked and not dead[seq]:
            report.bad("C1", seq, f"{name} neither acknowledged {e['id']} nor gave it up")
    for seq, times in dead.items():
        if times > 1:
            report.bad("C7", seq, f"{name} has {times} dead letters for {seq}")
    check_delivery_order(report, ops, delivered, name)
    check_acked_for_good(report, acks, delivered, name)
    check_effects(report, ops, pubs, log, dead, name)


def check_delivery_order(report, ops, delivered, name):
    """C6. In a session, an event that nobody got before comes behind all such before it. Where a member died or stood
    still meanwhile, it may have been given this event and not have lived to say so."""
    disturbed = sorted(e["t"] for e in ops["disturb"] if e.get("consumer") in (None, name))
    seen, top, began = set(), {}, {}
    for e in sorted(delivered, key=lambda e: e["t"]):
        session, seq = e["session"], e["seq"]
        began.setdefault(session, e["t"])
        fresh = seq not in seen and e["attempt"] == 1
        seen.add(seq)
        if not fresh:
            continue
        if seq < top.get(session, 0) and not any(began[session] - 10 <= t <= e["t"] for t in disturbed):
            report.counts["reordered"] += 1
            report.bad("C6", seq, f"{name}: {seq} came first to {e['member']} after {top[session]}")
        top[session] = max(seq, top.get(session, 0))


def check_acked_for_good(report, acks, delivered, name):
    """C9: no delivery to a session that began after the OK of a synced ACK."""
    durable = {}
    for e in acks:
        if e.get("sync") and e.get("ok"):
            durable[e["seq"]] = min(e["t"], durable.get(e["seq"], e["t"]))
    began = {}
    for e in sorted(delivered, key=lambda e: e["t"]):
        began.setdefault(e["session"], e["t"])
        if began[e["session"]] > durable.get(e["seq"], float("inf")):
            report.bad("C9", e["seq"], f"{name}: {e['seq']} was acknowledged on disk and came again")


def check_effects(report, ops, pubs, log, dead, name):
    """C11: the table has a row for every stored event that is not dead, none for others, and the sum agrees."""
    rows = collections.Counter(e["id"] for e in ops["sink"] if e["consumer"] == name)
    balance = [e["value"] for e in ops["balance"] if e["consumer"] == name]
    if not balance:
        return
    for seq, e in log.items():
        if rows[e["id"]] > 1 or (not rows[e["id"]] and not dead[seq]):
            report.bad("C11", seq, f"{name} has {rows[e['id']]} rows for {e['id']}")
    stored = {e["id"] for e in log.values()}
    for id_ in rows:
        if id_ not in stored:
            report.bad("C11", None, f"{name} has a row for {id_}, which is not in the log")
    expected = sum(pubs[id_]["amount"] for id_ in rows if id_ in pubs)
    if balance[-1] != expected:
        report.bad("C11", None, f"{name} counted {balance[-1]}, its rows add up to {expected}")


def main(paths):
    history = History()
    try:
        for path in paths:
            with open(path, encoding="utf-8") as f:
                history.read(f)
        report = check(history)
    except (OSError, ValueError, KeyError, TypeError) as e:
        print(f"{path}: not a history: {e!r}", file=sys.stderr)
        return 2
    print(report.text())
    return 0 if report.valid else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
