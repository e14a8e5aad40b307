/* SPDX-License-Identifier: Apache-2.0 */
/* The grid of a workflow as data: which rows and columns, how high the bars, where the arrow keys lead. Pure. A run here has its tasks. */

/* rowsOf lists the tasks of all runs: as the newest run has them, then those that only older runs had. */
export function rowsOf(runs)
{
    return [...new Set(runs.flatMap((run) => (run.tasks ?? []).map((task) => task.task)))];
}

/* columnsOf turns runs, newest first, into columns, newest last: {run, height (0 to 1 of the longest), task: Map}. */
export function columnsOf(runs, now)
{
    const lasted = (run) => run.duration_ms ?? (run.start_date ? Math.max(0, now - new Date(run.start_date)) : 0);
    const longest = Math.max(1, ...runs.map(lasted));
    return runs.map((run) => ({ run, lasted: lasted(run), height: lasted(run) / longest,
        tasks: new Map((run.tasks ?? []).map((task) => [task.task, task])) }))
        .reverse();
}

/* moved is the cell to which a key leads from (row, column), or null; row -1 is that of the runs. */
export function moved(key, { row, column }, rows, columns)
{
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (key === "Home" || key === "End")
        return { row, column: key === "Home" ? 0 : columns - 1 };
    if (!(key in steps))
        return null;
    const [down, right] = steps[key];
    return { row: Math.min(rows - 1, Math.max(-1, row + down)), column: Math.min(columns - 1, Math.max(0, column + right)) };
}
