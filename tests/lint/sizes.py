# SPDX-License-Identifier: Apache-2.0
"""How long files and functions may be, in every language of the project."""
import ast
import re

from tree import BARE, C, FILES, LINES, PYTHON, SHELL

FUNCTION_LINES, FILE_LINES = 100, 800
JAVASCRIPT = [name for name in FILES if name.endswith((".js", ".mjs"))]


def functions_c(name):
    """(first line, lines within, head) of each function; so do all functions_..."""
    start = None
    for number, line in enumerate(BARE[name], 1):
        if line.rstrip() == "{":
            start = number
        elif line.startswith("}") and start:
            yield start - 1, number - start - 1, LINES[name][start - 2].strip()
            start = None


def functions_python(name):
    try:
        tree = ast.parse("\n".join(LINES[name]))
    except SyntaxError as error:
        yield error.lineno or 1, FUNCTION_LINES + 1, f"does not parse: {error.msg}"
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno, f"def {node.name}"


def functions_by_indent(name, head):
    """What begins with a line like `head` that ends in "{", up to the next line as far in that begins with "}"."""
    for number, line in enumerate(LINES[name], 1):
        if not (re.match(head, line) and line.rstrip().endswith("{")):
            continue
        margin = line[:len(line) - len(line.lstrip())]
        for end in range(number, len(LINES[name])):
            if LINES[name][end].startswith(margin + "}"):
                yield number, end - number, line.strip()
                break


def functions_javascript(name):
    named = r"\s*(export |default |async )*function\b"
    arrow = r"\s*(export )?(const|let) \w+ = .*=>"
    method = r"\s+(static |async |get |set )*#?(?!if|for|while|switch)\w+\(.*\) \{"
    return functions_by_indent(name, f"{named}|{arrow}|{method}")


def functions_shell(name):
    return functions_by_indent(name, r"\w+\(\)")


def check_sizes():
    for names, functions in ((C, functions_c), (PYTHON, functions_python), (JAVASCRIPT, functions_javascript),
                             (SHELL, functions_shell)):
        for name in names:
            if len(LINES[name]) - 1 > FILE_LINES:
                yield name, FILE_LINES, f"the file has {len(LINES[name]) - 1} lines, at most {FILE_LINES}"
            for number, count, head in functions(name):
                if count > FUNCTION_LINES:
                    yield name, number, f"{count} lines, at most {FUNCTION_LINES}: {head}"
