#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes the C table of lib/builtin_schemas.h from schemas/*.yaml: schemas/embed.sh > builtin_schemas.c
set -eu
export LC_ALL=C
cd "$(dirname "$0")"
printf '/* Written by schemas/embed.sh; edit the files of schemas/ instead. */\n'
printf '#include <stddef.h>\n#include "lib/builtin_schemas.h"\n\nconst struct builtin_schema BUILTIN_SCHEMAS[] = {\n'
for file in *.yaml; do
    printf '{"%s",\n' "${file%.yaml}"
    sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$/\\n"/' "$file"
    printf ', "schemas/%s"},\n' "$file"
done
printf '{NULL, NULL, NULL},\n};\n'
