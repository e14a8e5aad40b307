# SPDX-License-Identifier: Apache-2.0
"""Rules about every text file: licence, white space, modes, what only one machine knows; locks, the pages' assets, shell scripts."""
import os
import re
import subprocess

from tree import FILES, LINES, PAGES, SCRIPTS, SHELL, inside

COLUMNS = 140
# What only one machine knows: its folders, its package servers. The brackets keep the rule from finding itself.
PLACES = [r"(?<![\w.])/wor[k]/", r"\"resolve[d]\":\s*\"http", r"\bnpm[j]s\b", r"\bpyp[i]\.\w", r"\bcrate[s]\.io",
          r"\b(registry|proxy|files|static|index|deb|snapshot|security)\.[a-z-]+\.(org|com|io|net)\b",
          r"--(extra-)?index-ur[l]", r"--registr[y]\b", r"\bGOPROX[Y]="]


def check_spdx():
    for name in FILES:
        code = name.endswith((".c", ".h", ".py", ".js", ".mjs", ".ts", ".go"))
        wanted = code or name in SCRIPTS or name == "Makefile"
        first = LINES[name][1 if name in SCRIPTS else 0] if len(LINES[name]) > 1 else ""
        if wanted and "SPDX-License-Identifier: Apache-2.0" not in first:
            yield name, 1, "the first line (after #!) names the licence: SPDX-License-Identifier: Apache-2.0"


def check_text():
    for name in FILES:
        if name == "LICENSE" or inside(name, "tests/fuzz/corpus"):
            continue
        code = name.endswith((".c", ".h", ".py"))
        for number, line in enumerate(LINES[name], 1):
            if line != line.rstrip():
                yield name, number, "white space at the end of the line"
            if code and "\t" in line:
                yield name, number, "a tab"
            if code and len(line) > COLUMNS:
                yield name, number, f"{len(line)} columns, at most {COLUMNS}"
            if re.search(r"\b(TOD[O]|FIXM[E]|XX[X])\b(?!\(#\d+\))", line):
                yield name, number, "an open task without an issue number, TOD" + "O(#12)"
        if LINES[name] and LINES[name][-1] != "":
            yield name, len(LINES[name]), "no newline at the end"


def check_places():
    for name in FILES:
        for number, line in enumerate(LINES[name], 1):
            for place in PLACES:
                if re.search(place, line):
                    yield name, number, f"names what only one machine knows: {line.strip()[:80]}"


def check_modes():
    for name in SCRIPTS:
        if not os.access(name, os.X_OK):
            yield name, 1, "starts with #! and is not executable"


def check_locks():
    """npm's locks name versions and hashes, not servers: `npm install --omit-lockfile-registry-resolved` writes them so."""
    for name in FILES:
        if os.path.basename(name) == "package-lock.json":
            for number, line in enumerate(LINES[name], 1):
                if '"resolved"' in line:
                    yield name, number, "names a server: npm install --omit-lockfile-registry-resolved leaves it out"


def check_assets():
    """The pages' files are served as /assets/NAME, whatever folder they lie in: a name is there once."""
    first = {}
    for name in FILES:
        if inside(name, PAGES) and name.count("/") > PAGES.count("/"):
            base = os.path.basename(name)
            if base in first:
                yield name, 1, f"{first[base]} has the same name: /assets/{base} is one file"
            first.setdefault(base, name)


def check_shell():
    if not SHELL:
        return
    done = subprocess.run(["shellcheck", "--severity=warning", "--format=gcc", *SHELL], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        name, number, _, text = line.split(":", 3)
        yield name, int(number), text.strip()
