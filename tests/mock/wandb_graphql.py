# SPDX-License-Identifier: Apache-2.0
"""As much of GraphQL as the fake of W&B needs: it reads a document and answers it from dictionaries. A value that is a function
gets the field's arguments. What is not known is null; at the root it is left out."""
import json
import re

TOKEN = re.compile(r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\])*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\.\.|[_A-Za-z]\w*|[{}()\[\]:!=@$|&]')
IGNORED = re.compile(r"[\s,\ufeff]+|#[^\n]*")


class SyntaxProblem(ValueError):
    pass


class Variable(str):
    pass


class Field:
    def __init__(self, alias, name, arguments, directives, selections):
        self.alias, self.name, self.arguments, self.directives, self.selections = alias, name, arguments, directives, selections


class Spread:
    """`...Name` or `... on Type { }`."""

    def __init__(self, name, directives, selections):
        self.name, self.directives, self.selections = name, directives, selections


def tokens(text):
    at, out = 0, []
    while at < len(text):
        if ignored := IGNORED.match(text, at):
            at = ignored.end()
        elif token := TOKEN.match(text, at):
            out.append(token.group())
            at = token.end()
        else:
            raise SyntaxProblem(f"unexpected {text[at:at + 20]!r}")
    return out


class Document:
    """The first operation of a document, and its fragments."""

    def __init__(self, text):
        self.tokens, self.at = tokens(text) + ["(end)"], 0
        self.kind, self.name, self.defaults, self.selections, self.fragments = "query", None, {}, None, {}
        while self.peek() != "(end)":
            self.definition()
        if self.selections is None:
            raise SyntaxProblem("no operation")

    def peek(self):
        return self.tokens[self.at]

    def take(self, wanted=None):
        token = self.peek()
        if token == "(end)" or (wanted and token != wanted):
            raise SyntaxProblem(f"expected {wanted or 'more'}, got {token}")
        self.at += 1
        return token

    def took(self, wanted):
        if self.peek() == wanted:
            self.at += 1
            return True
        return False

    def definition(self):
        word = "query" if self.peek() == "{" else self.take()
        if word == "fragment":
            name = self.take()
            self.take("on")
            self.take()
            self.directives()
            self.fragments[name] = self.selection_set()
            return
        if word not in ("query", "mutation", "subscription"):
            raise SyntaxProblem(f"expected an operation, got {word}")
        name = None if self.peek() in "{(@" else self.take()
        defaults = self.variables()
        self.directives()
        selections = self.selection_set()
        if self.selections is None:
            self.kind, self.name, self.defaults, self.selections = word, name, defaults, selections

    def variables(self):
        defaults = {}
        if not self.took("("):
            return defaults
        while not self.took(")"):
            self.take("$")
            name = self.take()
            self.take(":")
            while self.peek() in ("[", "]", "!") or re.match(r"[_A-Za-z]", self.peek()):
                self.take()
            if self.took("="):
                defaults[name] = self.value()
        return defaults

    def directives(self):
        out = {}
        while self.took("@"):
            name = self.take()
            out[name] = self.arguments()
        return out

    def arguments(self):
        out = {}
        if self.took("("):
            while not self.took(")"):
                name = self.take()
                self.take(":")
                out[name] = self.value()
        return out

    def value(self):
        token = self.take()
        if token == "$":
            return Variable(self.take())
        if token == "[":
            out = []
            while not self.took("]"):
                out.append(self.value())
            return out
        if token == "{":
            out = {}
            while not self.took("}"):
                name = self.take()
                self.take(":")
                out[name] = self.value()
            return out
        if token.startswith('"""'):
            return token[3:-3]
        if token[0] == '"' or token[0] == "-" or token[0].isdigit():
            return json.loads(token)
        return {"true": True, "false": False, "null": None}.get(token, token)

    def selection_set(self):
        self.take("{")
        out = []
        while not self.took("}"):
            out.append(self.selection())
        return out

    def selection(self):
        if self.took("..."):
            if self.took("on"):
                self.take()
            elif self.peek() not in ("{", "@"):
                return Spread(self.take(), self.directives(), None)
            return Spread(None, self.directives(), self.selection_set())
        alias = name = self.take()
        if self.took(":"):
            name = self.take()
        return Field(alias, name, self.arguments(), self.directives(), self.selection_set() if self.peek() == "{" else [])


class Answer:
    def __init__(self, document, variables, root):
        self.document, self.variables = document, {**document.defaults, **(variables or {})}
        self.data = {}
        for field in self.fields(document.selections):
            if field.name in root:
                self.data[field.alias] = self.resolve(root[field.name], field)

    def bind(self, value):
        if isinstance(value, Variable):
            return self.variables.get(str(value))
        if isinstance(value, list):
            return [self.bind(item) for item in value]
        return {name: self.bind(item) for name, item in value.items()} if isinstance(value, dict) else value

    def wanted(self, selection):
        include, skip = (self.bind(selection.directives.get(word, {}).get("if")) for word in ("include", "skip"))
        return include is not False and not skip

    def fields(self, selections):
        for selection in filter(self.wanted, selections):
            if isinstance(selection, Field):
                yield selection
            else:
                inner = selection.selections if selection.name is None else self.document.fragments.get(selection.name, [])
                yield from self.fields(inner)

    def resolve(self, value, field):
        if callable(value):
            value = value(self.bind(field.arguments))
        if isinstance(value, list) and field.selections:
            return [self.resolve(item, field) for item in value]
        if isinstance(value, dict) and field.selections:
            return {inner.alias: self.resolve(value.get(inner.name), inner) for inner in self.fields(field.selections)}
        return value
