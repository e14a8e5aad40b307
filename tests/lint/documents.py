#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rules about documents: what is made from tables and schemas is as they say, links lead somewhere, tables agree with the code.

As a program it writes those that are made: tests/lint/documents.py (make documents).
"""
import os
import re
import subprocess
import sys

from tree import BARE, BUILD, C, FILES, LINES

# Document -> the command that prints it.
PRINTED = {"docs/cli.md": [BUILD + "/lineshaft", "help", "--markdown"], "docs/events.md": ["schemas/document.py"]}
# Tests that compare what is made into several files, and write it where UPDATE is set.
WRITERS = [BUILD + "/tests/unit/topology_document_test", BUILD + "/tests/unit/workflow_document_test"]
FENCE = re.compile(r"\s*(```|~~~)")


def check_made():
    """Pages that are made from tables and schemas are up to date: `make documents` writes them."""
    for page, command in PRINTED.items():
        if not os.access(command[0], os.X_OK):
            yield page, 1, f"cannot be compared: {command[0]} is not there; `make all test-programs` builds it"
            continue
        done = subprocess.run(command, capture_output=True, text=True)
        lines = done.stdout.split("\n")
        if done.returncode or lines != LINES.get(page):
            first = next((i for i, (a, b) in enumerate(zip(lines, LINES.get(page, []))) if a != b), 0)
            yield page, first + 1, f"is not what `{' '.join(command)}` prints: make documents"
    for writer in WRITERS:
        source = writer[len(BUILD) + 1:] + ".c"
        if not os.access(writer, os.X_OK):
            yield source, 1, f"{writer} is not there; `make test-programs` builds it"
            continue
        done = subprocess.run(["env", "-u", "UPDATE", writer], capture_output=True, text=True)
        for told in re.findall(r"(\S+) is not what the option tables say", done.stdout + done.stderr):
            yield told, 1, "is not what the option tables say: make documents"


def headings(name):
    """The anchors of a page as GitHub makes them: letters, digits, - and _ of the heading in lower case, blanks as -."""
    anchors, fenced = set(), False
    for line in LINES[name]:
        fenced ^= bool(FENCE.match(line))
        found = None if fenced else re.match(r"#{1,6} +(.*?)\s*#*$", line)
        anchors.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
        if found:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found.group(1)).replace("`", "")
            anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            again = (f"{anchor}-{i}" for i in range(1, 1000))
            anchors.add(next(a for a in [anchor, *again] if a not in anchors))
    return anchors


def check_links():
    """A link between documents names a file that is there, and a heading that is in it."""
    anchors = {name: headings(name) for name in FILES if name.endswith(".md")}
    for name in anchors:
        fenced = False
        for number, line in enumerate(LINES[name], 1):
            fenced ^= bool(FENCE.match(line))
            for target in [] if fenced else re.findall(r"\]\(<?([^)\s>]+)", re.sub(r"`[^`]*`", "", line)):
                path, _, anchor = target.partition("#")
                file = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
                if re.match(r"[a-z+]+:", target):
                    continue
                if not os.path.exists(file):
                    yield name, number, f"the link {target} leads nowhere"
                elif anchor and file in anchors and anchor not in anchors[file]:
                    yield name, number, f"the link {target}: {file} has no such heading"


def owners(page):
    """Patterns of paths without .c and .h: what tables name, `lib/buf` `map` or under a heading "broker/", and paths elsewhere."""
    heading = ""
    for line in LINES[page]:
        found = re.match(r"#+ ([\w/]+)/$", line)
        heading = found.group(1) if found else "" if line.startswith("#") else heading
        folder = heading
        for word in re.findall(r"`([\w./*-]*\w[\w./*-]*)`", line):
            folder = os.path.dirname(word) or folder
            if folder and ("/" in word or line.startswith("|")):
                path = f"{folder}/{os.path.basename(re.sub('[.][ch]$', '', word))}"
                yield re.compile(re.escape(path).replace(r"\*", "[^/]*") + "$")


def check_map():
    """Every C file of the product has its place in ARCHITECTURE.md."""
    page = "ARCHITECTURE.md"
    patterns = list(owners(page))
    for name in C:
        if name.endswith(".c") and not name.startswith(("tests/", "docs/")) and not any(p.match(name[:-2]) for p in patterns):
            yield name, 1, f"{page} does not say what this file owns"


def check_kinds():
    """Every kind in nodes/kinds.h has its page, docs/nodes/NAME.md."""
    table, kinds = "nodes/kinds.h", 0
    for number, line in enumerate(BARE.get(table, []), 1):
        for found in re.finditer(r"\bKIND\((\w+)\)", line):
            kinds += 1
            if f"docs/nodes/{found.group(1)}.md" not in LINES:
                yield table, number, f"docs/nodes/{found.group(1)}.md is missing"
    if not kinds:
        yield table, 1, "the lines of NODE_KINDS were not recognised"


def check_errors():
    """The table of errors in docs/protocol.md is that of lib/error.c, but for those that never cross the wire."""
    code, page = "lib/error.c", "docs/protocol.md"
    rows = {}
    for number, line in enumerate(LINES[code], 1):
        if "never by the broker" in line:
            break
        found = re.match(r'\s*\{"(\w+)", (\d+), (true|false), "(.*)"\},', line)
        if found:
            name, group, again, sentence = found.groups()
            rows[f"| {name} | {group} | {'yes' if again == 'true' else 'no'} | {sentence} |"] = number
    told = {line: number for number, line in enumerate(LINES[page], 1) if re.match(r"\| [A-Z_]+ \| \d+ \|", line)}
    if not rows:
        yield code, 1, "the rows of ERROR_KINDS were not recognised"
    for row in rows.keys() - told.keys():
        yield code, rows[row], f"{page} does not have the row: {row}"
    for row in told.keys() - rows.keys():
        yield page, told[row], f"{code} does not have this row"


def write():
    """Writes every page that is made; the exit status."""
    for page, command in PRINTED.items():
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        with open(page, "w", encoding="utf-8") as file:
            file.write(text)
    return max(subprocess.run([writer], env=dict(os.environ, UPDATE="1"), stdout=subprocess.DEVNULL).returncode for writer in WRITERS)


if __name__ == "__main__":
    sys.exit(write())
