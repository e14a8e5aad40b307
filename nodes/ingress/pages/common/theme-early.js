/* SPDX-License-Identifier: Apache-2.0 */
/* Sets the chosen theme before the first paint; a classic script, because modules run too late for that. */
"use strict";
try {
    const theme = localStorage.getItem("lineshaft.theme");
    if (theme === "light" || theme === "dark")
        document.documentElement.dataset.theme = theme;
} catch {
    /* storage is refused: the system's scheme it is */
}
