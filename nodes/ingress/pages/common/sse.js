/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events by hand (HTML standard, 9.2.6): EventSource can neither POST nor set headers. */

/* sseParser returns feed(text), which calls onRecord(data, event, id) for each complete record: its data, its kind ("message"
 * unless it says otherwise) and the latest id so far ("" before the first). Takes LF, CR and CRLF, comments, several data
 * lines, and records cut anywhere; other fields are ignored. */
export function sseParser(onRecord)
{
    let rest = "";
    let data = [];
    let event = "";
    let id = "";

    function field(name, value)
    {
        if (name === "data")
            data.push(value);
        else if (name === "event")
            event = value;
        else if (name === "id" && !value.includes("\0"))
            id = value;
    }

    function line(text)
    {
        if (text === "") {
            if (data.length > 0)
                onRecord(data.join("\n"), event || "message", id);
            data = [];
            event = "";
            return;
        }
        const colon = text.indexOf(":");
        if (colon < 0)
            field(text, "");
        else if (colon > 0)
            field(text.slice(0, colon), text.slice(text[colon + 1] === " " ? colon + 2 : colon + 1));
    }

    return function feed(text)
    {
        rest += text;
        /* a CR at the very end may be the first half of CRLF: it waits for what comes next */
        const lines = rest.split(/\r\n|\n|\r(?!$)/);
        rest = lines.pop();
        lines.forEach(line);
    };
}
