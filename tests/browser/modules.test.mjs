/* SPDX-License-Identifier: Apache-2.0 */
/* The page's modules that need no browser. */
import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { test } from "node:test";
import { sseParser } from "../../nodes/ingress/pages/common/sse.js";
import { add, asMarkdown, drop, newChat, path, show, siblings, turnMessages } from "../../nodes/ingress/pages/chat/thread.js";

globalThis.crypto ??= webcrypto; /* browsers have it; node only from 19 on */

test("a stream cut at any two places gives the same records", () => {
    const stream = ': ka\r\n\r\ndata: {"a":1}\r\n\r\nevent: x\ndata:two\ndata: lines\n\ndata\n\nid: 1\rdata: last\r\rdata: never ended';
    const expected = ['{"a":1}', "two\nlines", "", "last"];
    for (let i = 0; i <= stream.length; i++) {
        for (let j = i; j <= stream.length; j++) {
            const got = [];
            const feed = sseParser((data) => got.push(data));
            [stream.slice(0, i), stream.slice(i, j), stream.slice(j)].forEach((part) => feed(part));
            assert.deepEqual(got, expected);
        }
    }
});

test("an edit makes a sibling; show turns to a branch's newest message", () => {
    const chat = newChat();
    const first = add(chat, null, { role: "user", content: "one" });
    const answer = add(chat, first.id, { role: "assistant", content: "1" });
    const edited = add(chat, null, { role: "user", content: "two" });
    assert.deepEqual(siblings(chat, edited), [first, edited]);
    assert.deepEqual(path(chat), [edited]);
    show(chat, first);
    assert.deepEqual(path(chat), [first, answer]);
});

test("a request has the path up to the question, without empty answers", () => {
    const chat = newChat();
    const first = add(chat, null, { role: "user", content: "one" });
    const failed = add(chat, first.id, { role: "assistant", content: "" });
    const second = add(chat, failed.id, { role: "user", content: "two" });
    add(chat, second.id, { role: "assistant", content: "later" });
    assert.deepEqual(turnMessages(chat, second, "be brief").map((message) => message.content), ["be brief", "one", "two"]);
});

test("dropping a failed answer shows its question again", () => {
    const chat = newChat();
    const question = add(chat, null, { role: "user", content: "one" });
    drop(chat, add(chat, question.id, { role: "assistant", content: "" }));
    assert.deepEqual(path(chat), [question]);
});

test("a title is the first line, cut between words", () => {
    const chat = newChat();
    add(chat, null, { role: "user", content: `${"word ".repeat(30)}\nsecond line` });
    assert.match(chat.title, /^(word )+word…$/);
    assert.ok(chat.title.length <= 61);
    assert.match(asMarkdown(chat), /^# word/);
});
