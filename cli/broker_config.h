/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_BROKER_CONFIG_H
#define CLI_BROKER_CONFIG_H
#include "broker/config.h"
#include "topology/topology.h"

/* broker_config_new copies what the broker needs of a checked topology, which must outlive the result (texts are borrowed).
 * The caller frees it with broker_config_destroy, which nulls. */
struct broker_config *broker_config_new(const struct topology *t);
void broker_config_destroy(struct broker_config **config);

#endif
