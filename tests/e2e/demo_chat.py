# SPDX-License-Identifier: Apache-2.0
"""Helps tests/e2e/demo.sh: shows a streamed chat as it comes (standard input), and the memory of a topology's processes."""
import json
import os
import sys


def show():
    """The pieces of the answer, one after the other. Exit 1 unless it has its finish_reason and [DONE]."""
    finished = None
    print("  ", end="")
    for line in sys.stdin:
        if not line.startswith("data: "):
            continue
        if line.strip() == "data: [DONE]":
            print(f"   [{finished}]")
            return 0 if finished else 1
        choice = json.loads(line[6:])["choices"][0]
        finished = choice["finish_reason"] or finished
        print(choice["delta"].get("content", "").replace("\n", "\n  "), end="", flush=True)
    return 1


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def descendants(pid):
    """The processes that `up` started, and it."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                parents[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def memory(up):
    total = 0
    for pid in descendants(up):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [word.decode() for word in file.read().split(b"\0") if word]
        kib = pss_kib(pid)
        total += kib
        print(f"{kib / 1024:6.1f} MiB  {' '.join([os.path.basename(words[0]), *words[1:]])[:60]}")
    print(f"{total / 1024:6.1f} MiB  in all (proportional set size)")
    return 0


if __name__ == "__main__":
    sys.exit(memory(int(sys.argv[2])) if sys.argv[1:2] == ["memory"] else show())
