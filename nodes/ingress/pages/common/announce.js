/* SPDX-License-Identifier: Apache-2.0 */
/* What a screen reader hears of an answer: whole sentences, added to a log that is not drawn. The drawn text changes with
 * every token, which nobody wants to listen to. */
import { byId } from "/assets/dom.js";

const KEPT = 40;
const END = /[.!?…:]["'”’)\]]*(?=\s)|\n+/g;

/* spoken leaves out the signs of markdown. */
function spoken(text)
{
    return text.replace(/```.*$/gm, "").replace(/[*_`#>|]+/g, "").replace(/\s+/g, " ").trim();
}

function say(text)
{
    const sentence = spoken(text);
    if (!sentence)
        return;
    const line = document.createElement("p");
    line.textContent = sentence;
    byId("log").append(line);
    while (byId("log").childElementCount > KEPT)
        byId("log").firstElementChild.remove();
}

/* announcer returns {grow(text), end(text, last)}: each sentence of the growing text is said once, when it is complete. */
export function announcer()
{
    let said = 0;
    return {
        grow(text)
        {
            let end = said;
            END.lastIndex = said;
            for (let match = END.exec(text); match; match = END.exec(text))
                end = match.index + match[0].length;
            if (end > said)
                say(text.slice(said, end));
            said = end;
        },
        end(text, last)
        {
            say(text.slice(said));
            said = text.length;
            say(last);
        },
    };
}
