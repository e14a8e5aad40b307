/* SPDX-License-Identifier: Apache-2.0 */
/* Folders with those above them. */
#include "lib/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/error.h"
#include "lib/xmem.h"

static int make_one(const char *path, mode_t mode, struct ls_error *err)
{
    if (mkdir(path, mode) == 0 || errno == EEXIST)
        return 0;
    int code = errno;
    error_set(err, "SYSTEM", "cannot make the folder %.300s: %s", path, strerror(code));
    errno = code;
    return -1;
}

int folder_make_above(const char *path, mode_t mode, struct ls_error *err)
{
    char *part = xstrdup(path);
    int rc = 0;
    for (char *slash = strchr(part + (*part == '/'), '/'); slash && rc == 0; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        rc = make_one(part, mode, err);
        *slash = '/';
    }
    int code = errno;
    free(part);
    errno = code;
    return rc;
}

int folder_make(const char *path, mode_t mode, struct ls_error *err)
{
    return folder_make_above(path, mode | 0755, err) < 0 ? -1 : make_one(path, mode, err);
}
