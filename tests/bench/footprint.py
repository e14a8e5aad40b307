#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the quick start weighs and how soon it answers: memory of its idle processes, sizes of the executables, time until all is up, first
byte of `pub` and `tail` beside a bare process. docs/benchmarks.md says how to read it."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]

import machine  # noqa: E402
import report  # noqa: E402
from quickstart import QuickStart  # noqa: E402

DOCUMENT = os.path.join(ROOT, "docs", "benchmarks.md")
MARKS = "<!-- bench-footprint: begin (written by `make bench`, not by hand) -->", "<!-- bench-footprint: end -->"
GOAL_MIB = 60
CHATS = 20  # a model file is mapped: what no answer has touched takes no memory


def first_byte_ms(argv, env, rounds):
    """From fork to the first byte on standard output; median and the slowest of twenty."""
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            process.stdout.read(1)
            took.append((time.perf_counter() - begun) * 1e3)
            process.stdout.read()
    return statistics.median(took), sorted(took)[int(len(took) * 0.95)]


def programs(build, folder):
    rows = []
    for name in sorted(name for name in os.listdir(build) if name == "lineshaft" or name.startswith("lineshaft-")):
        path, bare = os.path.join(build, name), os.path.join(folder, "stripped")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            subprocess.run(["strip", "-o", bare, path], check=True)
            rows.append([name, f"{os.path.getsize(bare) / 2**20:.2f}", f"{os.path.getsize(path) / 2**20:.2f}"])
    return rows


def measure(args, folder):
    program = os.path.abspath(os.path.join(args.build, "lineshaft"))
    quick = QuickStart(program, folder)
    try:
        _, without = quick.memory()
        quick.train()
        for _ in range(CHATS):
            quick.chat("Tell me a fortune")
        rows, total = quick.memory()
        commands = [("a process that prints (/bin/echo)", ["/bin/echo", "x"]), ("lineshaft version", [program, "version"]),
                    ("lineshaft pub, until the event is on disk", [program, "pub", "note.written", '{"text": "hello"}']),
                    ("lineshaft tail --last 1, the event", [program, "tail", "note.written", "--last", "1", "--no-follow"])]
        quick.run("pub", "note.written", '{"text": "hello"}')
        times = [[label, *(f"{ms:.1f}" for ms in first_byte_ms(argv, quick.env, 20 if args.short else 100))] for label, argv in commands]
    finally:
        quick.close()
    memory = [["process", "PSS, MiB"]] + [[name, f"{mib:.1f}"] for name, mib in rows]
    memory += [["all, idle, after 20 chats", f"{total:.1f} (goal < {GOAL_MIB}: {'met' if total < GOAL_MIB else 'missed'})"],
               ["all, idle, before there is a model", f"{without:.1f}"]]
    return {"up_s": quick.up_s, "memory": memory, "times": [["from fork to first byte", "p50, ms", "p95, ms"]] + times,
            "programs": [["executable", "stripped, MiB", "with debug information, MiB"]] + programs(args.build, folder)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--build", default="build")
    arguments.add_argument("--short", action="store_true")
    arguments.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    args = arguments.parse_args()
    folder = tempfile.mkdtemp(prefix="lineshaft-footprint-")
    try:
        result = measure(args, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tables = [result["memory"], result["times"], result["programs"]]
    started = f"From `lineshaft up config/quickstart.yaml` until every node is connected: {result['up_s']:.2f} s."
    print("\nFootprint of config/quickstart.yaml\n\n" + started + "\n\n" + "\n\n".join(map(report.aligned, tables)))
    if args.write:
        head = f"Measured {time.strftime('%Y-%m-%d')} by `make footprint`; load average {machine.load()}. {started}"
        report.write_between(DOCUMENT, MARKS, "\n\n".join([head, *map(report.markdown_table, tables)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
