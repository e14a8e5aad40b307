# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the broker and of consumers, and consumers that stand still, under load, CHAOS_CYCLES times (or for CHAOS_SECONDS);
then the whole history is checked (history.py). CHAOS_SEED repeats the same decisions. Run it as a program for a long run:
    chaos_test.py [CYCLES [SEED]]
"""
import hashlib
import json
import os
import pathlib
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import history  # noqa: E402
from bus import SANITIZED, Bus, die_with_parent, unpack  # noqa: E402

CLIENT = pathlib.Path(__file__).with_name("chaos_client.py")
SLOTS = 16
PUBLISHERS = [("pipe", "pipe1", {}), ("pipe", "pipe2", {}), ("pipe", "batch", {"batch": 16}), ("req", "req", {})]
# Member: the durable consumer, and whose work the history counts it as. `mirror` gives every event to each of its members.
MEMBERS = {"plain-m0": ("plain", "plain"), "plain-m1": ("plain", "plain"), "batched-m0": ("batched", "batched"),
           "batched-m1": ("batched", "batched"), "mirror-m0": ("mirror", "mirror-m0"), "mirror-m1": ("mirror", "mirror-m1")}
WORKERS = sorted({worker for _, worker in MEMBERS.values()})
RSS_BOUND_KIB = (3000 if SANITIZED else 300) * 1024


class Chaos:
    def __init__(self, folder, seed):
        self.folder, self.seed, self.random = pathlib.Path(folder), seed, random.Random(seed)
        self.bus = Bus(self.folder / "bus").start()
        self.stop = self.folder / "stop"
        self.counters = self.folder / "counters"
        self.counters.write_bytes(bytes(8 * SLOTS))
        self.history = open(self.folder / "test.jsonl", "w", buffering=1, encoding="utf-8")
        self.clients, self.started, self.recoveries = {}, 0, []

    def note(self, **entry):
        self.history.write(json.dumps(entry) + "\n")

    def spawn(self, role, name, slot, **settings):
        settings = {"url": self.bus.url, "name": name, "client": name, "slot": slot, "counters": str(self.counters),
                    "seed": f"{self.seed}.{name}" if role != "consume" else f"{self.seed}.{name}.{self.started}", "batch": 0,
                    "file": str(self.folder / f"{name}.jsonl"), "stop": str(self.stop), **settings}
        self.started += 1
        log = open(self.folder / "clients.log", "ab")
        self.clients[name] = subprocess.Popen([sys.executable, str(CLIENT), role, json.dumps(settings)], stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log, preexec_fn=die_with_parent)
        log.close()

    def spawn_member(self, name):
        consumer, worker = MEMBERS[name]
        self.spawn("consume", name, 8 + list(MEMBERS).index(name), client=worker, consumer=consumer, batch=consumer == "batched",
                   share="each" if consumer == "mirror" else "group", sink=str(self.folder / f"{worker}.db"))

    def begin(self):
        for name in WORKERS:
            table = sqlite3.connect(self.folder / f"{name}.db")
            table.executescript("PRAGMA journal_mode = WAL; CREATE TABLE sink (id TEXT PRIMARY KEY);"
                                "CREATE TABLE balance (value INTEGER); INSERT INTO balance VALUES (0);")
            table.close()
            self.note(op="consumer", name=name)
        for slot, (role, name, settings) in enumerate(PUBLISHERS):
            self.spawn(role, name, slot, **settings)
        for name in MEMBERS:
            self.spawn_member(name)

    def counts(self):
        return struct.unpack(f"{SLOTS}Q", self.counters.read_bytes())

    def wait_for(self, what, holds, patience=90):
        """Look every 10 ms; a client that ended by itself fails the run at once."""
        until = time.monotonic() + patience
        while not holds():
            for name, process in self.clients.items():
                assert process.poll() in (None, 0), f"{name} ended with {process.returncode}: {self.client_log()}"
            assert time.monotonic() < until, f"not within {patience} s: {what}; counts {self.counts()}; {self.client_log()}"
            signal.sigtimedwait([], 0.01)

    def client_log(self):
        return (self.folder / "clients.log").read_text(errors="replace")[-2000:]

    def load(self):
        """Let some acknowledgements and some deliveries happen: the pace is work done, not time."""
        base, acks, deliveries = self.counts(), self.random.randrange(30, 600), self.random.randrange(0, 300)

        def done():
            grown = [now - before for now, before in zip(self.counts(), base)]
            return sum(grown[:8]) >= acks and sum(grown[8:]) >= deliveries

        self.wait_for(f"{acks} acknowledgements and {deliveries} deliveries", done)

    def cycle(self):
        self.load()
        self.note(op="measure", what="rss of the broker, KiB", value=self.bus.rss_kib(), bound=RSS_BOUND_KIB)
        what = self.random.choice(["broker", "broker", "broker", "consumer", "both", "pause"])
        member = self.random.choice(list(MEMBERS))
        worker, process = MEMBERS[member][1], self.clients[member]
        if what in ("consumer", "both"):
            self.note(op="disturb", t=time.monotonic(), consumer=worker)
            process.kill()
            process.wait()
        if what == "pause":
            self.note(op="disturb", t=time.monotonic(), consumer=worker)
            process.send_signal(signal.SIGSTOP)
            try:
                self.load()
            finally:
                process.send_signal(signal.SIGCONT)
            self.note(op="disturb", t=time.monotonic(), consumer=worker)
        if what in ("broker", "both"):
            self.note(op="disturb", t=time.monotonic())
            self.bus.kill()
            began = time.monotonic()
            self.bus.start()
            self.recoveries.append(time.monotonic() - began)
            self.note(op="disturb", t=time.monotonic())
        if what in ("consumer", "both"):
            self.spawn_member(member)

    def quiesce(self):
        """Publishers finish what they began, consumers work off what there is, then everything stops."""
        self.stop.touch()
        self.wait_for("publishers to finish", lambda: all(self.clients[name].poll() == 0 for _, name, _ in PUBLISHERS), 120)
        for name in sorted({consumer for consumer, _ in MEMBERS.values()}):
            self.wait_for(f"{name} to work everything off", lambda: self.settled(name), 120)
        for process in self.clients.values():
            if process.poll() is None:
                process.terminate()
                assert process.wait(30) == 0, self.client_log()

    def settled(self, name):
        state = self.bus.consumer(name)
        wanted = len({worker for consumer, worker in MEMBERS.values() if consumer == name})
        return state is not None and len(state["positions"]) == wanted and all(p["pending"] == 0 for p in state["positions"])

    def collect(self):
        for event in self.bus.stream("events", batch=True):
            self.note(op="log", seq=event.seq, id=event.head["id"], hash=hashlib.sha1(event.body).hexdigest())
        for letter in self.bus.stream("$sys"):
            if letter.head["topic"].startswith("$dlq."):
                told = unpack(letter.body)
                self.note(op="dead", consumer=told["consumer"], seq=told["seq"])
        for name in WORKERS:
            table = sqlite3.connect(self.folder / f"{name}.db")
            for id_, in table.execute("SELECT id FROM sink"):
                self.note(op="sink", consumer=name, id=id_)
            self.note(op="balance", consumer=name, value=table.execute("SELECT value FROM balance").fetchone()[0])
            table.close()
        self.history.close()

    def report(self):
        found = history.History()
        for path in sorted(self.folder.glob("*.jsonl")):
            with open(path, encoding="utf-8") as lines:
                found.read(lines)
        return history.check(found)

    def close(self):
        for process in self.clients.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        self.bus.close()


def run(folder, cycles, seed, seconds=None):
    """`cycles` kills, or as many as `seconds` allow; then the verdict."""
    print(f"chaos: {f'{seconds} s' if seconds else f'{cycles} cycles'}, CHAOS_SEED={seed}, in {folder}", flush=True)
    until = time.monotonic() + (seconds or 0)
    chaos = Chaos(folder, seed)
    try:
        chaos.begin()
        done = 0
        while time.monotonic() < until if seconds else done < cycles:
            chaos.cycle()
            done += 1
        chaos.quiesce()
        chaos.collect()
        report = chaos.report()
        print(report.text())
        if chaos.recoveries:
            slow, mean = max(chaos.recoveries), sum(chaos.recoveries) / len(chaos.recoveries)
            print(f"{len(chaos.recoveries)} recoveries of the broker, {mean:.3f} s on average, {slow:.3f} s at most")
        return report
    except BaseException:
        print(chaos.bus.log_text()[-4000:])
        raise
    finally:
        chaos.close()


def test_nothing_acknowledged_is_lost_under_kills(tmp_path):
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(1 << 32))
    report = run(tmp_path, int(os.environ.get("CHAOS_CYCLES", "15")), seed, int(os.environ.get("CHAOS_SECONDS", "0")))
    assert report.valid, report.text()
    assert report.counts["ok"] > 100 and report.counts["delivered"] > 100


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory(prefix="lineshaft-chaos-") as scratch:
        outcome = run(scratch, wanted, sys.argv[2] if len(sys.argv) > 2 else str(random.SystemRandom().randrange(1 << 32)))
    sys.exit(0 if outcome.valid else 1)
