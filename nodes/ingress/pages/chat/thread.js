/* SPDX-License-Identifier: Apache-2.0 */
/* A chat as data: a tree of messages, of which one path is shown. Editing a question or asking for another answer adds a
 * sibling; nothing said is lost. No DOM, no storage here. */

const TITLE_LENGTH = 60;

/* A UUID; crypto.randomUUID is missing on plain http off loopback. */
export function uuid()
{
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export function newChat(temporary = false)
{
    const now = Date.now();
    return { id: uuid(), title: "", created: now, updated: now, temporary, messages: [], leaf: null };
}

const find = (chat, id) => chat.messages.find((message) => message.id === id);

/* add appends a message below `parent` (an id, or null for a first message) and shows it. */
export function add(chat, parent, fields)
{
    const message = { id: uuid(), parent, at: Date.now(), content: "", ...fields };
    chat.messages.push(message);
    chat.leaf = message.id;
    chat.updated = message.at;
    if (!chat.title && message.role === "user")
        chat.title = titleOf(message.content);
    return message;
}

/* drop takes away a message that has nothing below it, such as an answer that failed before its first word. */
export function drop(chat, message)
{
    chat.messages = chat.messages.filter((other) => other !== message);
    if (chat.leaf === message.id)
        chat.leaf = message.parent;
}

/* path is what is shown: from the first message down to the leaf. */
export function path(chat)
{
    const messages = [];
    for (let message = find(chat, chat.leaf); message; message = find(chat, message.parent))
        messages.unshift(message);
    return messages;
}

export const siblings = (chat, message) => chat.messages.filter((other) => other.parent === message.parent);

/* show makes `message` part of the path, with the newest line of messages below it. */
export function show(chat, message)
{
    let last = message;
    for (;;) {
        const below = chat.messages.filter((other) => other.parent === last.id);
        if (below.length === 0)
            break;
        last = below[below.length - 1];
    }
    chat.leaf = last.id;
}

function titleOf(text)
{
    const line = text.trim().split("\n")[0].replace(/\s+/g, " ");
    if (line.length <= TITLE_LENGTH)
        return line;
    return line.slice(0, TITLE_LENGTH).replace(/\s\S*$/, "") + "…";
}

/* turnMessages is the path up to and including `question` as the interface wants it. Answers that failed or are empty have
 * nothing to say to the model. */
export function turnMessages(chat, question, system)
{
    const said = [];
    for (const message of path(chat)) {
        if (message.content)
            said.push({ role: message.role, content: message.content });
        if (message === question)
            break;
    }
    return system ? [{ role: "system", content: system }, ...said] : said;
}

export function asMarkdown(chat)
{
    const parts = [`# ${chat.title || "Chat"}`, `*${new Date(chat.created).toISOString()}*`];
    for (const message of path(chat)) {
        const who = message.role === "user" ? "You" : message.model || "Model";
        parts.push(`## ${who}`, message.content || `*${message.error?.message ?? "no answer"}*`);
    }
    return parts.join("\n\n") + "\n";
}

export const asJson = (chats) => JSON.stringify({ format: "lineshaft-chats", version: 1, chats }, null, 2) + "\n";
