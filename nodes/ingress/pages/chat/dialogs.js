/* SPDX-License-Identifier: Apache-2.0 */
/* The two dialogs: the settings, and one that asks a question (a name, a key, or just yes or no). */
import { byId, icon } from "/assets/dom.js";
import { saveServerKey, saveSettings, serverKey, settings } from "/assets/settings.js";

const NUMBERS = { "set-temperature": "temperature", "set-tokens": "maxTokens", "set-seed": "seed" };

export function setUpDialogs(actions)
{
    for (const dialog of [byId("settings"), byId("ask")]) {
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
    byId("settings").querySelector("form").addEventListener("submit", onSave);
    byId("export-all").addEventListener("click", actions.exportAll);
    byId("delete-all").addEventListener("click", actions.deleteAll);
}

export function openSettings()
{
    const values = settings();
    byId("set-system").value = values.system;
    for (const [id, name] of Object.entries(NUMBERS))
        byId(id).value = values[name] ?? "";
    byId("set-key").value = serverKey() ?? "";
    byId("settings-problem").hidden = true;
    byId("settings").showModal();
}

function onSave(event)
{
    const changes = { system: byId("set-system").value.trim() };
    for (const [id, name] of Object.entries(NUMBERS)) {
        const input = byId(id);
        if (!input.validity.valid) {
            event.preventDefault();
            byId("settings-problem").textContent = `${input.labels[0].textContent}: ${input.validationMessage}`;
            byId("settings-problem").hidden = false;
            input.focus();
            return;
        }
        changes[name] = input.value === "" ? null : input.valueAsNumber;
    }
    saveSettings(changes);
    if (byId("set-key").value !== (serverKey() ?? ""))
        saveServerKey(byId("set-key").value.trim());
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
