/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_POSTGRES_H
#define TESTS_UNIT_POSTGRES_H
/* A PostgreSQL server of this test program's own, on a free loopback port, in a folder that goes away with the program. It refuses
 * to run as root, so root becomes `postgres` or `nobody`. It starts at the first use, and ends however the test ends. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"

#define POSTGRES_PATIENCE_MS 60000
#define POSTGRES_PASSWORD "open-sesame"

static struct {
    char folder[64];
    pid_t owner, server;
    int port, log;
} postgres = {.log = -1};

static inline _Noreturn void postgres_exec(int log, char **argv)
{
    const struct passwd *user = getpwnam("postgres") ? getpwnam("postgres") : getpwnam("nobody");
    char path[256];
    if (geteuid() == 0 && (setgroups(0, NULL) || setgid(user->pw_gid) || setuid(user->pw_uid)))
        _exit(98);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* behind setuid, which forgets it */
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    if (chdir(postgres.folder))
        _exit(97);
    unsetenv("PGDATA");
    snprintf(path, sizeof path, "/usr/lib/postgresql/15/bin/%s", argv[0]);
    char *name = argv[0];
    argv[0] = path; /* initdb finds the server beside itself by this */
    execv(path, argv);
    execvp(name, argv);
    _exit(127);
}

static inline pid_t postgres_spawn(char **argv)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        postgres_exec(fds[1], argv);
    close(fds[1]);
    if (postgres.log >= 0)
        close(postgres.log);
    postgres.log = fds[0];
    return pid;
}

/* Reads what it says until the text comes (true) or it ends (false). */
static inline bool postgres_says(const char *text)
{
    char said[65536];
    size_t len = 0;
    int64_t until = clock_mono_ms() + POSTGRES_PATIENCE_MS;
    while (len < sizeof said - 1) {
        struct pollfd wait = {.fd = postgres.log, .events = POLLIN};
        assert_true(clock_mono_ms() < until);
        if (poll(&wait, 1, 1000) < 1)
            continue;
        ssize_t got = read(postgres.log, said + len, sizeof said - 1 - len);
        if (got <= 0)
            break;
        len += (size_t) got;
        said[len] = '\0';
        if (text && strstr(said, text))
            return true;
    }
    if (text && len)
        fprintf(stderr, "%.*s", (int) len, said);
    return false;
}

static inline int postgres_free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *) &at, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *) &at, &size), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static inline void postgres_stop(int signal_number)
{
    if (!postgres.server)
        return;
    kill(postgres.server, signal_number);
    waitpid(postgres.server, NULL, 0);
    postgres.server = 0;
}

static inline void postgres_start(void)
{
    char port[16], program[] = "postgres", data[] = "data", folder[64];
    char *argv[] = {program, (char[]){"-D"}, data, (char[]){"-h"}, (char[]){"127.0.0.1"}, (char[]){"-p"}, port,
                          (char[]){"-k"}, folder, (char[]){"-c"}, (char[]){"log_min_messages=log"}, NULL};
    snprintf(port, sizeof port, "%d", postgres.port);
    snprintf(folder, sizeof folder, "%s", postgres.folder);
    int64_t until = clock_mono_ms() + POSTGRES_PATIENCE_MS;
    do { /* after kill -9 the last of the old processes may still hold the memory that they share */
        postgres_stop(SIGKILL);
        if (clock_mono_ms() >= until)
            fail_msg("PostgreSQL 15 did not start; `deploy/setup test` installs it");
        postgres.server = postgres_spawn(argv);
    } while (!postgres_says("is ready to accept connections"));
}

static inline int postgres_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void) st, (void) type, (void) at;
    return remove(path);
}

static inline void postgres_at_exit(void)
{
    if (getpid() != postgres.owner) /* a child of the test */
        return;
    postgres_stop(SIGQUIT);
    nftw(postgres.folder, postgres_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void postgres_prepare(void)
{
    char program[] = "initdb", password[80];
    char *argv[] = {program, (char[]){"-D"}, (char[]){"data"}, (char[]){"-U"}, (char[]){"tester"}, (char[]){"-A"},
                          (char[]){"scram-sha-256"}, (char[]){"--pwfile=password"}, (char[]){"--encoding=UTF8"},
                          (char[]){"--locale=C"}, (char[]){"--no-sync"}, NULL};
    int status = 0;
    snprintf(postgres.folder, sizeof postgres.folder, "/tmp/lineshaft-pg-XXXXXX");
    assert_non_null(mkdtemp(postgres.folder));
    postgres.owner = getpid();
    atexit(postgres_at_exit);
    snprintf(password, sizeof password, "%s/password", postgres.folder);
    FILE *file = fopen(password, "w");
    assert_non_null(file);
    fprintf(file, POSTGRES_PASSWORD "\n");
    fclose(file);
    const struct passwd *user = getpwnam("postgres") ? getpwnam("postgres") : getpwnam("nobody");
    if (geteuid() == 0)
        assert_int_equal(chown(postgres.folder, user->pw_uid, user->pw_gid), 0);
    pid_t pid = postgres_spawn(argv);
    postgres_says(NULL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status)
        fail_msg("PostgreSQL 15's initdb failed; `deploy/setup test` installs it");
    postgres.port = postgres_free_port();
}

/* postgres_url: of the running server; starts it if it does not run. */
static inline const char *postgres_url(void)
{
    static char url[100];
    if (!postgres.port)
        postgres_prepare();
    if (!postgres.server)
        postgres_start();
    snprintf(url, sizeof url, "postgresql://tester:" POSTGRES_PASSWORD "@127.0.0.1:%d/postgres", postgres.port);
    return url;
}

#endif
