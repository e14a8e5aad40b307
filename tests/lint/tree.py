# SPDX-License-Identifier: Apache-2.0
"""The files that the rules read, once for all of them."""
import glob
import os
import re
import subprocess

CC = os.environ.get("CC", "gcc")
BUILD = os.environ.get("B", "build")


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


def inside(name, folder):
    return name.startswith(folder if folder.endswith("/") else folder + "/")


FILES = tracked()
LINES = {name: lines_of(name) for name in FILES}
C = [name for name in FILES if name.endswith((".c", ".h"))]
BARE = {name: bare("\n".join(LINES[name])).split("\n") for name in C}
SCRIPTS = [name for name in FILES if LINES[name][0:1] and LINES[name][0].startswith("#!")]
SHELL = [name for name in SCRIPTS if re.search(r"/(env )?(ba)?sh\b", LINES[name][0])]
PYTHON = [name for name in FILES if name.endswith(".py") or (name in SCRIPTS and "python" in LINES[name][0])]
PAGES = "nodes/ingress/pages/"  # its folders' files are served under their bare names
