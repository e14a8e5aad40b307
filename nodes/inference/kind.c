/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the kind `inference`. */
#include <stdio.h>
#include <string.h>

#include "nodes/inference/options.h"

#define AT(member) .offset = offsetof(struct inference_options, member)
#define HOUR_MS 3600000

/* clang-format off */
static const char *const BACKENDS[] = {"ngram", "openai", NULL};

static const struct kind_option OPTIONS[] = {
    {"backend", KIND_ENUM, KIND_REQUIRED, AT(backend), .words = BACKENDS,
     .help = "`ngram`: a small language model in this node, from a file that `lineshaft train` makes. `openai`: any server with "
             "the OpenAI API (llama.cpp, vLLM, Ollama, OpenAI)."},
    {"model", KIND_TEXT, 0, AT(model),
     .help = "The model's name, as callers give it. Without it: the name in the file (ngram); every model that the backend lists "
             "at `/models` (openai). ngram: `models:/NAME@ALIAS` follows an alias of the registry, `models:/NAME/VERSION` stays "
             "with one version; callers name NAME."},
    {"owned_by", KIND_TEXT, 0, AT(owned_by), .fallback = "lineshaft",
     .help = "Who owns the model, as `/v1/models` shows it. Models that the backend lists keep what it says."},
    {"context_length", KIND_INT, 0, AT(context_length), .min = 1, .max = 1000000000,
     .help = "Tokens of prompt and answer together, shown with the model; 0: what the backend says, if it does."},
    {"max_tokens", KIND_INT, 0, AT(max_tokens), .min = 1, .max = 1000000000,
     .help = "Longest answer in tokens, for requests that ask for no other length; absent: the backend's own."},
    {"file", KIND_TEXT, 0, AT(file),
     .help = "ngram: the model file. With a model of the registry: what is served until its first version is there."},
    {"pace", KIND_DURATION, 0, AT(pace), .fallback = "0ms", .min = 0, .max = 60000,
     .help = "ngram: least time between two tokens of an answer, to make it look like a larger model's."},
    {"cache", KIND_TEXT, 0, AT(cache), .fallback = "var/models",
     .help = "ngram, with a model of the registry: the folder for its files, named by their SHA-256. Nodes and replicas may share it."},
    {"cache_keep", KIND_INT, 0, AT(cache_keep), .fallback = "3", .min = 1, .max = 1000,
     .help = "ngram, with a model of the registry: how many files stay in the cache, the latest used ones."},
    {"url", KIND_TEXT, 0, AT(url),
     .help = "openai: the base of its API, such as `http://127.0.0.1:8080/v1`. Proxies are not taken from the environment."},
    {"api_key", KIND_TEXT, KIND_SECRET, AT(api_key),
     .help = "openai: sent as `Authorization: Bearer`. Written as `${env:NAME}` or `${file:PATH}` it is masked wherever it shows."},
    {"backend_model", KIND_TEXT, 0, AT(backend_model),
     .help = "openai: the model's name at the backend, if it is another than `model`."},
    {"ca_file", KIND_TEXT, 0, AT(ca_file),
     .help = "openai: certificates to trust for https, PEM; absent: the system's."},
    {"models_every", KIND_DURATION, 0, AT(models_every), .fallback = "1m", .min = 100, .max = HOUR_MS,
     .help = "openai, without `model`: how often the backend is asked for its models."},
    {"connect_timeout", KIND_DURATION, 0, AT(connect_timeout), .fallback = "5s", .min = 10, .max = HOUR_MS,
     .help = "openai: until a connection stands."},
    {"first_byte_timeout", KIND_DURATION, 0, AT(first_byte_timeout), .fallback = "2m", .min = 10, .max = HOUR_MS,
     .help = "openai: from there until the first byte of its answer, behind the header. Until then it reads the prompt."},
    {"stall_timeout", KIND_DURATION, 0, AT(stall_timeout), .fallback = "1m", .min = 10, .max = HOUR_MS,
     .help = "openai: longest silence within an answer."},
    {"total_timeout", KIND_DURATION, 0, AT(total_timeout), .min = 10, .max = 24 * (int64_t) HOUR_MS,
     .help = "openai: longest answer in all; absent: the deadline of the request alone."},
    {0}};

static const struct kind_metric METRICS[] = {
    [METRIC_CALLS] = {"calls_total", "requests taken"},
    [METRIC_OPEN] = {"open", "answers under way"},
    [METRIC_COMPLETED] = {"completed_total", "answers given to their end"},
    [METRIC_FAILED] = {"failed_total", "requests answered with an error"},
    [METRIC_CANCELLED] = {"cancelled_total", "requests that were given up by their caller, or whose deadline passed"},
    [METRIC_TOKENS] = {"tokens_total", "tokens of answers given to their end, as the backend counted them"},
    [METRIC_FIRST_TOKENS] = {"first_tokens_total", "answers that began"},
    [METRIC_FIRST_TOKEN_MS] = {"first_token_seconds_total", "sum over them of the time to the first token"},
    [METRIC_BACKEND_UNREACHABLE] = {"backend_unreachable_total", "calls of the backend that found no connection"},
    [METRIC_BACKEND_TIMEOUT] = {"backend_timeout_total", "calls of the backend that were too slow"},
    [METRIC_BACKEND_BUSY] = {"backend_busy_total", "calls that the backend turned away: status 429, 503 or 529"},
    [METRIC_BACKEND_REFUSED] = {"backend_refused_total", "calls that the backend refused: any other status of 400 to 499"},
    [METRIC_BACKEND_BROKEN] = {"backend_broken_total", "calls that the backend failed or broke off"},
    {0}};
/* clang-format on */

static const char *const SERVES[] = {"chat.generate", NULL};

static bool is_given(const char *text)
{
    return text && text[0];
}

bool registry_uri_meant(const char *model)
{
    return model && strncmp(model, "models:", 7) == 0;
}

/* Names and aliases as MLflow has them: no slash and colon in a name; an alias of letters, digits, _ and -, which neither is
 * "latest" nor looks like a version. */
const char *registry_uri_read(const char *model, struct registry_uri *uri)
{
    static const char ALIAS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    *uri = (struct registry_uri){0};
    if (strncmp(model, "models:/", 8) != 0 || model[8] == '/')
        return "a model of the registry begins with models:/ and its name";
    const char *name = model + 8, *end = name + strcspn(name, "@/"), *rest = *end ? end + 1 : end;
    size_t len = (size_t) (end - name), most = *end == '@' ? sizeof uri->alias : sizeof uri->version;
    if (!len || len >= sizeof uri->name || memchr(name, ':', len))
        return "the name behind models:/ is empty, too long or has a colon";
    if (!*rest)
        return *end == '@' ? "the alias behind @ is missing" : "neither an alias nor a version is named";
    if (strlen(rest) >= most)
        return *end == '@' ? "the alias is too long" : "the version is no number";
    snprintf(uri->name, sizeof uri->name, "%.*s", (int) len, name);
    if (*end == '/') {
        snprintf(uri->version, sizeof uri->version, "%s", rest);
        return rest[0] == '0' || rest[strspn(rest, "0123456789")] ? "the version is no number" : NULL;
    }
    snprintf(uri->alias, sizeof uri->alias, "%s", rest);
    bool reserved = strcmp(rest, "latest") == 0 || (rest[0] == 'v' && rest[1] && !rest[1 + strspn(rest + 1, "0123456789")]);
    return rest[strspn(rest, ALIAS)] || reserved ? "that is no alias" : NULL;
}

static bool check_registry(const struct inference_options *o, struct kind_problem *problem)
{
    static const char FORMS[] = "write models:/NAME@ALIAS or models:/NAME/VERSION, such as models:/small@champion";
    struct registry_uri uri;
    const char *wrong = registry_uri_read(o->model, &uri);
    if (wrong)
        return kind_complain(problem, "model", wrong, FORMS);
    if (o->backend != BACKEND_NGRAM)
        return kind_complain(problem, "model", "only the backend ngram serves models of the registry",
                             "model: the name at the backend, such as gpt-4o-mini; or backend: ngram");
    if (!is_given(o->cache))
        return kind_complain(problem, "cache", "a model of the registry needs a folder for its files", "cache: var/models");
    return true;
}

/* "model:/NAME@ALIAS" */
static bool is_mistyped(const char *model)
{
    return kind_begins(model, "model:/") || kind_begins(model, "Models:/") || kind_begins(model, "mlflow-models:/");
}

static bool check(const void *options, struct kind_problem *problem)
{
    const struct inference_options *o = options;
    if (registry_uri_meant(o->model) && !check_registry(o, problem))
        return false;
    if (o->backend == BACKEND_NGRAM && is_mistyped(o->model)) {
        char hint[sizeof problem->hint];
        snprintf(hint, sizeof hint, "did you mean models:%.200s?", strchr(o->model, '/'));
        return kind_complain(problem, "model", "a model of the registry begins with models:/", hint);
    }
    if (o->backend == BACKEND_NGRAM) {
        if (!is_given(o->file) && !registry_uri_meant(o->model))
            return kind_complain(problem, "backend", "the backend ngram needs a model file",
                                 "file: model.ngram (`lineshaft train` makes one from text), or model: models:/NAME@ALIAS");
        if (is_given(o->url))
            return kind_complain(problem, "url", "the backend ngram calls no server",
                                 "leave out url, or say backend: openai");
        return true;
    }
    if (!is_given(o->url))
        return kind_complain(problem, "backend", "the backend openai needs the address of a server",
                             "url: http://127.0.0.1:8080/v1");
    if (strncmp(o->url, "http://", 7) != 0 && strncmp(o->url, "https://", 8) != 0)
        return kind_complain(problem, "url", "the url begins with neither http:// nor https://",
                             "write the base of the API, such as http://127.0.0.1:8080/v1");
    if (is_given(o->file))
        return kind_complain(problem, "file", "the backend openai reads no model file",
                             "leave out file, or say backend: ngram");
    if (is_given(o->backend_model) && !is_given(o->model))
        return kind_complain(problem, "backend_model", "backend_model is given, but no model that callers would name",
                             "model: NAME");
    return true;
}

static const struct kind_wiring *wiring(const void *options)
{
    static const char *const GIVES[] = {"model.loaded", NULL}, *const ALIAS_ASKS[] = {"tracker.registered-models.get-alias", NULL},
                      *const VERSION_ASKS[] = {"tracker.model-versions.get", NULL};
    static const struct kind_wiring ALIAS = {GIVES, ALIAS_ASKS}, VERSION = {GIVES, VERSION_ASKS};
    const struct inference_options *o = options;
    struct registry_uri uri;
    if (!registry_uri_meant(o->model) || registry_uri_read(o->model, &uri))
        return NULL;
    return uri.alias[0] ? &ALIAS : &VERSION;
}

const struct kind kind_inference = {
    .name = "inference",
    .summary = "a model: answers chat turns, from a model file or from a server with the OpenAI API",
    .about =
        "Serves the request chat.generate (docs/nodes/chat-generate.md): one chat turn, answered in parts as the "
        "tokens "
        "come. Several nodes and replicas with the same models share the work; the models that a node has are in its "
        "`about`, where ingress finds them. With a model of the registry it also watches the events about that model, asks the "
        "tracker which version is meant, and gives model.loaded.",
    .options = OPTIONS,
    .options_size = sizeof(struct inference_options),
    .serves = SERVES,
    .slots = 64,
    .metrics = METRICS,
    .check = check,
    .wiring = wiring,
};
