/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a TCP port is free, and who has it if not: /proc/net/tcp names the socket, /proc/PID/fd its process. */
#include "cli/up/port.h"

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/render.h"
#include "lib/proc.h"

#define TCP_LISTEN_STATE 0x0a

bool port_is_free(const char *host, int port)
{
    char service[8];
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    snprintf(service, sizeof service, "%d", port);
    bool any = strcmp(host, "*") == 0;
    if (getaddrinfo(any ? NULL : host, service, &hints, &found) != 0)
        return true;
    int fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* as the broker does */
    bool taken = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) != 0 && errno == EADDRINUSE;
    taken = taken || (fd >= 0 && listen(fd, 1) != 0 && errno == EADDRINUSE);
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return !taken;
}

/* The inode of a listening socket in /proc/net/tcp or tcp6; 0: none. */
static unsigned long listening_inode(const char *table, int port)
{
    FILE *file = fopen(table, "re");
    char line[512];
    unsigned long inode = 0;
    while (file && !inode && fgets(line, sizeof line, file)) {
        unsigned local_port, state;
        unsigned long found;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*d %*d %lu", &local_port, &state, &found) == 3 &&
            local_port == (unsigned) port && state == TCP_LISTEN_STATE)
            inode = found;
    }
    if (file)
        fclose(file);
    return inode;
}

static bool holds(pid_t pid, const char *wanted)
{
    char path[64], target[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int) pid);
    DIR *fds = opendir(path);
    bool found = false;
    for (struct dirent *entry = fds ? readdir(fds) : NULL; entry && !found; entry = readdir(fds)) {
        ssize_t len = readlinkat(dirfd(fds), entry->d_name, target, sizeof target - 1);
        if (len > 0) {
            target[len] = '\0';
            found = strcmp(target, wanted) == 0;
        }
    }
    if (fds)
        closedir(fds);
    return found;
}

static void describe(pid_t pid, struct buf *out)
{
    char path[64], folder[300];
    struct buf command = {0};
    proc_read(pid, "cmdline", 300, &command);
    while (command.len && !command.data[command.len - 1])
        command.len--;
    for (size_t i = 0; i < command.len; i++)
        if (!command.data[i])
            command.data[i] = ' ';
    buf_addf(out, "\"");
    render_harmless(out, buf_text(&command), command.len);
    buf_addf(out, "\", pid %d", (int) pid);
    buf_fini(&command);
    snprintf(path, sizeof path, "/proc/%d/cwd", (int) pid);
    ssize_t len = readlink(path, folder, sizeof folder);
    if (len > 0) {
        buf_addf(out, ", in ");
        render_harmless(out, folder, (size_t) len);
    }
}

bool port_holder(int port, struct buf *out)
{
    unsigned long inode = listening_inode("/proc/net/tcp", port);
    if (!inode)
        inode = listening_inode("/proc/net/tcp6", port);
    if (!inode)
        return false;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    pid_t *pids = proc_pids();
    const pid_t *pid = pids;
    while (*pid && !holds(*pid, wanted))
        pid++;
    bool found = *pid != 0;
    if (found)
        describe(*pid, out);
    free(pids);
    return found;
}
