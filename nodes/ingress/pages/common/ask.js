/* SPDX-License-Identifier: Apache-2.0 */
/* Dialogs: what all have in common, and the one that asks a question (a name, a key, or just yes or no). */
import { byId, icon } from "/assets/dom.js";

/* setUpDialog lets buttons with data-close, a click beside the dialog, and Esc close it with the value "". */
export function setUpDialog(dialog)
{
    for (const button of dialog.querySelectorAll("[data-close]")) {
        if (button.childNodes.length === 0)
            button.append(icon("close"));
        button.addEventListener("click", () => dialog.close(""));
    }
    dialog.addEventListener("click", (event) => {
        if (event.target === dialog)
            dialog.close("");
    });
    dialog.addEventListener("cancel", () => { dialog.returnValue = ""; });
}

/* ask shows a question. With `label` there is a field and the answer is its text, else true; null means no. */
export function ask({ title, label = null, value = "", yes, type = "text", danger = false })
{
    const dialog = byId("ask");
    const input = byId("ask-value");
    byId("ask-title").textContent = title;
    byId("ask-label").textContent = label ?? "";
    input.parentElement.hidden = label === null;
    input.required = label !== null;
    input.disabled = label === null;
    input.type = type;
    input.value = value;
    byId("ask-yes").textContent = yes;
    byId("ask-yes").className = `button ${danger ? "danger" : "primary"}`;
    dialog.returnValue = "";
    dialog.showModal();
    if (label !== null)
        input.select();
    return new Promise((resolve) => {
        dialog.addEventListener("close", () => {
            const said = dialog.returnValue === "yes";
            resolve(!said ? null : label === null ? true : input.value.trim() || null);
            input.value = "";
        }, { once: true });
    });
}
