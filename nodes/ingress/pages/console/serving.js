/* SPDX-License-Identifier: Apache-2.0 */
/* Who serves which version of a model, as the bus tells it in a state. Pure. */

/* workersOf lists the workers that answer for the model: {member, version}; version null where it is not from the registry. */
export function workersOf(snapshot, name)
{
    const found = new Map();
    for (const service of snapshot?.services ?? []) {
        for (const worker of service.workers ?? []) {
            for (const model of worker.about?.models ?? []) {
                if (model.id === name && (service.topic ?? "").startsWith("chat."))
                    found.set(worker.member, { member: worker.member, version: model.version ?? null });
            }
        }
    }
    return [...found.values()].sort((a, b) => a.member.localeCompare(b.member));
}

/* byVersion groups them: Map version -> [member]. */
export function byVersion(workers)
{
    const versions = new Map();
    for (const { member, version } of workers)
        versions.set(version, [...versions.get(version) ?? [], member]);
    return versions;
}

/* arrived tells of each worker whether it serves `version`: by a model.loaded event, or because the state says so. */
export function arrived(workers, loaded, version)
{
    const members = new Set([...workers.map((worker) => worker.member), ...loaded.keys()]);
    return [...members].sort().map((member) => ({
        member, ms: loaded.get(member) ?? null,
        there: loaded.has(member) || workers.some((worker) => worker.member === member && worker.version === version),
    }));
}
