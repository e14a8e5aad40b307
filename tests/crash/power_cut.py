#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Power cuts against the log: tests/crash/power_cut.py [--build build] [--images 1000] [--seed 1]

Records a driver's disk writes (random appends, retention, consumer state, restarts in order and by kill -9), builds the
disks that a power cut may have left at many points, opens the log on each, and checks what was promised: every
acknowledged entry is there with the same bytes, nothing else is, no number is used again, nothing counts as lost that
was not, consumer state is a prefix that holds all that was acknowledged. Then it appends, and opens once more. For some
disks that second life is recorded and cut as well: a crash during recovery.
"""
import argparse
import copy
import os
import shutil
import subprocess
import sys
import tempfile

import recording

HERE = os.path.dirname(os.path.abspath(__file__))
STREAMS = ("events", "quick")  # durability: disk, and memory


def compile_preload(name, folder):
    target = os.path.join(folder, name + ".so")
    subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-pthread",
                    os.path.join(HERE, "preload", name + ".c"), "-o", target, "-ldl"], check=True)
    return target


class Wrong(Exception):
    """A broken promise."""


class Promise:
    """What the driver said up to some point."""

    def __init__(self):
        self.given = {name: {} for name in STREAMS}   # seq: (count, len, crc)
        self.highest = dict.fromkeys(STREAMS, 0)
        self.waiting = {name: [] for name in STREAMS} # (seq, last) not acknowledged yet in this life
        self.acked = {name: set() for name in STREAMS}
        self.retained = dict.fromkeys(STREAMS, 0)
        self.failed = {name: [] for name in STREAMS}
        self.state_given = self.state_acked = 0

    def hear(self, line):
        word, *rest = line.split()
        if word == "given":
            name, seq, count, size, crc = rest
            self.given[name][int(seq)] = (int(count), int(size), crc)
            last = int(seq) + int(count) - 1
            self.highest[name] = max(self.highest[name], last)
            self.waiting[name].append((int(seq), last))
        elif word == "opened":
            self.waiting[rest[0]] = []
        elif word == "acked":
            waiting = self.waiting[rest[0]]
            while waiting and waiting[0][1] <= int(rest[1]):
                self.acked[rest[0]].add(waiting.pop(0)[0])
        elif word == "retained":
            self.retained[rest[0]] = max(self.retained[rest[0]], int(rest[1]))
        elif word == "failed":
            self.failed[rest[0]].append((int(rest[1]), int(rest[2])))
            self.waiting[rest[0]] = [(seq, last) for seq, last in self.waiting[rest[0]] if last > int(rest[2])]
        elif word == "refused":
            seq = self.waiting[rest[0]].pop()[0]
            del self.given[rest[0]][seq]
            self.highest[rest[0]] = seq - 1
        elif word == "state-given":
            self.state_given = int(rest[0])
        elif word == "state-acked":
            self.state_acked = max(self.state_acked, int(rest[0]))


class Seen:
    """What the driver found on a disk."""

    def __init__(self, output):
        self.entries = {name: {} for name in STREAMS}
        self.next, self.lost, self.state, self.health = {}, [], [], {}
        for line in output.splitlines():
            word, *rest = line.split()
            if word == "entry":
                self.entries[rest[0]][int(rest[1])] = (int(rest[2]), int(rest[3]), rest[4])
            elif word == "opened":
                self.next[rest[0]] = int(rest[1])
            elif word == "lost":
                self.lost.append(line)
            elif word == "state":
                self.state.append(int(rest[0]))
            elif word == "health":
                self.health[rest[0]] = int(rest[1])


def check(promise, seen, retained):
    """retained: the low-water marks that may already be in force."""
    for name in STREAMS:
        entries, given = seen.entries[name], promise.given[name]
        for seq, what in entries.items():
            if given.get(seq) != what:
                raise Wrong(f"{name}: entry {seq} {what} is not what was appended: {given.get(seq)}")
            if any(a <= seq <= b for a, b in promise.failed[name]):
                raise Wrong(f"{name}: entry {seq} was reported as failed")
        if seen.next[name] <= promise.highest[name]:
            raise Wrong(f"{name}: number {seen.next[name]} was given out before (up to {promise.highest[name]})")
        if name == "quick":
            continue  # not synced: nothing more was promised
        for seq in promise.acked[name]:
            if seq not in entries and seq >= retained[name]:
                raise Wrong(f"{name}: entry {seq} was acknowledged and is gone")
        if [line for line in seen.lost if line.split()[1] == name]:
            raise Wrong(f"counted as lost though nothing was damaged: {seen.lost}")
    if any(seen.health.values()):
        raise Wrong(f"not healthy: {seen.health}")
    if seen.state != sorted(set(seen.state)) or (seen.state and seen.state[-1] - seen.state[0] + 1 != len(seen.state)):
        raise Wrong(f"consumer state has holes: {seen.state}")
    last = seen.state[-1] if seen.state else 0
    if not promise.state_acked <= last <= promise.state_given:
        raise Wrong(f"consumer state is {last}, acknowledged {promise.state_acked}, given {promise.state_given}")


class Lab:
    def __init__(self, build, seed):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = tempfile.mkdtemp(prefix="power-cut-", dir=base)
        self.driver = os.path.join(build, "tests", "crash", "driver")
        self.recorder = compile_preload("recorder", self.folder)
        self.seed, self.images, self.wrong = seed, 0, []

    def close(self):
        shutil.rmtree(self.folder)

    def run(self, *arguments, record=None, folder=None):
        env = dict(os.environ)
        if record:
            env.update(LD_PRELOAD=self.recorder, RECORDER_FILE=record, RECORDER_DIR=folder)
        done = subprocess.run([self.driver, *map(str, arguments)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=120)
        if done.returncode:
            raise Wrong(f"the driver ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def record_lives(self, rng):
        """Several lives of one data directory, one recording."""
        folder, record = os.path.join(self.folder, "data"), os.path.join(self.folder, "recording")
        os.mkdir(folder)
        for life in range(rng.randrange(2, 5)):
            self.run("run", folder, rng.randrange(1 << 30), rng.randrange(30, 150), rng.choice(["close", "exit"]),
                     record=record, folder=folder)
        shutil.rmtree(folder)
        events = recording.load(record)
        os.unlink(record)
        return events

    def cut(self, events, disk, promise, points, label, depth=0):
        """Cuts a recording at `points` random places; disk and promise: as they were when it began."""
        rng = recording.seeded(self.seed, label)
        chosen = sorted(rng.randrange(len(events)) for _ in range(points))
        for number, event in enumerate(events):
            while chosen and chosen[0] == number:
                chosen.pop(0)
                self.one_image(disk, promise, events[number:], rng, depth, f"{label}.{number}")
            if event.type == "N":
                promise.hear(event.path)
            else:
                disk.play(event)

    def one_image(self, disk, promise, rest, rng, depth, label):
        mode = rng.choice(recording.MODES)
        image = disk.image(mode, rng)
        folder = os.path.join(self.folder, f"image{depth}")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        recording.store(image, folder)
        inodes = {os.stat(os.path.join(folder, path)).st_ino: path for path in image}
        record = os.path.join(self.folder, f"record{depth}") if depth == 0 and rng.random() < 0.1 else None
        self.images += 1
        # A low-water mark may be on the disk before the driver says so.
        retained = dict(promise.retained)
        for event in rest:
            if event.type == "N" and event.path.startswith("retained"):
                _, name, seq = event.path.split()
                if name in retained:
                    retained[name] = max(retained[name], int(seq))
                    break
        try:
            first = self.run("check", folder, record=record, folder=folder)
            check(promise, Seen(first), retained)
            self.second_life(folder, first, promise, retained)
        except (Wrong, subprocess.TimeoutExpired) as error:
            self.wrong.append(f"seed {self.seed} image {label} {mode}: {error}")
            print("  " + self.wrong[-1], flush=True)
        if record and os.path.exists(record):
            # A crash during recovery, or soon after.
            events = recording.load(record)
            os.unlink(record)
            then = copy.deepcopy(promise)
            then.retained = retained
            self.cut(events, recording.Disk(image, inodes), then, 4, label, depth + 1)

    def second_life(self, folder, first, promise, retained):
        """What was there and what was added is there after one more end without closing."""
        before, after = Seen(first), Promise()
        for line in first.splitlines():
            after.hear(line)
        seen = Seen(self.run("check", folder))
        for name in STREAMS:
            wanted = {**before.entries[name], **after.given[name]}
            if seen.entries[name] != wanted:
                raise Wrong(f"{name}: a second start shows {len(seen.entries[name])} entries, not {len(wanted)}")
            if seen.next[name] <= max(promise.highest[name], after.highest[name]):
                raise Wrong(f"{name}: a second start gives number {seen.next[name]} again")
        if seen.state[-1:] != [after.state_given]:
            raise Wrong(f"a second start shows consumer state {seen.state[-1:]}, not {after.state_given}")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--build", default="build")
    options.add_argument("--images", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    images = wrong = 0
    seed = chosen.seed
    while images < chosen.images:
        some, bad = one_seed(chosen.build, seed, min(200, chosen.images - images))
        images += some
        wrong += len(bad)
        seed += 1
    print(f"{images - wrong} passed, {wrong} failed (power cuts, seeds {chosen.seed} to {seed - 1})")
    return 1 if wrong else 0


def one_seed(build, seed, images):
    """(images tried, what was wrong)"""
    lab = Lab(build, seed)
    try:
        events = lab.record_lives(recording.seeded(seed, "lives"))
        lab.cut(events, recording.Disk({}, {}), Promise(), images, "cut")
        return lab.images, lab.wrong
    finally:
        lab.close()


if __name__ == "__main__":
    sys.exit(main())
