#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Form, limits and arrows between folders. Prints each offender as "file:line: text [rule]".

Every function below named check_... is a rule: it yields (file, line, text). An exception is a line
"rule file[:text in the line] -- reason" in tests/lint/allow; one that excuses nothing is an offender itself.
The last line is "N passed, N failed", counting rules; exit 1 if any failed.
"""
import glob
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

CC = os.environ.get("CC", "gcc")
BUILD = os.environ.get("B", "build")

# Who may include whom: the first folder that fits a file decides. {0} is the file's own folder.
ARROWS = [
    ("lib", ["lib"]),
    ("broker/log", ["lib", "broker/log"]),
    ("broker", ["lib", "broker", "broker/log"]),
    ("yaml", ["lib", "yaml"]),
    ("topology", ["lib", "yaml", "topology"]),
    ("workflow", ["lib", "yaml", "workflow"]),
    ("nodes/kit", ["lib", "nodes/kit"]),
    ("nodes/scheduler", ["lib", "yaml", "workflow", "nodes/kit", "nodes/scheduler"]),
    ("nodes/", ["lib", "nodes/kit", "{0}"]),
    ("nodes", ["lib", "nodes*"]),
    ("cli", ["lib", "broker", "yaml", "topology", "workflow", "nodes", "nodes/inference", "nodes/kit", "cli"]),
]
# Libraries that a folder must not know.
STRANGERS = {"lib": "yaml", "broker/log": "zmq|czmq|yaml", "broker": "yaml", "topology": "zmq|czmq",
             "yaml": "zmq|czmq", "workflow": "zmq|czmq|libpq|sqlite3"}

FUNCTION_LINES, FILE_LINES, COLUMNS = 100, 800, 140
BANNED = ["strcpy", "strcat", "sprintf", "vsprintf", "gets", "strtok", "atoi", "atol", "atof", "rand", "system",
          "alloca"]
NAKED = ["malloc", "calloc", "realloc", "strdup", "strndup", "asprintf", "vasprintf"]
SLEEPS = ["sleep", "usleep", "nanosleep", "zclock_sleep"]
# What only one machine knows: its folders, its package servers. The brackets keep the rule from finding itself.
PLACES = [r"(?<![\w.])/wor[k]/", r"\"resolve[d]\":\s*\"http", r"\bnpm[j]s\b", r"\bpyp[i]\.\w", r"\bcrate[s]\.io",
          r"\b(registry|proxy|files|static|index|deb|snapshot|security)\.[a-z-]+\.(org|com|io|net)\b",
          r"--(extra-)?index-ur[l]", r"--registr[y]\b", r"\bGOPROX[Y]="]


def tracked():
    """Every file of the project: known to git, or new and not ignored; without git, all but the builds."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:
        names = [path[2:] for path in glob.glob("./**", recursive=True) if not path.startswith("./build")]
    return sorted(name for name in names if os.path.isfile(name))


def lines_of(name):
    try:
        with open(name, encoding="utf-8") as file:
            return file.read().split("\n")
    except (UnicodeDecodeError, FileNotFoundError):
        return []


def bare(text):
    """C source with comments, strings and characters blanked out, line numbers kept."""
    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)


FILES = tracked()
LINES = {name: lines_of(name) for name in FILES}
C = [name for name in FILES if name.endswith((".c", ".h"))]
BARE = {name: bare("\n".join(LINES[name])).split("\n") for name in C}
SCRIPTS = [name for name in FILES if LINES[name][0:1] and LINES[name][0].startswith("#!")]


def inside(name, folder):
    return name.startswith(folder if folder.endswith("/") else folder + "/")


def includes(name):
    """(line number, opening character, path) of each #include."""
    for number, line in enumerate(LINES[name], 1):
        found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)', line)
        if found:
            yield number, found.group(1), found.group(2)


def check_arrows():
    for name in C:
        home = next(((folder, to) for folder, to in ARROWS if inside(name, folder)), None)
        own = os.path.dirname(name)
        for number, kind, path in includes(name):
            if kind == '"' and not os.path.exists(path) and not os.path.exists(os.path.join(BUILD, path)):
                yield name, number, f'"{path}" is not a path from the root'
            elif kind == '"' and home:
                target = os.path.dirname(path)
                allowed = [to.format(own) for to in home[1]]
                if target not in allowed and not any(a.endswith("*") and target.startswith(a[:-1]) for a in allowed):
                    yield name, number, f"{home[0]} must not include {target}"
            elif kind == "<" and home and re.match(rf"({STRANGERS.get(home[0], '$')})", path):
                yield name, number, f"{home[0]} must not know {path}"


def check_own_header_first():
    for name in C:
        own = name[:-2] + ".h"
        if name.endswith(".c") and own in LINES:
            first = next(includes(name), (1, "", ""))
            if first[2] != own:
                yield name, first[0], f'the first include is to be "{own}"'


def check_sizes():
    for name in C:
        if len(LINES[name]) - 1 > FILE_LINES:
            yield name, FILE_LINES, f"the file has {len(LINES[name]) - 1} lines, at most {FILE_LINES}"
        start = None
        for number, line in enumerate(BARE[name], 1):
            if line.rstrip() == "{":
                start = number
            elif line.startswith("}") and start:
                if number - start - 1 > FUNCTION_LINES:
                    head = LINES[name][start - 2].strip()
                    yield name, start, f"{number - start - 1} lines, at most {FUNCTION_LINES}: {head}"
                start = None
    for name in FILES:
        if name.endswith((".py", ".sh")) and len(LINES[name]) - 1 > FILE_LINES:
            yield name, FILE_LINES, f"the file has {len(LINES[name]) - 1} lines, at most {FILE_LINES}"


def check_banned():
    for name in C:
        words = BANNED + ([] if name == "lib/xmem.c" else NAKED) + (SLEEPS if inside(name, "tests") else [])
        call = re.compile(rf"(?<![\w.>])({'|'.join(words)})\s*\(")
        for number, line in enumerate(BARE[name], 1):
            for found in call.finditer(line):
                yield name, number, f"{found.group(1)}() is not used here"
    for name in FILES:
        if re.match(r"tests/.*_test\.py$", name):
            for number, line in enumerate(LINES[name], 1):
                if re.search(r"\btime\.sleep\(", line):
                    yield name, number, "a test waits for what it expects, it does not sleep"


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


def check_used():
    """A function that a header declares is used by a file other than the one that defines it."""
    words = {name: set(re.findall(r"\w+", "\n".join(BARE[name]))) for name in C if name.endswith(".c")}
    for name in C:
        if not name.endswith(".h") or inside(name, "tests") or name == "lib/lineshaft.h":
            continue
        for number, line in enumerate(BARE[name], 1):
            found = re.match(r"\w[\w\s*]*?\b(\w+)\(", line)
            declares = found and not re.match(r"(static|typedef)\b", line)
            if declares and sum(found.group(1) in known for known in words.values()) < 2:
                yield name, number, f"{found.group(1)}() is used by no other file"


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


def check_locks():
    """npm's locks name versions and hashes, not servers: `npm install --omit-lockfile-registry-resolved` writes them so."""
    for name in FILES:
        if os.path.basename(name) == "package-lock.json":
            for number, line in enumerate(LINES[name], 1):
                if '"resolved"' in line:
                    yield name, number, "names a server: npm install --omit-lockfile-registry-resolved leaves it out"


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


def check_headers_alone():
    def compile_one(name):
        command = [CC, "-std=gnu11", "-D_GNU_SOURCE", "-I.", f"-I{BUILD}", "-Wall", "-Wextra", "-Wstrict-prototypes",
                   "-Wundef", "-Werror", "-fsyntax-only", "-xc", "-"]
        done = subprocess.run(command, input=f'#include "{name}"\n', capture_output=True, text=True)
        return name, done.returncode, done.stderr

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, code, text in pool.map(compile_one, [name for name in C if name.endswith(".h")]):
            if code:
                yield name, 1, "does not compile alone: " + text.strip().split("\n")[-1 if "\n" not in text else 0]


def check_shell():
    shell = [name for name in SCRIPTS if re.search(r"/(env )?(ba)?sh\b", LINES[name][0])]
    if not shell:
        return
    done = subprocess.run(["shellcheck", "--severity=warning", "--format=gcc", *shell], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        name, number, _, text = line.split(":", 3)
        yield name, int(number), text.strip()


def check_more():
    """Other scripts of this folder: each line they print is an offender, "file:line: text"."""
    for script in sorted(glob.glob("tests/lint/*.sh")):
        done = subprocess.run([script], capture_output=True, text=True, env=dict(os.environ, B=BUILD))
        for line in done.stdout.splitlines():
            parts = line.split(":", 2)
            good = len(parts) == 3 and parts[1].isdigit()
            yield (parts[0], int(parts[1]), parts[2].strip()) if good else (script, 1, line)
        if done.returncode and not done.stdout:
            yield script, 1, f"ended with {done.returncode}: {done.stderr.strip()[-200:]}"


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
    rules = {name[6:]: rule for name, rule in globals().items() if name.startswith("check_")}
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
    os.chdir(subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True).stdout.strip()
             or ".")
    sys.exit(main())
