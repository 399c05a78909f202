/* qlog_read.c - from a qlog to curves: JSON text sequences (.sqlog), records a line, and contained JSON (.qlog); the
 * events of the current drafts and those that older ones called otherwise (transport:packet_sent,
 * recovery:metrics_updated).
 *
 * Whatever is not understood is passed over: other implementations tell more and other things. An event is read as a
 * small tree, looked at and forgotten, so a file may be of any size.
 *
 * The invariant that matters: curves have their points in the order in which the log tells them, and time never goes
 * back.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qlog.h"

#define SPACES 3
#define NUMBER_MOST 9007199254740992.0 /* 2^53: beyond it a double is no packet number, and no time in milliseconds */
#define VALUE_MOST 1e18                /* no window, amount or round trip is larger */

struct packet { /* neither acknowledged nor lost, unless bytes is 0 */
    uint64_t number;
    uint32_t bytes; /* of streams */
};

struct space { /* packets in the order of their numbers, as they are sent */
    struct packet *packets;
    size_t count, capacity, settled; /* before `settled` nothing is left */
};

struct reader {
    struct cli_json_in in;
    struct cli_json_tree tree;
    struct qlog_trace *trace;
    struct space spaces[SPACES];
    double last, unit; /* time of the last event; ms a unit */
    bool deltas;
    unsigned traces, wanted;
    double totals[QLOG_CURVES];
};

/* ---- curves ---- */

static void point(struct reader *r, enum qlog_curve_name which, double value) {
    struct qlog_curve *curve = &r->trace->curves[which];
    if (curve->count == curve->capacity) {
        size_t capacity = curve->capacity ? 2 * curve->capacity : 256;
        double *time = realloc(curve->time, capacity * sizeof *time);
        if (time)
            curve->time = time;
        double *values = time ? realloc(curve->value, capacity * sizeof *values) : NULL;
        if (!values) {
            r->trace->out_of_memory = true;
            return;
        }
        curve->value = values;
        curve->capacity = capacity;
    }
    curve->time[curve->count] = r->last;
    curve->value[curve->count++] = value;
}

static void more(struct reader *r, enum qlog_curve_name which, double amount) {
    if (amount > 0)
        point(r, which, r->totals[which] += amount);
}

void qlog_trace_free(struct qlog_trace *trace) {
    for (unsigned i = 0; i < QLOG_CURVES; i++) {
        free(trace->curves[i].time);
        free(trace->curves[i].value);
    }
}

/* ---- packets ---- */

static const struct cli_json_node *get(const struct reader *r, const struct cli_json_node *node, const char *name) {
    return cli_json_member(&r->tree, node, name);
}

static double number(const struct reader *r, const struct cli_json_node *node, const char *name, double otherwise) {
    double value;
    return cli_json_real_of(&r->tree, get(r, node, name), &value) && fabs(value) < VALUE_MOST ? value : otherwise;
}

static const char *text(const struct reader *r, const struct cli_json_node *node, const char *name) {
    const char *found = cli_json_string(&r->tree, get(r, node, name));
    return found ? found : "";
}

static struct space *space_of(struct reader *r, const struct cli_json_node *header) {
    const char *type = text(r, header, "packet_type");
    return &r->spaces[!strcmp(type, "initial") ? 0 : !strcmp(type, "handshake") ? 1 : 2];
}

/* The bytes of a STREAM frame: what drafts and implementations have called it. */
static double stream_bytes(const struct reader *r, const struct cli_json_node *frame) {
    const struct cli_json_node *raw = get(r, frame, "raw");
    return number(r, raw, "payload_length", number(r, frame, "length", number(r, raw, "length", 0)));
}

static double all_stream_bytes(const struct reader *r, const struct cli_json_node *data) {
    const struct cli_json_node *frame = cli_json_first(&r->tree, get(r, data, "frames"));
    double sum = 0;
    for (; frame; frame = cli_json_sibling(&r->tree, frame))
        if (!strcmp(text(r, frame, "frame_type"), "stream"))
            sum += stream_bytes(r, frame);
    return sum;
}

/* Memory follows what a file holds, whatever numbers it claims. Numbers that go back are those of another beginning: a
 * client that was sent a Version Negotiation packet, or a damaged file. */
static void remember(struct reader *r, struct space *space, double at, double bytes) {
    if (!(at >= 0) || at >= NUMBER_MOST)
        return;
    uint64_t number = (uint64_t)at;
    if (space->count && space->packets[space->count - 1].number >= number)
        space->count = space->settled = 0;
    if (space->count == space->capacity) {
        size_t capacity = space->capacity ? 2 * space->capacity : 1024;
        struct packet *larger = realloc(space->packets, capacity * sizeof *larger);
        if (!larger) {
            r->trace->out_of_memory = true;
            return;
        }
        space->packets = larger;
        space->capacity = capacity;
    }
    space->packets[space->count++] = (struct packet){number, bytes < 65536 ? (uint32_t)bytes : 65536};
}

/* The first packet that is not settled and not below this number. */
static size_t find(const struct space *space, double number) {
    size_t low = space->settled, high = space->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((double)space->packets[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What the packets from low to high held, which are settled from now on. */
static double settle(struct space *space, double low, double high) {
    double sum = 0;
    if (!(low >= 0) || !(high >= low))
        return 0;
    for (size_t i = find(space, low); i < space->count && (double)space->packets[i].number <= high; i++) {
        sum += space->packets[i].bytes;
        space->packets[i].bytes = 0;
    }
    while (space->settled < space->count && !space->packets[space->settled].bytes)
        space->settled++;
    return sum;
}

static void on_sent(struct reader *r, const struct cli_json_node *data) {
    const struct cli_json_node *header = get(r, data, "header");
    double bytes = all_stream_bytes(r, data);
    r->trace->packets_sent++;
    if (bytes > 0)
        remember(r, space_of(r, header), number(r, header, "packet_number", -1), bytes);
    more(r, QLOG_SENT, bytes);
}

static void on_ack(struct reader *r, struct space *space, const struct cli_json_node *frame) {
    const struct cli_json_node *range = cli_json_first(&r->tree, get(r, frame, "acked_ranges"));
    double sum = 0;
    for (; range; range = cli_json_sibling(&r->tree, range)) {
        double low = -1, high;
        const struct cli_json_node *first = cli_json_first(&r->tree, range);
        cli_json_real_of(&r->tree, first, &low);
        high = low;
        cli_json_real_of(&r->tree, cli_json_sibling(&r->tree, first), &high);
        sum += settle(space, low, high);
    }
    more(r, QLOG_ACKED, sum);
}

static void on_received(struct reader *r, const struct cli_json_node *data) {
    const struct cli_json_node *frame = cli_json_first(&r->tree, get(r, data, "frames"));
    struct space *space = space_of(r, get(r, data, "header"));
    r->trace->packets_received++;
    more(r, QLOG_RECEIVED, all_stream_bytes(r, data));
    for (; frame; frame = cli_json_sibling(&r->tree, frame))
        if (!strcmp(text(r, frame, "frame_type"), "ack"))
            on_ack(r, space, frame);
}

static void on_lost(struct reader *r, const struct cli_json_node *data) {
    const struct cli_json_node *header = get(r, data, "header");
    double at = number(r, header, "packet_number", number(r, data, "packet_number", -1));
    settle(space_of(r, header), at, at);
    more(r, QLOG_LOST, 1);
}

static void on_metrics(struct reader *r, const struct cli_json_node *data) {
    static const struct {
        const char *name;
        enum qlog_curve_name curve;
    } metrics[] = {
        {"congestion_window", QLOG_WINDOW}, {"cwnd", QLOG_WINDOW},       {"bytes_in_flight", QLOG_FLIGHT},
        {"smoothed_rtt", QLOG_SMOOTHED},    {"latest_rtt", QLOG_LATEST}, {"min_rtt", QLOG_LEAST},
    };
    bool sampled = r->trace->curves[QLOG_LATEST].count || get(r, data, "latest_rtt") || get(r, data, "min_rtt");
    for (unsigned i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        if (metrics[i].curve == QLOG_SMOOTHED && !sampled)
            continue; /* what is assumed before the first sample is no measurement */
        double value = number(r, data, metrics[i].name, -1);
        if (value >= 0 && (value > 0 || metrics[i].curve == QLOG_FLIGHT))
            point(r, metrics[i].curve, value);
    }
}

static void on_closed(struct reader *r, const struct cli_json_node *data) {
    const char *reason = text(r, data, "reason"), *trigger = text(r, data, "trigger");
    const char *error = text(r, data, "connection_error"), *who = text(r, data, "initiator");
    snprintf(r->trace->closed, sizeof r->trace->closed, "%.20s%s%.30s%s%.30s%s%.60s", *who ? who : "closed",
             *trigger ? ", " : "", trigger, *error ? ", " : "", error, *reason ? ": " : "", reason);
}

/* ---- events ---- */

static const struct {
    const char *name; /* behind the last colon, without "recovery_" */
    void (*on)(struct reader *r, const struct cli_json_node *data);
} events[] = {
    {"packet_sent", on_sent},        {"packet_received", on_received}, {"packet_lost", on_lost},
    {"metrics_updated", on_metrics}, {"connection_closed", on_closed},
};

static bool set_time(struct reader *r, const struct cli_json_node *event) {
    double time;
    if (!cli_json_real_of(&r->tree, get(r, event, "time"), &time) || !isfinite(time))
        return false;
    time = r->deltas ? r->last + time * r->unit : time * r->unit;
    if (!(fabs(time) < NUMBER_MOST))
        return false;
    if (!r->trace->seen)
        r->trace->start = time;
    r->trace->seen = true;
    r->last = time > r->last || r->trace->events == 0 ? time : r->last;
    r->trace->end = r->last;
    return true;
}

static void on_event(struct reader *r, const struct cli_json_node *event) {
    const char *name = text(r, event, "name"), *colon = strrchr(name, ':');
    name = colon ? colon + 1 : name;
    if (!strncmp(name, "recovery_", 9))
        name += 9;
    if (!*name || !set_time(r, event))
        return;
    r->trace->events++;
    for (unsigned i = 0; i < sizeof events / sizeof *events; i++)
        if (!strcmp(name, events[i].name))
            events[i].on(r, get(r, event, "data"));
}

/* The head of a trace, or what of it has been read. */
static void on_head(struct reader *r, const struct cli_json_node *head) {
    struct qlog_trace *trace = r->trace;
    const struct cli_json_node *point = get(r, head, "vantage_point"), *common = get(r, head, "common_fields");
    const char *group = text(r, common, "group_id"), *format = text(r, common, "time_format");
    if (!*group)
        group = text(r, common, "ODCID");
    if (*group)
        snprintf(trace->group, sizeof trace->group, "%s", group);
    if (*text(r, point, "type"))
        snprintf(trace->role, sizeof trace->role, "%s", text(r, point, "type"));
    if (*text(r, head, "title"))
        snprintf(trace->title, sizeof trace->title, "%s", text(r, head, "title"));
    else if (*text(r, point, "name") && !*trace->title)
        snprintf(trace->title, sizeof trace->title, "%s", text(r, point, "name"));
    if (*format)
        r->deltas = !strcmp(format, "delta") || !strcmp(format, "relative_to_previous_event");
    const char *units = text(r, get(r, head, "configuration"), "time_units");
    r->unit = !strcmp(units, "us") ? 0.001 : r->unit;
}

/* ---- files ---- */

static bool skip(struct reader *r, enum cli_json_token token) {
    unsigned depth = 0;
    for (;; token = cli_json_next(&r->in)) {
        if (token == CLI_JSON_ERROR || token == CLI_JSON_END)
            return false;
        depth += token == CLI_JSON_OBJECT || token == CLI_JSON_ARRAY;
        depth -= token == CLI_JSON_OBJECT_END || token == CLI_JSON_ARRAY_END;
        if (!depth && token != CLI_JSON_NAME)
            return true;
    }
}

/* The members of an open object but those called `special`, which are given to `on` (false: an error). What the others
 * say of a trace is taken note of, whether it stands before or behind. */
static bool members(struct reader *r, bool heed, const char *special, bool (*on)(struct reader *r)) {
    enum cli_json_token token;
    while ((token = cli_json_next(&r->in)) == CLI_JSON_NAME) {
        char name[64];
        snprintf(name, sizeof name, "%s", r->in.text);
        if (!strcmp(name, special)) {
            if (!on(r))
                return false;
            continue;
        }
        token = cli_json_next(&r->in);
        if (!heed) {
            if (!skip(r, token))
                return false;
            continue;
        }
        cli_json_tree_clear(&r->tree);
        if (!cli_json_tree_read(&r->tree, &r->in, token, name))
            return false;
        on_head(r, &r->tree.nodes[1]);
    }
    return token == CLI_JSON_OBJECT_END;
}

static bool contained_events(struct reader *r) {
    enum cli_json_token token = cli_json_next(&r->in);
    if (token != CLI_JSON_ARRAY)
        return skip(r, token);
    while ((token = cli_json_next(&r->in)) != CLI_JSON_ARRAY_END) {
        if (!cli_json_tree_read(&r->tree, &r->in, token, NULL))
            return false;
        on_event(r, &r->tree.nodes[1]);
    }
    return true;
}

static bool contained_traces(struct reader *r) {
    enum cli_json_token token = cli_json_next(&r->in);
    if (token != CLI_JSON_ARRAY)
        return skip(r, token);
    while ((token = cli_json_next(&r->in)) != CLI_JSON_ARRAY_END) {
        bool chosen = token == CLI_JSON_OBJECT && ++r->traces == r->wanted;
        if (!(chosen ? members(r, true, "events", contained_events) : skip(r, token)))
            return false;
    }
    return true;
}

/* A record of a sequence is small and read whole; the head of a contained file is looked through for its traces. Which
 * it is, its first member tells: all that is called like a record of a sequence or its head is one. */
static bool record(struct reader *r) {
    bool contained = false;
    enum cli_json_token token;
    cli_json_tree_clear(&r->tree);
    while ((token = cli_json_next(&r->in)) == CLI_JSON_NAME) {
        char name[64];
        snprintf(name, sizeof name, "%s", r->in.text);
        if (!strcmp(name, "traces")) {
            contained = true;
            if (!contained_traces(r))
                return false;
            cli_json_tree_clear(&r->tree);
            continue;
        }
        if (!cli_json_tree_read(&r->tree, &r->in, cli_json_next(&r->in), name))
            return false;
    }
    if (token != CLI_JSON_OBJECT_END)
        return false;
    const struct cli_json_node *root = &r->tree.nodes[1], *trace = get(r, root, "trace");
    if (trace || get(r, root, "qlog_version") || get(r, root, "file_schema")) {
        r->traces += !contained;
        if (!contained && r->traces == r->wanted) {
            on_head(r, root);
            on_head(r, trace);
        }
    } else if (r->traces == r->wanted) {
        on_event(r, root);
    }
    return true;
}

/* All values of the file. A record that is damaged costs no more than itself. */
static void read_all(struct reader *r, char *why, size_t capacity) {
    enum cli_json_token token;
    while ((token = cli_json_next(&r->in)) != CLI_JSON_END) {
        bool good = token == CLI_JSON_OBJECT ? record(r) : token != CLI_JSON_ERROR && skip(r, token);
        if (good)
            continue;
        r->trace->damaged++;
        if (!*why)
            snprintf(why, capacity, "%s", r->in.error);
        if (!cli_json_resume(&r->in))
            return;
    }
}

unsigned qlog_read_from(long (*read_some)(void *, void *, size_t), void *user, unsigned wanted,
                        struct qlog_trace *trace, char *why, size_t capacity) {
    struct reader *r = calloc(1, sizeof *r);
    unsigned traces = 0;
    *why = 0;
    if (!r || !cli_json_in_open(&r->in, read_some, user) || !cli_json_tree_open(&r->tree)) {
        snprintf(why, capacity, "out of memory");
    } else {
        r->trace = trace;
        r->wanted = wanted;
        r->unit = 1;
        read_all(r, why, capacity);
        traces = r->traces;
        if (trace->out_of_memory)
            snprintf(why, capacity, "out of memory");
        else if (!traces && !*why)
            snprintf(why, capacity, "not a qlog: there is no trace in it");
    }
    for (unsigned i = 0; r && i < SPACES; i++)
        free(r->spaces[i].packets);
    if (r) {
        cli_json_in_close(&r->in);
        cli_json_tree_close(&r->tree);
    }
    free(r);
    return traces;
}

static long read_file(void *user, void *data, size_t len) {
    ssize_t got;
    do
        got = read(*(int *)user, data, len);
    while (got < 0 && errno == EINTR);
    return (long)got;
}

unsigned qlog_read(const char *path, unsigned wanted, struct qlog_trace *trace, char *why, size_t capacity) {
    int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (fd < 0) {
        snprintf(why, capacity, "%s", strerror(errno));
        return 0;
    }
    unsigned traces = qlog_read_from(read_file, &fd, wanted, trace, why, capacity);
    if (fd > STDIN_FILENO)
        close(fd);
    return traces;
}
