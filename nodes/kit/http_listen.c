/* SPDX-License-Identifier: Apache-2.0 */
/* Where the HTTP server listens: "HOST:PORT" or "unix:PATH". */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/error.h"
#include "nodes/kit/http_server_private.h"

/* Splits "HOST:PORT" or "[::1]:PORT". */
static bool split_address(const char *address, char host[static 64], const char **port)
{
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address || !colon[1])
        return false;
    const char *from = address;
    size_t len = (size_t) (colon - from);
    if (*from == '[') {
        if (len < 3 || from[len - 1] != ']')
            return false;
        from++;
        len -= 2;
    }
    if (len >= 64)
        return false;
    memcpy(host, from, len);
    host[len] = 0;
    *port = colon + 1;
    return true;
}

static int listen_at(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, 1024) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static int listen_tcp(const char *address, struct ls_error *err)
{
    char host[64];
    const char *port;
    if (!split_address(address, host, &port))
        return error_set(err, "SYSTEM", "\"%s\" is not an address to listen on: it must be HOST:PORT, [::1]:PORT for IPv6, or unix:PATH",
                         address);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *info = NULL;
    int rc = getaddrinfo(host, port, &hints, &info);
    if (rc != 0)
        return error_set(err, "SYSTEM", "\"%s\" is not an address to listen on: %s", address, gai_strerror(rc));
    int fd = listen_at(info);
    int why = errno;
    freeaddrinfo(info);
    if (fd < 0)
        error_set(err, "SYSTEM", "cannot listen on %s: %s%s", address, strerror(why),
                  why == EADDRINUSE ? " (another program listens there: stop it or choose another port)" : "");
    return fd;
}

static void name_address(int fd, char *text, size_t size)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    char host[64] = "", port[8] = "";
    if (getsockname(fd, (struct sockaddr *) (void *) &at, &len) == 0)
        getnameinfo((struct sockaddr *) (void *) &at, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- unix sockets ---- */

/* Whether somebody answers at the path: not when its process died without removing it. */
static bool is_dead(const struct sockaddr_un *at)
{
    struct stat st;
    if (lstat(at->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool dead = fd >= 0 && connect(fd, (const struct sockaddr *) (const void *) at, sizeof *at) < 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return dead;
}

static int listen_unix(const char *path, struct ls_error *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof at.sun_path)
        return error_set(err, "SYSTEM", "cannot listen on unix:%s: the path of a socket has 1 to %zu bytes", path,
                         sizeof at.sun_path - 1);
    strncpy(at.sun_path, path, sizeof at.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, "SYSTEM", "cannot make a socket: %s", strerror(errno));
    const struct sockaddr *addr = (const struct sockaddr *) (const void *) &at;
    fchmod(fd, 0600); /* before bind, so that nobody else can connect in between */
    int rc = bind(fd, addr, sizeof at);
    if (rc < 0 && errno == EADDRINUSE && is_dead(&at) && unlink(path) == 0)
        rc = bind(fd, addr, sizeof at);
    if (rc == 0 && listen(fd, 1024) == 0)
        return fd;
    int why = errno;
    close(fd);
    return error_set(err, "SYSTEM", "cannot listen on unix:%s: %s%s", path, strerror(why),
                     why == EADDRINUSE ? " (another program listens there, or it is not a socket)" : "");
}

int http_listen(const char *address, char *real, size_t size, struct ls_error *err)
{
    bool local = strncmp(address, "unix:", 5) == 0;
    int fd = local ? listen_unix(address + 5, err) : listen_tcp(address, err);
    if (fd >= 0 && local)
        snprintf(real, size, "%s", address);
    else if (fd >= 0)
        name_address(fd, real, size);
    return fd;
}
