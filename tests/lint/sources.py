# SPDX-License-Identifier: Apache-2.0
"""Rules about the C sources: arrows between folders, what is not called, headers."""
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import BARE, BUILD, C, CC, FILES, LINES, inside

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
    ("cli/artifact", ["lib", "yaml", "cli", "cli/artifact", "nodes/kit"]),
    ("cli/top", ["lib", "cli", "cli/top"]),
    ("cli/tail", ["lib", "cli", "cli/tail"]),
    ("cli/workflows", ["lib", "yaml", "workflow", "cli", "cli/workflows"]),
    ("cli/up", ["lib", "topology", "cli", "cli/up"]),
    ("cli", ["lib", "broker", "yaml", "topology", "workflow", "nodes", "nodes/inference", "cli*"]),
]
# Libraries that a folder must not know.
STRANGERS = {"lib": "yaml", "broker/log": "zmq|czmq|yaml", "broker": "yaml", "topology": "zmq|czmq",
             "yaml": "zmq|czmq", "workflow": "zmq|czmq|libpq|sqlite3"}

BANNED = ["strcpy", "strcat", "sprintf", "vsprintf", "gets", "strtok", "atoi", "atol", "atof", "rand", "system",
          "alloca"]
NAKED = ["malloc", "calloc", "realloc", "strdup", "strndup", "asprintf", "vasprintf"]
SLEEPS = ["sleep", "usleep", "nanosleep", "zclock_sleep"]


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
