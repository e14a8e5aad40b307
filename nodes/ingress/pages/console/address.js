/* SPDX-License-Identifier: Apache-2.0 */
/* MLflow's clients print addresses of MLflow's own page; here are the places of the console that they mean. Pure. */

/* fromMlflow turns the parts of such an address into those of ours, or is null: it is none. */
export function fromMlflow([first, id, second, other])
{
    if (first === "experiments")
        return second === "runs" && other ? ["runs", other] : id ? ["runs", "of", id] : ["runs"];
    return first === "models" && second === "versions" ? ["models", id] : null;
}
