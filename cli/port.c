/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a TCP port is free, and who has it if not: /proc/net/tcp names the socket, /proc/PID/fd its process. */
#include "cli/port.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/render.h"

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

static bool holds(const char *pid, const char *wanted)
{
    char path[300], target[64];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
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

static void describe(const char *pid, struct buf *out)
{
    char path[300], text[300];
    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text) : 0;
    if (fd >= 0)
        close(fd);
    while (len > 0 && text[len - 1] == '\0')
        len--;
    for (ssize_t i = 0; i < len; i++)
        if (text[i] == '\0')
            text[i] = ' ';
    buf_addf(out, "\"");
    render_harmless(out, text, len > 0 ? (size_t) len : 0);
    buf_addf(out, "\", pid %s", pid);
    snprintf(path, sizeof path, "/proc/%s/cwd", pid);
    len = readlink(path, text, sizeof text);
    if (len > 0) {
        buf_addf(out, ", in ");
        render_harmless(out, text, (size_t) len);
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
    DIR *processes = opendir("/proc");
    bool found = false;
    for (struct dirent *entry = processes ? readdir(processes) : NULL; entry && !found; entry = readdir(processes))
        if (isdigit((unsigned char) entry->d_name[0]) && holds(entry->d_name, wanted)) {
            describe(entry->d_name, out);
            found = true;
        }
    if (processes)
        closedir(processes);
    return found;
}
