/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_OPS_H
#define NODES_TRACKER_OPS_H

/* What the tracker can be asked, one line each: the handler (op_<name> of api_*.c), method and path of the MLflow REST API below /api/2.0/mlflow, the
 * topic of the bus request behind "tracker.", and a summary. The same table makes the HTTP routes (kind.c) and finds the handler (api.c). An empty method: bus only.
 * Fields of requests and answers are MLflow's own (https://mlflow.org/docs/latest/rest-api.html). */
#define TRACKER_OPS(OP)                                                                                                              \
    OP(experiments_create, "POST", "/experiments/create", "experiments.create", "make an experiment")                               \
    OP(experiments_get, "GET", "/experiments/get", "experiments.get", "an experiment")                                              \
    OP(experiments_get_by_name, "GET", "/experiments/get-by-name", "experiments.get-by-name", "an experiment, by its name")         \
    OP(runs_create, "POST", "/runs/create", "runs.create", "begin a run")

#endif
