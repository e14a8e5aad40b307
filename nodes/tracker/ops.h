/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_TRACKER_OPS_H
#define NODES_TRACKER_OPS_H

/* What the tracker can be asked, one line each: the handler (op_<name> of api_*.c), method and path of the MLflow
 * REST API below /api/2.0/mlflow and /ajax-api/2.0/mlflow, the topic of the bus request behind "tracker.", and a
 * summary. The same table makes the HTTP routes (kind.c) and finds the handler (api.c). An empty method: bus only.
 * A handler may have several routes, and then one topic. Fields of requests and answers are MLflow's own
 * (https://mlflow.org/docs/latest/rest-api.html); `model-versions.promote` is ours.
 *
 * Reads change nothing and run without a transaction; writes run in one. The last lines catch every other path, so
 * that clients get an error that they understand (api.c answers it: there is no such handler). */
#define TRACKER_READS(OP)                                                                                              \
    OP(experiments_get, "GET", "/experiments/get", "experiments.get", "an experiment")                                 \
    OP(experiments_get_by_name, "GET", "/experiments/get-by-name", "experiments.get-by-name",                          \
       "an experiment, by its name")                                                                                   \
    OP(experiments_search, "POST", "/experiments/search", "experiments.search", "experiments that fit a filter")       \
    OP(experiments_search, "GET", "/experiments/search", "experiments.search", "experiments that fit a filter")        \
    OP(runs_get, "GET", "/runs/get", "runs.get", "a run with its data")                                                \
    OP(runs_search, "POST", "/runs/search", "runs.search", "runs that fit a filter")                                   \
    OP(metrics_get_history, "GET", "/metrics/get-history", "metrics.get-history", "all values of a metric of a run")   \
    OP(metrics_get_history_bulk, "GET", "/metrics/get-history-bulk", "metrics.get-history-bulk",                       \
       "values of a metric of several runs")                                                                           \
    OP(metrics_get_history_interval, "GET", "/metrics/get-history-bulk-interval", "metrics.get-history-bulk-interval", \
       "values of a metric of several runs, thinned out")                                                              \
    OP(artifacts_list, "GET", "/artifacts/list", "artifacts.list",                                                     \
       "files of a run, in a folder of this machine or in the store of the `artifacts` node")                          \
    OP(logged_models_get, "GET", "/logged-models/{model_id}", "logged-models.get", "a logged model")                   \
    OP(logged_models_search, "POST", "/logged-models/search", "logged-models.search",                                  \
       "logged models that fit a filter")                                                                              \
    OP(registered_models_get, "GET", "/registered-models/get", "registered-models.get", "a registered model")          \
    OP(registered_models_search, "GET", "/registered-models/search", "registered-models.search",                       \
       "registered models that fit a filter")                                                                          \
    OP(registered_models_latest, "POST", "/registered-models/get-latest-versions",                                     \
       "registered-models.get-latest-versions", "the newest version of each stage")                                    \
    OP(registered_models_latest, "GET", "/registered-models/get-latest-versions",                                      \
       "registered-models.get-latest-versions", "the newest version of each stage")                                    \
    OP(registered_models_get_alias, "GET", "/registered-models/alias", "registered-models.get-alias",                  \
       "the version that an alias has")                                                                                \
    OP(model_versions_get, "GET", "/model-versions/get", "model-versions.get", "a version")                            \
    OP(model_versions_search, "GET", "/model-versions/search", "model-versions.search", "versions that fit a filter")  \
    OP(model_versions_get_download_uri, "GET", "/model-versions/get-download-uri", "model-versions.get-download-uri",  \
       "where a version's files are")

#define TRACKER_WRITES(OP)                                                                                             \
    OP(experiments_create, "POST", "/experiments/create", "experiments.create", "make an experiment")                  \
    OP(experiments_update, "POST", "/experiments/update", "experiments.update", "rename an experiment")                \
    OP(experiments_delete, "POST", "/experiments/delete", "experiments.delete",                                        \
       "mark an experiment and its runs as deleted")                                                                   \
    OP(experiments_restore, "POST", "/experiments/restore", "experiments.restore", "bring a deleted experiment back")  \
    OP(experiments_set_tag, "POST", "/experiments/set-experiment-tag", "experiments.set-experiment-tag",               \
       "tag an experiment")                                                                                            \
    OP(experiments_delete_tag, "POST", "/experiments/delete-experiment-tag", "experiments.delete-experiment-tag",      \
       "remove a tag of an experiment")                                                                                \
    OP(runs_create, "POST", "/runs/create", "runs.create", "begin a run")                                              \
    OP(runs_update, "POST", "/runs/update", "runs.update", "set status, end or name of a run")                         \
    OP(runs_delete, "POST", "/runs/delete", "runs.delete", "mark a run as deleted")                                    \
    OP(runs_restore, "POST", "/runs/restore", "runs.restore", "bring a deleted run back")                              \
    OP(runs_log_metric, "POST", "/runs/log-metric", "runs.log-metric", "log a value of a metric")                      \
    OP(runs_log_param, "POST", "/runs/log-parameter", "runs.log-parameter", "log a parameter")                         \
    OP(runs_log_batch, "POST", "/runs/log-batch", "runs.log-batch", "log metrics, parameters and tags, all or none")   \
    OP(runs_set_tag, "POST", "/runs/set-tag", "runs.set-tag", "tag a run")                                             \
    OP(runs_delete_tag, "POST", "/runs/delete-tag", "runs.delete-tag", "remove a tag of a run")                        \
    OP(runs_log_model, "POST", "/runs/log-model", "runs.log-model", "note a model that a run made (MLflow 2)")         \
    OP(runs_log_inputs, "POST", "/runs/log-inputs", "runs.log-inputs",                                                 \
       "note the data sets and models that a run used")                                                                \
    OP(runs_log_outputs, "POST", "/runs/outputs", "runs.outputs", "note the models that a run made")                   \
    OP(logged_models_create, "POST", "/logged-models", "logged-models.create", "begin a logged model")                 \
    OP(logged_models_finalize, "PATCH", "/logged-models/{model_id}", "logged-models.finalize",                         \
       "say that a logged model is ready")                                                                             \
    OP(logged_models_delete, "DELETE", "/logged-models/{model_id}", "logged-models.delete",                            \
       "mark a logged model as deleted")                                                                               \
    OP(logged_models_log_params, "POST", "/logged-models/{model_id}/params", "logged-models.params",                   \
       "parameters of a logged model")                                                                                 \
    OP(logged_models_set_tags, "PATCH", "/logged-models/{model_id}/tags", "logged-models.set-tags",                    \
       "tag a logged model")                                                                                           \
    OP(logged_models_delete_tag, "DELETE", "/logged-models/{model_id}/tags/{tag_key}", "logged-models.delete-tag",     \
       "remove a tag of a logged model")                                                                               \
    OP(registered_models_create, "POST", "/registered-models/create", "registered-models.create",                      \
       "add a name to the registry")                                                                                   \
    OP(registered_models_rename, "POST", "/registered-models/rename", "registered-models.rename",                      \
       "rename a registered model")                                                                                    \
    OP(registered_models_update, "PATCH", "/registered-models/update", "registered-models.update",                     \
       "describe a registered model")                                                                                  \
    OP(registered_models_delete, "DELETE", "/registered-models/delete", "registered-models.delete",                    \
       "remove a registered model with its versions")                                                                  \
    OP(registered_models_set_tag, "POST", "/registered-models/set-tag", "registered-models.set-tag",                   \
       "tag a registered model")                                                                                       \
    OP(registered_models_delete_tag, "DELETE", "/registered-models/delete-tag", "registered-models.delete-tag",        \
       "remove a tag of a registered model")                                                                           \
    OP(registered_models_set_alias, "POST", "/registered-models/alias", "registered-models.set-alias",                 \
       "point an alias at a version")                                                                                  \
    OP(registered_models_delete_alias, "DELETE", "/registered-models/alias", "registered-models.delete-alias",         \
       "remove an alias")                                                                                              \
    OP(model_versions_create, "POST", "/model-versions/create", "model-versions.create", "register a version")         \
    OP(model_versions_update, "PATCH", "/model-versions/update", "model-versions.update", "describe a version")        \
    OP(model_versions_delete, "DELETE", "/model-versions/delete", "model-versions.delete", "delete a version")         \
    OP(model_versions_transition, "POST", "/model-versions/transition-stage", "model-versions.transition-stage",       \
       "move a version to another stage")                                                                              \
    OP(model_versions_set_tag, "POST", "/model-versions/set-tag", "model-versions.set-tag", "tag a version")           \
    OP(model_versions_delete_tag, "DELETE", "/model-versions/delete-tag", "model-versions.delete-tag",                 \
       "remove a tag of a version")                                                                                    \
    OP(model_versions_promote, "POST", "/model-versions/promote", "model-versions.promote",                            \
       "give a version an alias if its metric is better than that of the version that has it")

#define TRACKER_UNKNOWN(OP)                                                                                            \
    OP(unknown, "GET", "/{rest...}", "unknown", "everything else of MLflow's API: 404 ENDPOINT_NOT_FOUND")             \
    OP(unknown, "POST", "/{rest...}", "unknown", "everything else of MLflow's API: 404 ENDPOINT_NOT_FOUND")            \
    OP(unknown, "PUT", "/{rest...}", "unknown", "everything else of MLflow's API: 404 ENDPOINT_NOT_FOUND")             \
    OP(unknown, "PATCH", "/{rest...}", "unknown", "everything else of MLflow's API: 404 ENDPOINT_NOT_FOUND")           \
    OP(unknown, "DELETE", "/{rest...}", "unknown", "everything else of MLflow's API: 404 ENDPOINT_NOT_FOUND")

#define TRACKER_OPS(OP) TRACKER_READS(OP) TRACKER_WRITES(OP) TRACKER_UNKNOWN(OP)

#endif
