/* SPDX-License-Identifier: Apache-2.0 */
/* The floor under a process per task: posix_spawn of a program that ends at once, and waiting for it, so many at a time.
 *   spawn_bench COUNT SLOTS PROGRAM     prints one JSON object: count, slots, seconds, rate */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fputs("usage: spawn_bench COUNT SLOTS PROGRAM\n", stderr), 2;
    long count = strtol(argv[1], NULL, 10), slots = strtol(argv[2], NULL, 10), running = 0, ended = 0;
    char *words[] = {argv[3], NULL};
    double began = seconds_now();
    for (long begun = 0; ended < count;) {
        pid_t pid;
        int status;
        if (begun < count && running < slots) {
            if (posix_spawn(&pid, argv[3], NULL, NULL, words, environ) != 0)
                return perror(argv[3]), 1;
            begun++, running++;
            continue;
        }
        if (wait(&status) < 0 || status != 0)
            return fprintf(stderr, "%s ended badly\n", argv[3]), 1;
        ended++, running--;
    }
    double took = seconds_now() - began;
    printf("{\"count\": %ld, \"slots\": %ld, \"seconds\": %.4f, \"rate\": %.1f}\n", count, slots, took, (double) count / took);
    return 0;
}
