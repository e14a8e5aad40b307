#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark: lineshaft beside bare ZeroMQ loops, Redis and NATS, in interleaved rounds of one run. docs/benchmarks.md
says what is measured and how to read it."""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

import machine
import report
import servers

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENT = os.path.normpath(os.path.join(HERE, "..", "..", "docs", "benchmarks.md"))
SIZES = [128, 1024, 16384]
CELL_TIMEOUT = 90
COUNT_MAX_BYTES = 2 << 30  # of one cell: bounds what JetStream leaves in the page cache
FIRST_COUNT = {128: 4096, 1024: 2048, 16384: 512}  # of the calibration, a multiple of the batch


@dataclass
class Row:
    """A line of a table: one client against one server."""
    label: str
    client: str       # executable
    peer: str         # its first argument
    server: str       # servers.COMMANDS; "" for the disk alone
    batch: int = 1
    goal: dict = field(default_factory=dict)  # ratio to the case's first row, by size


@dataclass
class Case:
    name: str
    title: str
    windows: dict     # by size
    rows: list

    def servers(self):
        return list(dict.fromkeys(row.server for row in self.rows if row.server))


def by_size(*values):
    return dict(zip(SIZES, values))


CASES = [
    Case("durable", "Durable publish, 1 producer, 1,000 events outstanding", by_size(1000, 1000, 1000), [
        Row("zmq-gc (ceiling)", "client_zmq", "zmq-gc", "zmq:gc"),
        Row("Redis Streams, appendfsync always", "client_redis", "redis", "redis"),
        Row("NATS JetStream, file (acknowledges unsynced)", "client_nats", "nats", "nats"),
        Row("lineshaft", "client_zmq", "lineshaft", "lineshaft:durable", goal=by_size(0.5, 0.65, 0.75)),
        Row("lineshaft, batches of 32", "client_zmq", "lineshaft", "lineshaft:durable", 32),
    ]),
    # At most 4,000 events or 4 MiB on their way: more only fills processor caches, less starves the pipe.
    Case("live", "Live feed, 1 publisher to 1 subscriber", by_size(4000, 4000, 256), [
        Row("zmq-router (ceiling, unbatched)", "client_zmq", "zmq-router", "zmq:router"),
        Row("NATS core", "client_nats", "nats", "nats"),
        Row("Redis PUBSUB", "client_redis", "redis", "redis"),
        Row("lineshaft", "client_zmq", "lineshaft", "lineshaft:live", goal=by_size(0.7, 0.8, 0.9)),
        Row("lineshaft, batches of 32", "client_zmq", "lineshaft", "lineshaft:live", 32, goal=by_size(1.8, 1.2, 1.6)),
    ]),
    Case("ack1", "Publish to acknowledgement, 1 outstanding", by_size(1, 1, 1), [
        Row("zmq-gc", "client_zmq", "zmq-gc", "zmq:gc"),
        Row("fdatasync of 4 KiB alone", "client_disk", "fdatasync", ""),
        Row("Redis Streams, appendfsync always", "client_redis", "redis", "redis"),
        Row("lineshaft", "client_zmq", "lineshaft", "lineshaft:durable", goal=by_size(1.3, 1.3, 1.3)),
    ]),
]


class CellFailed(Exception):
    pass


class Runner:
    def __init__(self, args, scratch):
        self.programs = os.path.join(args.build, "tests", "bench")
        self.scratch = scratch
        self.rounds, self.seconds = (4, 0.5) if args.short else (7, 1.2)
        self.sizes_of = {"ack1": [1024]} if args.short else {}
        self.only = args.only
        self.cells, self.blocks, self.memory = [], [], {}

    def cell(self, case, row, size, count, server):
        program = os.path.join(self.programs, row.client)
        if not os.path.exists(program):
            raise CellFailed("client not built: its library is not installed")
        if server:
            endpoint, pid = f"{servers.HOST}:{server.port}", server.pid
        else:
            endpoint, pid = self.scratch, 0
        argv = [program, row.peer, case.name, str(4096 if not server else size), str(count), str(case.windows[size]),
                endpoint, str(row.batch), str(pid)]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CELL_TIMEOUT,
                                  check=False, preexec_fn=servers.die_with_parent)
        except subprocess.TimeoutExpired as late:
            raise CellFailed(f"no end after {CELL_TIMEOUT} s") from late
        if done.returncode:
            raise CellFailed(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else
                             f"client ended with {done.returncode}")
        return json.loads(done.stdout)

    def calibrate(self, case, row, size, server):
        """Warms the server up and returns how many events make a cell of self.seconds."""
        count = FIRST_COUNT[size] if case.name != "ack1" else 100
        for share in (0.2, 0.5, 1.0):
            rate = self.cell(case, row, size, count, server)["rate"]
            count = max(row.batch, int(rate * self.seconds * share))
            count = min(count, COUNT_MAX_BYTES // size)
            count -= count % row.batch
        return count

    def block(self, case, size):
        """All rounds of one case at one size."""
        with servers.Fleet(case.servers(), self.scratch, self.programs) as fleet:
            block = {"case": case.name, "title": case.title, "size": size, "window": case.windows[size], "rows": []}
            ready = []
            for row in case.rows:
                entry = {"label": row.label, "goal": row.goal.get(size), "cells": [], "problem": None}
                block["rows"].append(entry)
                server = fleet.servers.get(row.server)
                entry["problem"] = fleet.absent.get(row.server)
                if entry["problem"]:
                    continue
                self.progress(f"{case.name} {report.size_text(size)}: warming {row.label}")
                try:
                    ready.append((row, entry, server, self.calibrate(case, row, size, server)))
                except CellFailed as reason:
                    entry["problem"] = str(reason)
            for turn in range(self.rounds):
                for row, entry, server, count in ready:
                    self.progress(f"{case.name} {report.size_text(size)}: round {turn + 1} of {self.rounds}, {row.label}")
                    try:
                        entry["cells"].append(dict(self.cell(case, row, size, count, server), round=turn))
                    except CellFailed as reason:
                        entry["problem"] = str(reason)
        self.note_memory(fleet)
        self.progress("")
        self.blocks.append(block)
        print(report.block_text(block), flush=True)

    def note_memory(self, fleet):
        for name, server in fleet.servers.items():
            seen = self.memory.setdefault(name, {"idle": server.rss_idle, "loaded": 0, "peak": 0})
            seen["loaded"] = max(seen["loaded"], server.rss_loaded)
            seen["peak"] = max(seen["peak"], server.rss_peak)

    def progress(self, text):
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K" + text)
            sys.stderr.flush()
        elif text:
            print(text, file=sys.stderr, flush=True)

    def run(self):
        for case in CASES:
            for size in self.sizes_of.get(case.name, SIZES):
                if not self.only or case.name in self.only:
                    self.block(case, size)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="the build folder (default: build)")
    parser.add_argument("--short", action="store_true", help="about 80 seconds instead of 8 minutes; more noise")
    parser.add_argument("--only", action="append", choices=[case.name for case in CASES], help="this case only; repeatable")
    parser.add_argument("--json", metavar="FILE", help="write every cell to FILE (- for standard output)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    return parser.parse_args()


def on_signal(number, _frame):
    raise SystemExit(128 + number)


def measure(args, scratch):
    probe = os.path.join(args.build, "tests", "bench", "client_disk")
    facts = machine.facts(scratch, probe)
    print(machine.text(facts), flush=True)
    runner = Runner(args, scratch)
    started = time.monotonic()
    runner.run()
    facts.update(machine.facts_after())
    result = {"date": time.strftime("%Y-%m-%d"), "command": "make bench" + (" (short)" if args.short else ""),
              "rounds": runner.rounds, "cell_seconds": runner.seconds, "took_seconds": round(time.monotonic() - started),
              "machine": facts, "blocks": runner.blocks, "memory_mib": runner.memory}
    print(report.memory_text(runner.memory))
    print(f"load average before {facts['load_before']}, after {facts['load_after']}; took {result['took_seconds']} s")
    return result


def main():
    args = arguments()
    args.build = os.path.abspath(args.build)
    if args.write and args.only:
        raise SystemExit("bench: --write needs all cases: leave out --only")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, on_signal)
    if not os.path.exists(os.path.join(args.build, "tests", "bench", "client_zmq")):
        raise SystemExit(f"bench: no benchmark programs in {args.build}; `make bench` builds and runs them")
    scratch = tempfile.mkdtemp(prefix="bench-data-", dir=args.build)
    try:
        machine.require_disk(scratch)
        result = measure(args, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if args.json == "-":
        json.dump(result, sys.stdout, indent=1)
    elif args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    if args.write:
        report.write_document(DOCUMENT, result)
        print("tables written into docs/benchmarks.md")
    failed = [row["label"] for block in result["blocks"] for row in block["rows"]
              if row["problem"] and not row["problem"].startswith("not installed")]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
