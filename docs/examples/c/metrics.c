/* SPDX-License-Identifier: Apache-2.0 */
/* Publishes three measurements durably, consumes them as the durable consumer "c-example", and answers one request
 * about them. Run it against any broker with a stream "events":
 *
 *   cc metrics.c $(pkg-config --cflags --libs lineshaft) -o metrics && LINESHAFT_URL=tcp://127.0.0.1:7400 ./metrics */
#include <lineshaft.h>
#include <stdio.h>
#include <stdlib.h>

struct state {
    int published, handled, refused;
};

static void on_published(void *arg, const struct ls_published *result)
{
    struct state *state = arg;
    if (result->err)
        fprintf(stderr, "refused: %s: %s\n", result->err->name, result->err->text);
    state->refused += result->err != NULL;
    state->published += result->err == NULL;
}

/* The handler of the durable consumer. It may see an event twice: `id` tells. */
static enum ls_verdict on_event(void *arg, const struct ls_event *event, struct ls_error *err)
{
    struct state *state = arg;
    (void) err;
    printf("%.*s %llu: %.*s\n", (int) event->topic.len, event->topic.data, (unsigned long long) event->seq,
           (int) event->body.len, event->body.data);
    state->handled++;
    return LS_DONE; /* the acknowledgement leaves with this step */
}

/* A worker: answers in one part. */
static void on_request(void *arg, struct ls_call *call, const struct ls_event *request)
{
    const struct state *state = arg;
    char text[40];
    (void) request;
    int len = snprintf(text, sizeof text, "{\"handled\": %d}", state->handled);
    ls_reply(call, ls_bytes(text, (size_t) len), (struct ls_slice){0}, true, NULL);
}

static void on_notice(void *arg, const struct ls_notice *notice)
{
    (void) arg;
    fprintf(stderr, "%s\n", notice->text);
}

static int fail(const char *doing, const struct ls_error *err)
{
    fprintf(stderr, "%s: %s: %s\n", doing, err->name, err->text);
    return 1;
}

static int work(struct ls_client *client, struct state *state, struct ls_error *err)
{
    static const char *const metrics[] = {"run.metric", NULL}, *const questions[] = {"example.count", NULL};
    const struct ls_subscription consumer = {
        .consumer = "c-example", .stream = "events", .topics = metrics, .from = {LS_FROM_NEW, 0}};
    const struct ls_service service = {.topics = questions, .request = on_request, .arg = state};

    uint32_t number = ls_subscribe(client, &consumer, on_event, state, err);
    if (!number || ls_subscribed_wait(client, number, 5000, NULL, err))
        return fail("subscribe", err);
    number = ls_serve(client, &service, err);
    if (!number || ls_subscribed_wait(client, number, 5000, NULL, err))
        return fail("serve", err);

    for (int step = 1; step <= 3; step++) {
        char body[100];
        int len = snprintf(body, sizeof body, "{\"run_id\": \"r1\", \"key\": \"loss\", \"value\": %.2f, \"step\": %d}",
                           1.0 / step, step);
        const struct ls_event event = {
            .topic = ls_str("run.metric"), .subject = ls_str("r1"), .body = ls_bytes(body, (size_t) len)};
        if (ls_publish(client, &event, on_published, state, err))
            return fail("publish", err);
    }
    while (state->handled < 3 && !state->refused)
        if (ls_client_step(client, 1000, err) < 0)
            return fail("step", err);

    const struct ls_event question = {.topic = ls_str("example.count")};
    char *answer;
    size_t len;
    if (ls_request_wait(client, &question, 5000, &answer, &len, err))
        return fail("request", err);
    printf("answer: %s\n", answer);
    free(answer);
    return ls_flush(client, 5000, err) ? fail("flush", err) : 0;
}

int main(void)
{
    struct state state = {0};
    struct ls_error err;
    const struct ls_client_options options = {.name = "c-example", .notice = on_notice};
    struct ls_client *client = ls_client_open(&options, &err);
    if (!client)
        return fail("open", &err);
    int rc = ls_client_wait(client, 5000, &err) ? fail("connect", &err) : work(client, &state, &err);
    ls_client_close(&client);
    if (!rc)
        printf("published %d, handled %d\n", state.published, state.handled);
    return rc || state.refused;
}
