/* SPDX-License-Identifier: Apache-2.0 */
/* Topics and patterns, as docs/protocol.md says: words with dots between; `*` is one word, `>` one or more at the end, and a
 * topic that begins with `$` is only reached by a pattern that does. */

/* matches tells whether a topic is one of a pattern's. */
export function matches(pattern, topic)
{
    if (topic.startsWith("$") && !pattern.startsWith("$"))
        return false;
    const wanted = pattern.split(".");
    const words = topic.split(".");
    for (let i = 0; i < wanted.length; i++) {
        if (i >= words.length)
            return false;
        if (wanted[i] === ">")
            return true;
        if (wanted[i] !== "*" && wanted[i] !== words[i])
            return false;
    }
    return wanted.length === words.length;
}

export const matchesAny = (patterns, topic) => patterns.some((pattern) => matches(pattern, topic));

/* meet tells whether two patterns have a topic in common. */
export function meet(one, other)
{
    if (one.startsWith("$") !== other.startsWith("$"))
        return false;
    const a = one.split(".");
    const b = other.split(".");
    for (let i = 0; i < a.length && i < b.length; i++) {
        if (a[i] === ">" || b[i] === ">")
            return true;
        if (a[i] !== "*" && b[i] !== "*" && a[i] !== b[i])
            return false;
    }
    return a.length === b.length;
}

/* valid tells whether a text is a pattern the server would take. */
export const valid = (text) => text.length <= 200 && /^(\$?[a-z0-9_-]+|\*|>$)(\.([a-z0-9_-]+|\*|>$))*$/.test(text);
