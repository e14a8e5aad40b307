/* SPDX-License-Identifier: Apache-2.0 */
/* A data directory: its lock, its two threads, and the owner's side of talking with them. Everything that passes between
 * the threads does so under one mutex, as whole groups and whole tasks. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/log/internal.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/folder.h"
#include "lib/logger.h"
#include "lib/xmem.h"

#define FILL_STEP_BYTES (1u << 20)
#define FILL_PAUSE_NS 2000000 /* between steps: the commits come first */
#define IDLE_MS 2000

static void notify_owner(struct log_device *dev)
{
    uint64_t one = 1;
    while (write(dev->event_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* ---- commit thread ---- */

static void *commit_main(void *arg)
{
    struct log_device *dev = arg;
    pthread_setname_np(pthread_self(), "log-commit");
    pthread_mutex_lock(&dev->lock);
    for (;;) {
        while (!dev->commit_asked && !dev->stopping)
            pthread_cond_wait(&dev->commit_wake, &dev->lock);
        if (!dev->commit_asked)
            break;
        dev->commit_asked = false;
        pthread_mutex_unlock(&dev->lock);
        for (struct log *log = dev->flying_logs; log; log = log->next_flying)
            log->flight_error = group_write(dev, log);
        states_write(dev->flying_states);
        pthread_mutex_lock(&dev->lock);
        dev->commit_done = true;
        notify_owner(dev);
    }
    pthread_mutex_unlock(&dev->lock);
    return NULL;
}

/* ---- preparer ---- */

static void run_spare(struct task *task)
{
    bool reserved;
    struct spare *spare = task->spare;
    task->error = spare_reserve(task->log->dir, spare, task->recycled, &reserved);
    if (task->error)
        return;
    spare->zeroed = !task->recycled;
    spare->state = !task->recycled || task->refill ? SPARE_RESERVED : SPARE_READY;
    if (reserved || spare->state == SPARE_READY)
        return;
    /* A file system that cannot promise room: write all of it now. */
    task->error = spare_fill(spare, spare->bytes);
    spare->state = SPARE_READY;
    if (task->error) {
        close(spare->fd);
        unlinkat(task->log->dir, spare->name, 0);
    }
}

static void run_drop(struct task *task)
{
    int dir = task->log->dir;
    task->what = "writing the low-water mark";
    if (task->meta.generation)
        task->error = meta_write(task->log, &task->meta);
    for (size_t i = 0; !task->error && i < task->name_count; i++) {
        const char *name = task->names[i], *to = task->recycle_as[i];
        char torn[NAME_ROOM + 8];
        task->what = "removing a segment";
        if ((*to ? renameat(dir, name, dir, to) : unlinkat(dir, name, 0)) && errno != ENOENT)
            task->error = errno;
        snprintf(torn, sizeof torn, "%s.torn", name);
        if (unlinkat(dir, torn, 0) && errno != ENOENT)
            task->error = errno;
    }
    if (!task->error && fsync(dir))
        task->error = errno;
}

static void run_task(struct log_device *dev, struct task *task)
{
    pthread_mutex_unlock(&dev->lock);
    if (task->kind == TASK_SPARE)
        run_spare(task);
    else if (task->kind == TASK_DROP)
        run_drop(task);
    else
        task->error = meta_write(task->log, &task->meta);
    pthread_mutex_lock(&dev->lock);
    if (task->kind == TASK_SPARE && !task->error && task->spare->state == SPARE_RESERVED) {
        task->spare->dir = task->log->dir;
        task->spare->next = dev->filling;
        dev->filling = task->spare;
    }
    task->next = NULL;
    *dev->done_end = task;
    dev->done_end = &task->next;
    pthread_cond_broadcast(&dev->spare_changed);
    notify_owner(dev);
}

/* One step of filling the first spare with zeros; a hurried one is done as it is. */
static void fill_step(struct log_device *dev)
{
    struct spare *spare = dev->filling;
    for (struct spare *other = spare; other; other = other->next)
        if (other->hurry)
            spare = other;
    int error = 0;
    if (!spare->hurry) {
        pthread_mutex_unlock(&dev->lock);
        error = spare_fill(spare, spare->filled + FILL_STEP_BYTES);
        pthread_mutex_lock(&dev->lock);
    }
    if (error || spare->hurry || spare->filled == spare->bytes) {
        struct spare **link = &dev->filling;
        while (*link != spare)
            link = &(*link)->next;
        *link = spare->next;
        if (error)
            unlinkat(spare->dir, spare->name, 0);
        spare->error = error;
        spare->state = error ? SPARE_FAILED : SPARE_READY;
        pthread_cond_broadcast(&dev->spare_changed);
        if (error)
            notify_owner(dev);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += FILL_PAUSE_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    if (!dev->todo && !dev->stopping)
        pthread_cond_clockwait(&dev->prepare_wake, &dev->lock, CLOCK_MONOTONIC, &until);
}

static void *prepare_main(void *arg)
{
    struct log_device *dev = arg;
    pthread_setname_np(pthread_self(), "log-prepare");
    pthread_mutex_lock(&dev->lock);
    for (;;) {
        while (!dev->todo && !dev->filling && !dev->stopping)
            pthread_cond_wait(&dev->prepare_wake, &dev->lock);
        struct task *task = dev->todo;
        if (task) {
            dev->todo = task->next;
            if (!dev->todo)
                dev->todo_end = &dev->todo;
            run_task(dev, task);
        } else if (dev->stopping) {
            break; /* a half filled file is filled at the next start */
        } else {
            fill_step(dev);
        }
    }
    pthread_mutex_unlock(&dev->lock);
    return NULL;
}

/* ---- owner ---- */

void device_task(struct log_device *dev, struct task **task)
{
    pthread_mutex_lock(&dev->lock);
    (*task)->next = NULL;
    *dev->todo_end = *task;
    dev->todo_end = &(*task)->next;
    pthread_cond_signal(&dev->prepare_wake);
    pthread_mutex_unlock(&dev->lock);
    dev->tasks++;
    *task = NULL;
}

static void task_free(struct task *task)
{
    free(task->names);
    free(task->recycle_as);
    free(task);
}

/* Takes the log's finished reservation off the list of done tasks; NULL if there is none. Called with the lock. */
static struct task *done_spare(struct log_device *dev, const struct log *log)
{
    for (struct task **at = &dev->done; *at; at = &(*at)->next) {
        struct task *task = *at;
        if (task->kind != TASK_SPARE || task->log != log || task->for_rescue)
            continue;
        *at = task->next;
        if (dev->done_end == &task->next)
            dev->done_end = at;
        return task;
    }
    return NULL;
}

void device_spare_await(struct log_device *dev, struct log *log, int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long) ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&dev->lock);
    struct task *task;
    while (!(task = done_spare(dev, log)) && pthread_cond_clockwait(&dev->spare_changed, &dev->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    pthread_mutex_unlock(&dev->lock);
    if (!task)
        return;
    dev->tasks--;
    log_task_done(log, task);
    task_free(task);
}

void device_spare_stop(struct log_device *dev, struct spare *spare)
{
    pthread_mutex_lock(&dev->lock);
    spare->hurry = true;
    pthread_cond_signal(&dev->prepare_wake);
    while (spare->state == SPARE_RESERVED)
        pthread_cond_wait(&dev->spare_changed, &dev->lock);
    pthread_mutex_unlock(&dev->lock);
}

static void fly(struct log_device *dev)
{
    if (dev->flying)
        return;
    dev->flying_logs = NULL;
    dev->flying_states = NULL;
    for (struct log *log = dev->logs; log; log = log->next) {
        if (log->flying || log_hand_over(log)) {
            log->next_flying = dev->flying_logs;
            dev->flying_logs = log;
        }
        states_hand_over(log, dev->now, dev->flushing, &dev->flying_states);
    }
    if (!dev->flying_logs && !dev->flying_states)
        return;
    dev->flying = true;
    pthread_mutex_lock(&dev->lock);
    dev->commit_asked = true;
    pthread_cond_signal(&dev->commit_wake);
    pthread_mutex_unlock(&dev->lock);
}

void log_device_submit(struct log_device *dev)
{
    fly(dev);
}

static void take_flight(struct log_device *dev)
{
    struct log *next, *log = dev->flying_logs;
    dev->flying_logs = NULL;
    dev->flying = false;
    states_flight_done(&dev->flying_states);
    for (; log; log = next) {
        next = log->next_flying;
        log_flight_done(log);
    }
}

static bool device_busy(const struct log_device *dev)
{
    if (dev->flying || dev->tasks)
        return true;
    for (const struct log *log = dev->logs; log; log = log->next)
        if (log->pending_bytes || log->flying || log->rescue != RESCUE_NO || states_pending(log, dev->flushing))
            return true;
    return false;
}

static int64_t timers(struct log_device *dev, int64_t now)
{
    int64_t due = INT64_MAX;
    bool busy = device_busy(dev);
    for (struct log *log = dev->logs; log; log = log->next) {
        if (log->retry_at && !log->spare_asked)
            due = MIN(due, log->retry_at);
        if (log->meta_retry_at)
            due = MIN(due, log->meta_retry_at);
        due = MIN(due, states_due(log));
    }
    if (busy)
        dev->idle_since = now;
    if (dev->pool_bytes > POOL_BYTES_IDLE && now - dev->idle_since >= IDLE_MS)
        pool_trim(dev, POOL_BYTES_IDLE);
    else if (dev->pool_bytes > POOL_BYTES_IDLE && !busy)
        due = MIN(due, dev->idle_since + IDLE_MS);
    return due == INT64_MAX ? -1 : MAX(due - now, 0);
}

int64_t log_device_poll(struct log_device *dev, int64_t now_mono_ms)
{
    uint64_t count;
    dev->now = now_mono_ms;
    while (read(dev->event_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&dev->lock);
    struct task *next, *task = dev->done;
    dev->done = NULL;
    dev->done_end = &dev->done;
    bool flown = dev->commit_done;
    dev->commit_done = false;
    for (struct log *log = dev->logs; log; log = log->next)
        log->spare_news = log->spare && log->spare->state == SPARE_FAILED;
    pthread_mutex_unlock(&dev->lock);
    for (struct log *log = dev->logs; log; log = log->next) {
        chunk_evict(log); /* before the callbacks: what they read stays */
        if (log->spare_news)
            log_spare_spoilt(log);
    }
    if (flown)
        take_flight(dev);
    for (; task; task = next) {
        next = task->next;
        dev->tasks--;
        log_task_done(task->log, task);
        task_free(task);
    }
    for (struct log *log = dev->logs; log; log = log->next)
        log_retry(log, now_mono_ms);
    fly(dev);
    return timers(dev, now_mono_ms);
}

void log_device_wait(struct log_device *dev)
{
    dev->flushing = true;
    fly(dev);
    while (device_busy(dev)) {
        struct pollfd ready = {.fd = dev->event_fd, .events = POLLIN};
        poll(&ready, 1, 100);
        log_device_poll(dev, clock_mono_ms());
    }
    dev->flushing = false;
}

int log_device_fd(const struct log_device *dev)
{
    return dev->event_fd;
}

/* ---- opening and closing ---- */

static int refuse(const char *what, const char *path, struct ls_error *err)
{
    return error_set(err, "SYSTEM",
                     "cannot %s %s: %s; choose another (broker.data, in the quick start LINESHAFT_DATA=FOLDER), or give it to this user",
                     what, path, strerror(errno));
}

static int take_lock(struct log_device *dev, struct ls_error *err)
{
    char text[128] = "", boot[64] = "";
    dev->lock_fd = openat(dev->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (dev->lock_fd < 0)
        return refuse("write to the data directory", dev->path, err);
    if (flock(dev->lock_fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK)
            return error_set(err, "SYSTEM", "cannot lock %s/lock: %s", dev->path, strerror(errno));
        ssize_t len = pread(dev->lock_fd, text, sizeof text - 1, 0);
        long pid = len > 0 ? strtol(text, NULL, 10) : 0;
        return error_set(err, "CONFLICT", "the data directory %s is in use by process %ld: stop it or choose another directory",
                         dev->path, pid);
    }
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t len = read(fd, boot, sizeof boot - 1);
        boot[len > 0 ? len : 0] = 0;
        close(fd);
    }
    int len = snprintf(text, sizeof text, "%ld %s", (long) getpid(), boot); /* for people; flock is what counts */
    if (ftruncate(dev->lock_fd, 0) || pwrite(dev->lock_fd, text, (size_t) len, 0) != len)
        return error_set(err, "SYSTEM", "cannot write %s/lock: %s", dev->path, strerror(errno));
    return 0;
}

static int start_threads(struct log_device *dev, struct ls_error *err)
{
    int rc = pthread_create(&dev->commit_thread, NULL, commit_main, dev);
    if (rc)
        return error_set(err, "SYSTEM", "cannot start the commit thread: %s", strerror(rc));
    rc = pthread_create(&dev->prepare_thread, NULL, prepare_main, dev);
    if (!rc)
        return 0;
    pthread_mutex_lock(&dev->lock);
    dev->stopping = true;
    pthread_cond_signal(&dev->commit_wake);
    pthread_mutex_unlock(&dev->lock);
    pthread_join(dev->commit_thread, NULL);
    return error_set(err, "SYSTEM", "cannot start the log's preparer thread: %s", strerror(rc));
}

static void device_free(struct log_device *dev)
{
    while (dev->logs) {
        struct log *log = dev->logs;
        dev->logs = log->next;
        log_free(log);
    }
    pool_trim(dev, 0);
    int fds[] = {dev->event_fd, dev->lock_fd, dev->dir};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_cond_destroy(&dev->commit_wake);
    pthread_cond_destroy(&dev->prepare_wake);
    pthread_cond_destroy(&dev->spare_changed);
    pthread_mutex_destroy(&dev->lock);
    free(dev->path);
    free(dev);
}

struct log_device *log_device_open(const char *dir, struct ls_error *err)
{
    struct log_device *dev = xcalloc(1, sizeof *dev);
    dev->path = xstrdup(dir);
    dev->lock_fd = dev->dir = -1;
    dev->todo_end = &dev->todo;
    dev->done_end = &dev->done;
    dev->now = dev->idle_since = clock_mono_ms();
    pthread_mutex_init(&dev->lock, NULL);
    pthread_cond_init(&dev->commit_wake, NULL);
    pthread_cond_init(&dev->prepare_wake, NULL);
    pthread_cond_init(&dev->spare_changed, NULL);
    dev->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (dev->event_fd < 0) {
        error_set(err, "SYSTEM", "cannot make an event descriptor: %s", strerror(errno));
        goto fail;
    }
    if (folder_make(dir, 0750, NULL) < 0) {
        refuse("create the data directory", dir, err);
        goto fail;
    }
    dev->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dev->dir < 0) {
        refuse("open the data directory", dir, err);
        goto fail;
    }
    if (take_lock(dev, err) || start_threads(dev, err))
        goto fail;
    return dev;
fail:
    device_free(dev);
    return NULL;
}

static void mark_clean(struct log *log)
{
    log->meta.generation++;
    log->meta.clean = 1;
    log->meta.floor = log->next_seq;
    log->meta.durable = log->committed;
    /* A memory log's entries have only been written: an orderly close makes them durable too. */
    if (!log->config.sync && log->lay && fdatasync(log->lay->fd))
        return;
    int error = meta_write(log, &log->meta);
    if (error)
        logger_put(LEVEL_WARN, "log-meta-failed", "the log could not be marked as closed in order", "stream=%s error=\"%s\"",
                   log->name, strerror(error));
}

void log_device_close(struct log_device **devp)
{
    struct log_device *dev = *devp;
    *devp = NULL;
    if (!dev)
        return;
    log_device_wait(dev);
    pthread_mutex_lock(&dev->lock);
    dev->stopping = true;
    pthread_cond_signal(&dev->commit_wake);
    pthread_cond_signal(&dev->prepare_wake);
    pthread_mutex_unlock(&dev->lock);
    pthread_join(dev->commit_thread, NULL);
    pthread_join(dev->prepare_thread, NULL);
    for (struct log *log = dev->logs; log; log = log->next)
        mark_clean(log);
    device_free(dev);
}
