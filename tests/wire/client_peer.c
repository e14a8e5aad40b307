/* SPDX-License-Identifier: Apache-2.0 */
/* The public client library (lineshaft.h alone) against a real broker, for client_test.py: `client_peer SCENE [COUNT]` with
 * LINESHAFT_URL set. Exit status 0 if the scene went as it should; otherwise one line tells which line did not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lineshaft.h"

#define PATIENCE_MS 30000
#define COUNT_MAX 200000

static struct ls_error err;

#define CHECK(condition)                                                                                  \
    do {                                                                                                  \
        if (!(condition)) {                                                                               \
            fprintf(stderr, "line %d: not so: %s (%s: %s)\n", __LINE__, #condition, err.name, err.text);  \
            exit(1);                                                                                      \
        }                                                                                                 \
    } while (0)

static void on_notice(void *arg, const struct ls_notice *notice)
{
    (void) arg;
    fprintf(stderr, "notice %d: %s\n", (int) notice->state, notice->text);
}

static struct ls_client *open_client(const char *name)
{
    const struct ls_client_options options = {.name = name, .hb_ms = 1000, .notice = on_notice};
    struct ls_client *client = ls_client_open(&options, &err);
    CHECK(client);
    CHECK(!ls_client_wait(client, PATIENCE_MS, &err));
    return client;
}

static void publish_many(struct ls_client *client, const char *topic, int count)
{
    for (int i = 0; i < count; i++) {
        const struct ls_event event = {.topic = ls_str(topic), .body = ls_str("{\"a\": 1}")};
        CHECK(!ls_publish(client, &event, NULL, NULL, &err));
    }
    CHECK(!ls_flush(client, PATIENCE_MS, &err));
}

struct seen {
    int count, retries;
    uint64_t first, last;
    char topic[60];
};

static enum ls_verdict see(void *arg, const struct ls_event *event, struct ls_error *why)
{
    struct seen *seen = arg;
    (void) why;
    if (!seen->count++)
        seen->first = event->seq;
    seen->last = event->seq;
    snprintf(seen->topic, sizeof seen->topic, "%.*s", (int) event->topic.len, event->topic.data);
    return LS_DONE;
}

static void step_until(struct ls_client *client, const int *flag, int value)
{
    while (*flag < value)
        CHECK(ls_client_step(client, PATIENCE_MS, &err) >= 0);
}

/* ---- scenes ---- */

static void scene_publish_wait(struct ls_client *client)
{
    struct ls_event event = {.topic = ls_str("job.done"), .id = ls_str("one"), .body = ls_str("{}")};
    struct ls_published result;
    CHECK(!ls_publish_wait(client, &event, PATIENCE_MS, &result, &err));
    CHECK(ls_slice_is(result.level, "disk") && ls_slice_is(result.stream, "events") && !result.dup);
    uint64_t seq = result.seq;
    CHECK(!ls_publish_wait(client, &event, PATIENCE_MS, &result, &err));
    CHECK(result.dup && result.seq == seq);
    event.topic = ls_str("live.word");
    CHECK(!ls_publish_wait(client, &event, PATIENCE_MS, &result, &err));
    CHECK(ls_slice_is(result.level, "none") && !result.stream.len);
    event.topic = ls_str("$sys.mine");
    CHECK(ls_publish_wait(client, &event, PATIENCE_MS, &result, &err) && !strcmp(err.name, "DENIED"));
}

static void on_outcome(void *arg, const struct ls_published *result)
{
    char *text = arg;
    if (result->err)
        snprintf(text, 40, "%s", result->err->name);
    else
        snprintf(text, 40, "%.*s%s", (int) result->level.len, result->level.data, result->dup ? " dup" : "");
}

static void scene_outcomes(struct ls_client *client)
{
    char outcomes[4][40] = {"", "", "", ""};
    static const char *const topics[] = {"job.a", "$sys.x", "job.a", "mem.a"};
    for (int i = 0; i < 4; i++) {
        const struct ls_event event = {.topic = ls_str(topics[i]), .body = ls_str("{}")};
        CHECK(!ls_publish(client, &event, on_outcome, outcomes[i], &err));
    }
    CHECK(!ls_flush(client, PATIENCE_MS, &err));
    CHECK(!strcmp(outcomes[0], "disk") || !strcmp(outcomes[0], "memory")); /* the lowest level of one OK */
    CHECK(!strcmp(outcomes[1], "DENIED") && !strcmp(outcomes[3], "memory"));
}

static void watch_live(struct ls_client *client, bool single)
{
    static const char *const prefixes[] = {"job.", "live.", NULL};
    const struct ls_live_options options = {.prefixes = prefixes, .single = single};
    struct ls_live *live = ls_live_open_wait(&options, PATIENCE_MS, &err);
    struct ls_event event;
    CHECK(live);
    publish_many(client, "job.a", 100);
    publish_many(client, "live.b", 1);
    for (uint64_t i = 1; i <= 100; i++) {
        CHECK(ls_live_next_wait(live, PATIENCE_MS, &event, &err) == 1);
        CHECK(event.seq == i && ls_slice_is(event.topic, "job.a") && ls_slice_is(event.stream, "events"));
        CHECK(ls_slice_is(event.source, "peer") && ls_slice_is(event.body, "{\"a\": 1}") && event.ts_us);
    }
    CHECK(ls_live_next_wait(live, PATIENCE_MS, &event, &err) == 1);
    CHECK(!event.seq && !event.stream.len && ls_slice_is(event.topic, "live.b"));
    CHECK(ls_live_next_wait(live, 0, &event, &err) == 0);
    ls_live_close(&live);
}

static void scene_live(struct ls_client *client)
{
    watch_live(client, false);
}

static void scene_live_single(struct ls_client *client)
{
    watch_live(client, true);
}

static void scene_ephemeral(struct ls_client *client)
{
    static const char *const topics[] = {"job.>", "live.>", NULL};
    const struct ls_subscription subscription = {.topics = topics, .window = 4};
    struct seen seen = {0};
    uint32_t number = ls_subscribe(client, &subscription, see, &seen, &err);
    CHECK(!ls_subscribed_wait(client, number, PATIENCE_MS, NULL, &err));
    publish_many(client, "job.a", 50);
    step_until(client, &seen.count, 50);
    CHECK(seen.last == 50);
    publish_many(client, "live.a", 1);
    step_until(client, &seen.count, 51);
    CHECK(!seen.last);
    ls_unsubscribe(client, number);
    publish_many(client, "job.a", 1);
    CHECK(seen.count == 51);
}

static void scene_read(struct ls_client *client)
{
    static const char *const only[] = {"run.>", NULL};
    struct ls_range range = {.stream = "events"};
    struct ls_page page;
    struct seen seen = {0}, some = {0}, filtered = {0}, last = {0};
    for (int i = 0; i < 3; i++)
        publish_many(client, "job.a", 900);
    CHECK(ls_read_wait(client, &range, see, &seen, PATIENCE_MS, &err) == 2700);
    CHECK(seen.count == 2700 && seen.first == 1 && seen.last == 2700);
    range.count = 1500;
    CHECK(ls_read_wait(client, &range, see, &some, PATIENCE_MS, &err) == 1500 && some.last == 1500);
    range.topics = only;
    CHECK(ls_read_wait(client, &range, see, &filtered, PATIENCE_MS, &err) == 0);
    const struct ls_range end = {.stream = "events", .from = {LS_FROM_LAST, 5}};
    CHECK(!ls_get_wait(client, &end, see, &last, &page, PATIENCE_MS, &err));
    CHECK(last.count == 5 && last.first == 2696 && page.first == 1 && page.last == 2700 && page.next == 2701);
    range.stream = "nowhere";
    CHECK(ls_get_wait(client, &range, see, &last, &page, PATIENCE_MS, &err) && !strcmp(err.name, "NO_STREAM"));
}

static enum ls_verdict fail_first(void *arg, const struct ls_event *event, struct ls_error *why)
{
    struct seen *seen = arg;
    if (ls_slice_is(event->id, "poison")) {
        snprintf(why->text, sizeof why->text, "it is poison");
        seen->count++;
        return LS_REJECT;
    }
    if (event->attempt == 1) {
        seen->retries++;
        why->retry_ms = 1;
        return LS_RETRY;
    }
    seen->count++;
    return LS_DONE;
}

static void scene_verdicts(struct ls_client *client)
{
    static const char *const takes[] = {"job.>", NULL};
    const struct ls_subscription subscription = {.consumer = "c", .stream = "events", .topics = takes};
    const struct ls_event poison = {.topic = ls_str("job.a"), .id = ls_str("poison")};
    const struct ls_range dead = {.stream = "$sys"};
    struct seen seen = {0}, letters = {0};
    uint32_t number = ls_subscribe(client, &subscription, fail_first, &seen, &err);
    CHECK(!ls_subscribed_wait(client, number, PATIENCE_MS, NULL, &err));
    publish_many(client, "job.a", 10);
    CHECK(!ls_publish(client, &poison, NULL, NULL, &err));
    step_until(client, &seen.count, 11);
    CHECK(seen.retries == 10);
    while (!letters.count) /* the dead letter is on disk soon after the TERM */
        CHECK(!ls_get_wait(client, &dead, see, &letters, NULL, PATIENCE_MS, &err));
    CHECK(!strcmp(letters.topic, "$dlq.c"));
}

static void scene_conflict(struct ls_client *client)
{
    static const char *const takes[] = {"job.>", NULL}, *const others[] = {"run.>", NULL};
    struct ls_subscription subscription = {.consumer = "c", .stream = "events", .topics = takes};
    struct seen seen = {0};
    uint32_t number = ls_subscribe(client, &subscription, see, &seen, &err);
    CHECK(!ls_subscribed_wait(client, number, PATIENCE_MS, NULL, &err));
    subscription.topics = others;
    number = ls_subscribe(client, &subscription, see, &seen, &err);
    CHECK(ls_subscribed_wait(client, number, PATIENCE_MS, NULL, &err) && !strcmp(err.name, "CONFLICT"));
}

struct work {
    int left, cancelled, ended;
    struct ls_call *call;
    char err[24];
};

/* Sends as many of the 100 parts as there is credit for. */
static void pump(void *arg, struct ls_call *call)
{
    struct work *work = arg;
    while (work->left && call->credit) {
        work->left--;
        CHECK(!ls_reply(call, ls_str("x"), (struct ls_slice){0}, !work->left, &err));
        if (!work->left)
            return;
    }
}

static void on_request(void *arg, struct ls_call *call, const struct ls_event *request)
{
    struct work *work = arg;
    work->call = call;
    if (ls_slice_is(request->body, "fail"))
        ls_reply_error(call, &(struct ls_error){.number = 404, .text = "no such thing"});
    else if (ls_slice_is(request->body, "count"))
        pump(work, call);
}

static void on_cancelled(void *arg, struct ls_call *call, const char *reason)
{
    struct work *work = arg;
    (void) call;
    work->cancelled += !strcmp(reason, "cancelled");
}

static void on_part(void *arg, const struct ls_part *part)
{
    struct work *work = arg;
    work->ended += part->last;
    if (part->err)
        snprintf(work->err, sizeof work->err, "%s", part->err->name);
}

static void scene_request(struct ls_client *client)
{
    static const char *const topics[] = {"sum.>", NULL};
    struct work work = {.left = 100};
    const struct ls_service service = {
        .topics = topics, .request = on_request, .credit = pump, .cancelled = on_cancelled, .arg = &work};
    struct ls_event request = {.topic = ls_str("sum.up"), .body = ls_str("count")};
    char *answer;
    size_t len;
    uint32_t number = ls_serve(client, &service, &err);
    CHECK(!ls_subscribed_wait(client, number, PATIENCE_MS, NULL, &err));
    CHECK(!ls_request_wait(client, &request, PATIENCE_MS, &answer, &len, &err));
    CHECK(len == 100 && strspn(answer, "x") == 100);
    free(answer);
    request.body = ls_str("fail");
    CHECK(ls_request_wait(client, &request, PATIENCE_MS, &answer, &len, &err) && err.number == 404);
    CHECK(!strcmp(err.name, "FAILED") && !strcmp(err.text, "no such thing"));
    request.topic = ls_str("nobody.serves");
    CHECK(ls_request_wait(client, &request, PATIENCE_MS, &answer, &len, &err) && !strcmp(err.name, "NO_RESPONDER"));
    request.topic = ls_str("sum.up");
    request.body = ls_str("never");
    uint64_t rid = ls_request(client, &request, NULL, on_part, &work, &err);
    CHECK(rid);
    work.call = NULL;
    while (!work.call)
        CHECK(ls_client_step(client, PATIENCE_MS, &err) >= 0);
    ls_request_cancel(client, rid);
    step_until(client, &work.ended, 1);
    CHECK(!strcmp(work.err, "CANCELLED"));
    step_until(client, &work.cancelled, 1);
}

static void scene_adm(struct ls_client *client)
{
    static const char info[] = "\x81\xa2op\xa4info", wrong[] = "\x81\xa2op\xa4huh?";
    char *reply;
    size_t len;
    CHECK(!ls_adm_wait(client, ls_bytes(info, sizeof info - 1), PATIENCE_MS, &reply, &len, &err));
    const struct ls_event map = {.header = ls_bytes(reply, len)};
    struct ls_slice server;
    CHECK(ls_event_attribute(&map, "server", &server));
    CHECK(ls_slice_is(server, ls_client_server(client)->server));
    free(reply);
    CHECK(ls_adm_wait(client, ls_bytes(wrong, sizeof wrong - 1), PATIENCE_MS, &reply, &len, &err));
}

/* ---- scenes in which the broker is killed meanwhile: they say "go" when it may happen ---- */

static int count_wanted;

static void say_go(int done)
{
    if (done != 100)
        return;
    puts("go");
    fflush(stdout);
}

static void on_published(void *arg, const struct ls_published *result)
{
    int *done = arg;
    if (result->err)
        err = *result->err;
    CHECK(!result->err);
    say_go(++*done);
}

static void scene_publish(struct ls_client *client)
{
    int done = 0;
    for (int i = 0; i < count_wanted;) {
        char id[20];
        snprintf(id, sizeof id, "e%d", i);
        const struct ls_event event = {.topic = ls_str("job.a"), .id = ls_str(id), .body = ls_str("{}")};
        if (!ls_publish(client, &event, on_published, &done, &err)) {
            i++;
            continue;
        }
        CHECK(err.again);
        CHECK(ls_client_step(client, 1000, &err) >= 0);
    }
    CHECK(!ls_flush(client, PATIENCE_MS, &err));
    struct ls_counters counters;
    ls_client_counters(client, &counters);
    CHECK(done == count_wanted && counters.acknowledged == (uint64_t) count_wanted && counters.batches);
    printf("connects %d\n", (int) counters.connects);
}

static char handled[COUNT_MAX];
static int handled_count;

static enum ls_verdict mark(void *arg, const struct ls_event *event, struct ls_error *why)
{
    char id[20] = "";
    (void) arg;
    (void) why;
    memcpy(id, event->id.data, event->id.len < sizeof id ? event->id.len : sizeof id - 1);
    long i = strtol(id + 1, NULL, 10);
    CHECK(i >= 0 && i < count_wanted);
    if (!handled[i])
        say_go(++handled_count);
    handled[i] = 1;
    return LS_DONE;
}

static void scene_consume(struct ls_client *client)
{
    static const char *const takes[] = {"job.>", NULL};
    const struct ls_subscription subscription = {.consumer = "c", .stream = "events", .topics = takes, .window = 50};
    CHECK(ls_subscribe(client, &subscription, mark, NULL, &err));
    step_until(client, &handled_count, count_wanted);
    struct ls_counters counters;
    ls_client_counters(client, &counters);
    printf("connects %d\n", (int) counters.connects);
}

static const struct {
    const char *name;
    void (*play)(struct ls_client *client);
} SCENES[] = {
    {"publish_wait", scene_publish_wait}, {"outcomes", scene_outcomes},   {"live", scene_live},
    {"live_single", scene_live_single},   {"ephemeral", scene_ephemeral}, {"read", scene_read},
    {"verdicts", scene_verdicts},         {"conflict", scene_conflict},   {"request", scene_request},
    {"adm", scene_adm},                   {"publish", scene_publish},     {"consume", scene_consume},
};

int main(int argc, char **argv)
{
    count_wanted = argc > 2 ? (int) strtol(argv[2], NULL, 10) : 0;
    CHECK(argc > 1 && count_wanted <= COUNT_MAX);
    for (size_t i = 0; i < sizeof SCENES / sizeof *SCENES; i++)
        if (!strcmp(SCENES[i].name, argv[1])) {
            struct ls_client *client = open_client("peer");
            SCENES[i].play(client);
            ls_client_close(&client);
            return 0;
        }
    fprintf(stderr, "there is no scene %s\n", argv[1]);
    return 2;
}
