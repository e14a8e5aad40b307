/* SPDX-License-Identifier: Apache-2.0 */
/* The theme: "system", "light" or "dark", kept in localStorage; theme-early.js applies it at the start. */
import { readText, writeText } from "/assets/settings.js";

const KEY = "lineshaft.theme";

function theme()
{
    const value = readText(KEY);
    return value === "light" || value === "dark" ? value : "system";
}

function setTheme(value)
{
    writeText(KEY, value === "system" ? null : value);
    if (value === "system")
        delete document.documentElement.dataset.theme;
    else
        document.documentElement.dataset.theme = value;
}

/* setUpTheme has the radio buttons in `element` show and set the theme. */
export function setUpTheme(element)
{
    for (const input of element.querySelectorAll("input")) {
        input.checked = input.value === theme();
        input.addEventListener("change", () => setTheme(input.value));
    }
}
