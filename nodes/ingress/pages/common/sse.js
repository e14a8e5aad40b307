/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events by hand (HTML standard, 9.2.6): EventSource can neither POST nor set headers. */

/* sseParser returns feed(text), which calls onData with the data of each complete record. Takes LF, CR and CRLF, comments,
 * several data lines, and records cut anywhere; fields other than data are ignored. */
export function sseParser(onData)
{
    let rest = "";
    let data = [];

    function line(text)
    {
        if (text === "") {
            if (data.length > 0)
                onData(data.join("\n"));
            data = [];
        } else if (text === "data") {
            data.push("");
        } else if (text.startsWith("data:")) {
            data.push(text.startsWith("data: ") ? text.slice(6) : text.slice(5));
        }
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
