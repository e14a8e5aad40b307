#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The chat bench: what lineshaft adds to a chat turn, beside a bare libzmq echo over four hops, and what many streams and feeds
at once come to. Everything runs on this machine; docs/benchmarks.md says how to read it."""
import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
sys.path.insert(0, HERE)

import bus  # noqa: E402
import machine  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402

DOCUMENT = os.path.normpath(os.path.join(HERE, "..", "..", "docs", "benchmarks.md"))
BEGIN, END = "<!-- bench-chat: begin (written by `make bench`, not by hand) -->", "<!-- bench-chat: end -->"
GOAL = 2.0
QUIET = 1.25  # rounds whose echo is at most so much slower than the fastest round's count
TOPOLOGY = """
lineshaft: 1
name: bench
broker: {{ listen: "tcp://127.0.0.1:{port}", data: bus, ipc: ipc }}
streams:
  events: {{ topics: [">"] }}
nodes:
  door:  {{ kind: ingress, listen: "127.0.0.1:{http}"{env} }}
  model: {{ kind: inference, backend: openai, url: "{mock}", slots: 500{env} }}
"""


class Stage:
    """Mock, lineshaft and the echo's processes, all ended together."""

    def __init__(self, args, scratch, transport):
        self.programs, self.folder = os.path.join(args.build, "tests"), os.path.join(scratch, transport)
        self.lineshaft, self.transport, self.running = os.path.join(args.build, "lineshaft"), transport, []
        os.makedirs(self.folder)
        self.base, self.port, self.echo_base = bus.free_base(), bus.free_base(), bus.free_base()

    def start(self, *argv, **more):
        process = subprocess.Popen(argv, cwd=self.folder, stdout=subprocess.PIPE, text=True, preexec_fn=servers.die_with_parent, **more)
        self.running.append(process)
        return process

    def bench(self, *argv):
        return [os.path.join(self.programs, "bench", "chat_bench"), *map(str, argv)]

    def __enter__(self):
        mock = self.start(os.path.join(self.programs, "mock", "openai"), "--tokens", "8").stdout.readline().strip()
        self.mock_port = int(mock.split(":")[2].split("/")[0])
        env = f', environment: {{ LINESHAFT_URL: "ipc://{self.folder}/ipc" }}' if self.transport == "ipc" else ""
        with open(os.path.join(self.folder, "bench.yaml"), "w", encoding="utf-8") as file:
            file.write(TOPOLOGY.format(port=self.base, http=self.port, mock=mock, env=env))
        log = open(os.path.join(self.folder, "up.log"), "w", encoding="utf-8")
        self.up = subprocess.Popen([self.lineshaft, "up", "bench.yaml"], cwd=self.folder, stdout=log, stderr=log,
                                   preexec_fn=servers.die_with_parent)
        self.running.append(self.up)
        self.urls = ([f"ipc://{self.folder}/front", f"ipc://{self.folder}/back"] if self.transport == "ipc" else
                     [f"tcp://127.0.0.1:{self.echo_base}", f"tcp://127.0.0.1:{self.echo_base + 1}"])
        forward = self.start(*self.bench("forward", *self.urls))
        self.start(*self.bench("worker", self.urls[1]))
        forward.stdout.readline()
        self.wait_ready()
        return self

    def wait_ready(self):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                if b'"fixed"' in urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/models", timeout=5).read():
                    return
            except OSError:
                if self.up.poll() is not None:
                    break
        with open(os.path.join(self.folder, "up.log"), encoding="utf-8") as file:
            raise SystemExit("bench: lineshaft is not ready:\n" + file.read()[-3000:])

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM if process is self.up else signal.SIGKILL)
            process.wait()

    def samples(self, *argv):
        done = subprocess.run(self.bench(*argv), capture_output=True, text=True, timeout=300, check=False,
                              preexec_fn=servers.die_with_parent)
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(map(str, argv))}: {done.stderr.strip()}")
        return sorted(float(line) for line in done.stdout.split())

    def rss_mib(self, node):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    env = file.read()
                here = os.readlink(f"/proc/{pid}/cwd") == self.folder
                if here and f"LINESHAFT_NODE={node}\0".encode() in env:
                    with open(f"/proc/{pid}/status", encoding="ascii") as file:
                        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))
            except OSError:
                continue
        return 0.0


def quantile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def pooled(rounds, key):
    return sorted(sample for one in rounds for sample in one[key])


def latency(args, scratch, transport):
    """Interleaved rounds: each measures everything, so that noise meets all alike."""
    rounds, count = (6, 300) if args.short else (20, 500)
    with Stage(args, scratch, transport) as stage:
        modes = {"direct": ("latency", stage.mock_port), "through": ("latency", stage.port), "first_direct": ("first", stage.mock_port),
                 "first_through": ("first", stage.port), "echo": ("echo", stage.urls[0])}
        for mode in modes.values():
            stage.samples(*mode, 200)  # warm
        measured = []
        for turn in range(rounds):
            print(f"\r\033[Kchat over {transport}: round {turn + 1} of {rounds}", end="", file=sys.stderr, flush=True)
            measured.append({name: stage.samples(*mode, count) for name, mode in modes.items()})
        print("\r\033[K", end="", file=sys.stderr)
    fastest = min(quantile(one["echo"], 0.5) for one in measured)
    quiet = [one for one in measured if quantile(one["echo"], 0.5) <= QUIET * fastest]
    result = {"transport": transport, "rounds": rounds, "quiet": len(quiet), "count": count}
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        at = {key: quantile(pooled(quiet, key), share) for key in modes}
        result[name] = {**at, "added": at["through"] - at["direct"], "first_added": at["first_through"] - at["first_direct"]}
        result[name]["ratio"] = result[name]["added"] / at["echo"]
        result[name]["first_ratio"] = result[name]["first_added"] / at["echo"]
    return result


def crowd(args, scratch):
    """Idle feeds and paced streams together; every frame is judged."""
    feeds, streams, tokens = (2000, 100, 150) if args.short else (5000, 200, 500)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < feeds + 1000:
        return {"problem": f"the descriptor limit of this machine, {hard}, is too low for {feeds} feeds"}
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Stage(args, scratch, "tcp") as stage:
        watcher = stage.start(*stage.bench("feeds", stage.port, feeds), stdin=subprocess.PIPE)
        if watcher.stdout.readline().strip() != "ready":
            raise SystemExit("bench: the feeds did not stand")
        run = subprocess.Popen(stage.bench("streams", stage.port, streams, tokens, 20), stdout=subprocess.PIPE, text=True,
                               preexec_fn=servers.die_with_parent)
        fan_out = []
        while run.poll() is None:
            watcher.stdin.write("go\n")
            watcher.stdin.flush()
            fan_out.append(float(watcher.stdout.readline()))
            try:
                run.wait(2)
            except subprocess.TimeoutExpired:
                pass
        result = json.loads(run.stdout.read())
        fan_out.sort()
        result.update(feeds=feeds, pace_ms=20, rounds=len(fan_out), fan_out_ms={"p50": quantile(fan_out, 0.5), "max": fan_out[-1]},
                      ingress_rss_mib=stage.rss_mib("door"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return result


# ---- telling ----

def table(result):
    rows = []
    for one in result["latency"]:
        for name in ("p50", "p99"):
            at = one[name]
            goal = f" (goal {GOAL:g})" if name == "p50" else ""
            rows.append([f"{one['transport']}, {name}", f"{at['direct']:.0f}", f"{at['through']:.0f}", f"{at['echo']:.0f}",
                         f"{at['ratio']:.2f}{goal}", f"{at['first_added']:.0f}", f"{at['first_ratio']:.2f}"])
    return [["", "direct, us", "through lineshaft, us", "four-hop echo, us", "added / echo", "added to the first token, us", "/ echo"],
            *rows]


def crowd_text(c):
    if "problem" in c:
        return c["problem"]
    gap = c["longest_gap_ms"]
    return (f"{c['feeds']} idle event feeds and {c['streams']} chat streams of {c['tokens'] // c['streams']} tokens at 50 a second: "
            f"{c['tokens']} tokens, {c['wrong']} wrong or out of order, {c['cut']} streams cut; longest silence within a stream "
            f"p50 {gap['p50']:.0f} ms, p99 {gap['p99']:.0f} ms, max {gap['max']:.0f} ms (pace {c['pace_ms']} ms). "
            f"An event to all feeds meanwhile: p50 {c['fan_out_ms']['p50']:.0f} ms, max {c['fan_out_ms']['max']:.0f} ms "
            f"({c['rounds']} times). ingress: {c['ingress_rss_mib']:.0f} MiB resident.")


def text(result):
    rows = table(result)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))) for row in rows]
    quiet = ", ".join(f"{one['transport']}: {one['quiet']} of {one['rounds']} rounds were quiet" for one in result["latency"])
    return "\n".join([*lines, quiet, crowd_text(result["crowd"])])


def markdown(result):
    known, rows = result["machine"], table(result)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| --- |" + " ---: |" * (len(rows[0]) - 1))
    rounds = "; ".join(f"{one['transport']}: {one['quiet']} of {one['rounds']} rounds of {one['count']} turns were quiet"
                       for one in result["latency"])
    return (f"Measured {result['date']} by `{result['command']}`; {rounds}; load average {known['load_before']} before, "
            f"{known['load_after']} after.\n\n" + "\n".join(lines) + "\n\n" + crowd_text(result["crowd"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--short", action="store_true", help="about a minute; more noise")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE (- for standard output)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    scratch = tempfile.mkdtemp(prefix="bench-chat-", dir=args.build)
    try:
        machine.require_disk(scratch)
        facts = {"load_before": machine.load()}
        result = {"date": time.strftime("%Y-%m-%d"), "command": "make bench" + (" (short)" if args.short else ""), "machine": facts}
        result["latency"] = [latency(args, scratch, transport) for transport in ("tcp", "ipc")]
        shutil.rmtree(os.path.join(scratch, "tcp"))
        result["crowd"] = crowd(args, scratch)
        facts.update(machine.facts_after())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(text(result))
    if args.json:
        with (sys.stdout if args.json == "-" else open(args.json, "w", encoding="utf-8")) as file:
            json.dump(result, file, indent=1)
    if args.write:
        report.write_between(DOCUMENT, (BEGIN, END), markdown(result))
    bad = result["crowd"].get("wrong", 0) + result["crowd"].get("cut", 0)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
