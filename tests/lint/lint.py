#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Form, limits and arrows between folders. Prints each offender as "file:line: text [rule]".

Every function named check_... in the modules of this folder is a rule: it yields (file, line, text). An exception is a line
"rule file[:text in the line] -- reason" in tests/lint/allow; one that excuses nothing is an offender itself.
The last line is "N passed, N failed", counting rules; exit 1 if any failed.
"""
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

import documents  # noqa: E402  (from here on names of files are from the root)
import sizes  # noqa: E402
import sources  # noqa: E402
import texts  # noqa: E402
from tree import C, LINES  # noqa: E402

MODULES = [sources, sizes, texts, documents]


def read_allowed():
    """[rule, file, text or "", line number, used] of each line of tests/lint/allow."""
    allowed = []
    for number, line in enumerate(LINES.get("tests/lint/allow", []), 1):
        found = re.match(r"(\S+) ([^\s:]+)(?::(.*?))? -- \S", line)
        if found:
            allowed.append([found.group(1), found.group(2), found.group(3) or "", number, False])
        elif line and not line.startswith("#"):
            print(f"tests/lint/allow:{number}: not \"rule file[:text] -- reason\" [allow]")
            allowed.append(["", "", "", number, False])
    return allowed


def is_allowed(allowed, rule, name, number, text):
    line = LINES[name][number - 1] if 0 < number <= len(LINES.get(name, [])) else ""
    for entry in allowed:
        if entry[:2] == [rule, name] and (entry[2] in line or entry[2] in text):
            entry[4] = True
            return True
    return False


def count_unformatted():
    """A note, not a rule: how far the C files are from what clang-format would write."""
    if not C:
        return
    done = subprocess.run(["clang-format", "--dry-run", *C], capture_output=True, text=True)
    spots = re.findall(r"^(\S+?):\d+:\d+: warning", done.stderr, re.M)
    if spots:
        print(f"note: clang-format would change {len(spots)} places in {len(set(spots))} of {len(C)} files "
              "(make format)")


def main():
    allowed = read_allowed()
    rules = {name[6:]: rule for module in MODULES for name, rule in vars(module).items() if name.startswith("check_")}
    failed = 0
    for title, rule in rules.items():
        found = [offence for offence in rule() if not is_allowed(allowed, title, *offence)]
        for name, number, text in found:
            print(f"{name}:{number}: {text} [{title}]")
        failed += bool(found)
    unused = [entry for entry in allowed if not entry[4]]
    for entry in unused:
        print(f"tests/lint/allow:{entry[3]}: excuses nothing: remove the line [allow]")
    count_unformatted()
    failed += bool(unused)
    print(f"{len(rules) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
