/* order.c - see order.h. The rules are the table; the rest finds the object and walks.
 *
 * An object has one or more machines, each with a state. An event is allowed when, for each machine of the object that
 * has rules for it, one of the rules starts from the machine's state. What the application did moves machines in the
 * same way, and is never refused.
 *
 * Beside the states there are three things that a table of states cannot hold: tokens, each of which wants its answer;
 * what must have ended before something else ends; and the order within one turn, which is that of the events'
 * numbers. */
#include "order.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the rules ---- */

enum kind { LISTENER, CONN, STREAM };
enum { DATA_END = 40, MACHINES = 4, DEPTH = 8 }; /* DATA with WEFT_FIN is an input of its own */

enum conn_life { CONN_NEW, CONN_BEGUN, CONN_EARLY, CONN_CONNECTED, CONN_CONFIRMED, CONN_OVER };
enum conn_role { ROLE_CLIENT, ROLE_SERVER };
enum stream_life { STREAM_NEW, STREAM_OPEN, STREAM_DETACHED, STREAM_OVER };
enum receiving { RECEIVING, RECEIVED };
enum content { CONTENT, REFUSED };
enum sending { SENDING, SENDING_FULL, SENDING_END, SENT };

#define IN(state) (1u << (state))
#define STAY 255u
#define OPEN_CONN (IN(CONN_EARLY) | IN(CONN_CONNECTED) | IN(CONN_CONFIRMED))
#define CONNECTED_CONN (IN(CONN_CONNECTED) | IN(CONN_CONFIRMED))

static const struct rule {
    uint8_t kind, machine, input, from, to;
} rules[] = {
    /* a connection's life */
    {CONN, 0, WEFT_EV_ACCEPTED, IN(CONN_NEW), CONN_BEGUN},
    {CONN, 0, WEFT_EV_CONNECTED, IN(CONN_BEGUN) | IN(CONN_EARLY), CONN_CONNECTED},
    {CONN, 0, WEFT_EV_CONFIRMED, IN(CONN_CONNECTED), CONN_CONFIRMED},
    {CONN, 0, WEFT_EV_SESSION, CONNECTED_CONN, STAY},
    {CONN, 0, WEFT_EV_TOKEN, CONNECTED_CONN, STAY},
    {CONN, 0, WEFT_EV_PATH, CONNECTED_CONN, STAY},
    {CONN, 0, WEFT_EV_PATH_NEWS, CONNECTED_CONN, STAY},
    {CONN, 0, WEFT_EV_STREAMS, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_DATAGRAM, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_DATAGRAM_OUTCOME, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_DATAGRAM_ROOM, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_CONN_CLOSED, IN(CONN_BEGUN) | OPEN_CONN, CONN_OVER},
    /* which of its streams' events it must be open for: all */
    {CONN, 0, WEFT_EV_STREAM_OPENED, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_DATA, OPEN_CONN, STAY},
    {CONN, 0, DATA_END, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_READABLE, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_RESET, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_STOPPED, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_WRITABLE, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_RELEASED, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_FINISHED, OPEN_CONN, STAY},
    {CONN, 0, WEFT_EV_STREAM_CLOSED, OPEN_CONN, STAY},
    /* its role */
    {CONN, 1, WEFT_EV_ACCEPTED, IN(ROLE_SERVER), STAY},
    {CONN, 1, WEFT_EV_SESSION, IN(ROLE_CLIENT), STAY},
    {CONN, 1, WEFT_EV_TOKEN, IN(ROLE_CLIENT), STAY},
    /* a stream's life */
    {STREAM, 0, WEFT_EV_STREAM_OPENED, IN(STREAM_NEW), STREAM_OPEN},
    {STREAM, 0, WEFT_EV_DATA, IN(STREAM_OPEN), STAY},
    {STREAM, 0, DATA_END, IN(STREAM_OPEN), STAY},
    {STREAM, 0, WEFT_EV_READABLE, IN(STREAM_OPEN), STAY},
    {STREAM, 0, WEFT_EV_RESET, IN(STREAM_OPEN), STAY},
    {STREAM, 0, WEFT_EV_STOPPED, IN(STREAM_OPEN), STAY},
    {STREAM, 0, WEFT_EV_WRITABLE, IN(STREAM_OPEN), STAY},
    {STREAM, 0, WEFT_EV_RELEASED, IN(STREAM_OPEN) | IN(STREAM_DETACHED), STAY},
    {STREAM, 0, WEFT_EV_FINISHED, IN(STREAM_OPEN), STAY},
    {STREAM, 0, WEFT_EV_STREAM_CLOSED, IN(STREAM_OPEN), STREAM_OVER},
    {STREAM, 0, ORDER_DETACH, IN(STREAM_NEW) | IN(STREAM_OPEN), STREAM_DETACHED},
    /* what it receives */
    {STREAM, 1, WEFT_EV_DATA, IN(RECEIVING), STAY},
    {STREAM, 1, DATA_END, IN(RECEIVING), RECEIVED},
    {STREAM, 1, WEFT_EV_READABLE, IN(RECEIVING), STAY},
    {STREAM, 1, WEFT_EV_RESET, IN(RECEIVING), RECEIVED},
    {STREAM, 1, ORDER_STOP, IN(RECEIVING), RECEIVED},
    {STREAM, 1, ORDER_READ_OUT, IN(RECEIVING), RECEIVED},
    /* what it sends */
    {STREAM, 2, ORDER_FULL, IN(SENDING), SENDING_FULL},
    {STREAM, 2, WEFT_EV_WRITABLE, IN(SENDING_FULL), SENDING},
    {STREAM, 2, ORDER_FINISH, IN(SENDING) | IN(SENDING_FULL), SENDING_END},
    {STREAM, 2, WEFT_EV_FINISHED, IN(SENDING_END), SENT},
    {STREAM, 2, WEFT_EV_STOPPED, IN(SENDING) | IN(SENDING_FULL) | IN(SENDING_END), SENT},
    {STREAM, 2, ORDER_RESET, IN(SENDING) | IN(SENDING_FULL) | IN(SENDING_END), SENT},
    /* what was refused, and may go on */
    {CONN, 2, ORDER_NO_STREAM, IN(CONTENT), REFUSED},
    {CONN, 2, WEFT_EV_STREAMS, IN(REFUSED), CONTENT},
    {CONN, 3, ORDER_NO_SPACE, IN(CONTENT), REFUSED},
    {CONN, 3, WEFT_EV_DATAGRAM_ROOM, IN(REFUSED), CONTENT},
};

/* Several at a time; all others come once in a turn. */
static const uint64_t repeats = ORDER_BIT(WEFT_EV_ACCEPTED) | ORDER_BIT(WEFT_EV_DATA) | ORDER_BIT(WEFT_EV_RELEASED) |
                                ORDER_BIT(WEFT_EV_DATAGRAM) | ORDER_BIT(WEFT_EV_DATAGRAM_OUTCOME);

/* ---- the objects ---- */

struct token {
    uint64_t value;
    bool sent; /* of a datagram: SENT has come */
};

struct object {
    uint64_t handle, conn, engine; /* conn: of a stream */
    uint64_t listener;             /* of a connection */
    uint8_t kind;
    uint8_t state[MACHINES];
    bool over;
    uint64_t deaf;
    uint64_t span; /* in which `rank` was heard last */
    uint32_t rank;
    struct token *tokens;
    uint32_t token_count, token_room;
};

struct deed { /* an act within a batch of its engine */
    uint64_t handle, engine;
    enum order_act act;
};

static struct {
    struct object *objects; /* those that live, and those that ended in the present delivery */
    uint32_t count, room;
    struct deed *deeds;
    uint32_t deed_count, deed_room;
    struct batch {
        uint64_t engine;
        bool quiet;   /* nothing was called in this turn before it */
        bool freed;   /* the engine, within this batch: what is left of it is about nothing */
    } batches[DEPTH]; /* being heard: in one of them another engine may be turned */
    uint32_t depth;
    bool in_batch; /* what is judged now comes from a batch */
    bool turns_seen;
    bool quiet; /* nothing was called in this turn: what a call brings about comes after what was there */
    uint64_t span;
    uint64_t judged;
    void (*wrong)(const char *text);
    void (*then)(const weft_event *event);
} own;

static void *grown(void *block, uint32_t count, uint32_t *room, size_t size) {
    if (count < *room)
        return block;
    *room = *room ? 2 * *room : 64;
    block = realloc(block, *room * size);
    if (!block)
        abort();
    return block;
}

static void wrong(const struct object *object, const char *what, uint32_t input) {
    char text[300];
    uint32_t type = input == DATA_END ? WEFT_EV_DATA : input;
    snprintf(text, sizeof text, "order: %s of %s %" PRIx64 " (states %u %u %u %u): %s",
             input == DATA_END ? "the end in DATA" : weft_event_name(type),
             object && object->kind == STREAM ? "stream"
             : object && object->kind == CONN ? "connection"
                                              : "object",
             object ? object->handle : 0, object ? object->state[0] : 0u, object ? object->state[1] : 0u,
             object ? object->state[2] : 0u, object ? object->state[3] : 0u, what);
    if (own.wrong) {
        own.wrong(text);
        return;
    }
    fprintf(stderr, "\n%s\n", text);
    abort();
}

static struct object *find(uint64_t handle) {
    for (uint32_t i = own.count; i-- > 0;)
        if (own.objects[i].handle == handle)
            return &own.objects[i];
    return NULL;
}

static struct object *add(enum kind kind, uint64_t handle, uint64_t engine) {
    own.objects = (struct object *)grown(own.objects, own.count, &own.room, sizeof *own.objects);
    own.objects[own.count] = (struct object){.handle = handle, .kind = (uint8_t)kind, .engine = engine};
    return &own.objects[own.count++];
}

static void forget(struct object *object) {
    free(object->tokens);
    *object = own.objects[--own.count];
}

static void forget_over(void) {
    for (uint32_t i = own.count; i-- > 0;)
        if (own.objects[i].over)
            forget(&own.objects[i]);
}

/* ---- walking ---- */

/* 1: a rule allows it, 0: none does, -1: the machine has no rule for it. `to`: where that leads. */
static int step(const struct object *object, uint32_t machine, uint32_t input, uint8_t *to) {
    int result = -1;
    *to = object->state[machine];
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *rule = &rules[i];
        if (rule->kind != object->kind || rule->machine != machine || rule->input != input)
            continue;
        result = 0;
        if (IN(object->state[machine]) & rule->from) {
            if (rule->to != STAY)
                *to = rule->to;
            return 1;
        }
    }
    return result;
}

/* The peer has used it before it is connected. */
static bool is_early(const struct object *object) {
    weft_conn_info info = {.size = sizeof info};
    return object->kind == CONN && object->state[0] == CONN_BEGUN &&
           weft_conn_get_info((weft_conn){object->handle}, &info) == 0 && info.early != WEFT_EARLY_NONE;
}

/* Takes the machine past something that may have happened unheard. False: there is nothing like it. */
static bool step_unheard(struct object *object, uint32_t machine) {
    if (machine == 0 && is_early(object)) {
        object->state[0] = CONN_EARLY;
        return true;
    }
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *rule = &rules[i];
        if (rule->kind == object->kind && rule->machine == machine && rule->to != STAY && rule->input <= DATA_END &&
            object->deaf & ORDER_BIT(rule->input == DATA_END ? WEFT_EV_DATA : rule->input) &&
            IN(object->state[machine]) & rule->from && rule->to > object->state[machine]) {
            object->state[machine] = rule->to;
            return true;
        }
    }
    return false;
}

static void judge_states(struct object *object, uint32_t input) {
    for (uint32_t machine = 0; machine < MACHINES; machine++) {
        uint8_t to;
        int allowed = step(object, machine, input, &to);
        while (allowed == 0 && step_unheard(object, machine))
            allowed = step(object, machine, input, &to);
        if (allowed == 0)
            wrong(object, "not in this state", input);
        object->state[machine] = to;
    }
}

static void judge_rank(struct object *object, uint32_t type) {
    if (!own.in_batch && (!own.turns_seen || own.depth))
        return;
    bool again = object->span == own.span;
    bool quiet = own.in_batch ? own.batches[own.depth - 1].quiet : own.quiet;
    if (again && quiet && type != WEFT_EV_CONN_CLOSED && type < object->rank)
        wrong(object, "after one with a higher number, in the same turn", type);
    if (again && type == object->rank && !(repeats & ORDER_BIT(type)))
        wrong(object, "twice in a turn", type);
    object->span = own.span;
    object->rank = type;
}

/* ---- tokens ---- */

static struct token *token_find(struct object *object, uint64_t value) {
    for (uint32_t i = 0; i < object->token_count; i++)
        if (object->tokens[i].value == value)
            return &object->tokens[i];
    return NULL;
}

static void judge_token(struct object *object, const weft_event *event) {
    struct token *token = token_find(object, event->token);
    if (!token) {
        wrong(object, "a token that was not given, or was answered", event->type);
        return;
    }
    if (event->type == WEFT_EV_DATAGRAM_OUTCOME) {
        bool leaves = event->code == WEFT_DATAGRAM_SENT, never = event->code == WEFT_DATAGRAM_DROPPED;
        if (token->sent ? leaves || never : !leaves && !never && !(object->deaf & ORDER_BIT(event->type)))
            wrong(object, "an outcome that cannot follow", event->type);
        token->sent = true;
        if (leaves)
            return;
    }
    *token = object->tokens[--object->token_count];
}

/* ---- ends ---- */

static void judge_tokens_left(const struct object *object, uint32_t answer, uint32_t input) {
    if (object->token_count && !(object->deaf & ORDER_BIT(answer)))
        wrong(object, "tokens are left without an answer", input);
}

static void judge_conn_end(struct object *conn) {
    judge_tokens_left(conn, WEFT_EV_DATAGRAM_OUTCOME, WEFT_EV_CONN_CLOSED);
    for (uint32_t i = 0; i < own.count; i++) {
        struct object *stream = &own.objects[i];
        if (stream->kind != STREAM || stream->conn != conn->handle || stream->over)
            continue;
        stream->deaf |= conn->deaf;
        judge_tokens_left(stream, WEFT_EV_RELEASED, WEFT_EV_CONN_CLOSED);
        if (stream->state[0] != STREAM_DETACHED && !(stream->deaf & ORDER_BIT(WEFT_EV_STREAM_CLOSED)))
            wrong(stream, "its connection is told of as closed before it", WEFT_EV_STREAM_CLOSED);
        stream->over = true;
    }
    conn->over = true;
}

static void judge_listener_end(struct object *listener) {
    for (uint32_t i = 0; i < own.count; i++) {
        const struct object *conn = &own.objects[i];
        if (conn->kind == CONN && conn->listener == listener->handle && !conn->over &&
            !(conn->deaf & ORDER_BIT(WEFT_EV_CONN_CLOSED)))
            wrong(conn, "its listener is told of as closed before it", WEFT_EV_CONN_CLOSED);
    }
    listener->over = true;
}

/* ---- events ---- */

static struct object *conn_of(const weft_event *event) {
    struct object *conn = find(event->conn.id);
    if (conn || event->type != WEFT_EV_ACCEPTED)
        return conn;
    struct object *listener = find(event->listener.id);
    uint64_t deaf = listener ? listener->deaf : 0;
    conn = add(CONN, event->conn.id, weft_conn_engine(event->conn).id);
    conn->state[1] = ROLE_SERVER;
    conn->listener = event->listener.id;
    conn->deaf = deaf;
    return conn;
}

static struct object *stream_of(const weft_event *event, const struct object *conn) {
    struct object *stream = find(event->stream.id);
    if (!stream && (event->type == WEFT_EV_STREAM_OPENED || conn->deaf & ORDER_BIT(WEFT_EV_STREAM_OPENED))) {
        uint64_t engine = conn->engine, deaf = conn->deaf;
        stream = add(STREAM, event->stream.id, engine);
        stream->conn = event->conn.id;
        stream->deaf = deaf;
    }
    return stream;
}

static void judge_listener(const weft_event *event) {
    struct object *listener = find(event->listener.id);
    if (!listener) {
        listener = add(LISTENER, event->listener.id, 0);
    } else if (listener->over) {
        wrong(listener, "the listener is closed", event->type);
    }
    if (event->type == WEFT_EV_LISTENER_CLOSED)
        judge_listener_end(listener);
}

static void judge(const weft_event *event) {
    uint32_t input = event->type == WEFT_EV_DATA && event->flags & WEFT_FIN ? DATA_END : event->type;
    own.judged++;
    if (event->listener.id)
        judge_listener(event);
    if (!event->conn.id)
        return;
    struct object *conn = conn_of(event);
    if (!conn || conn->over) {
        wrong(conn, "of a connection that was never told of, or has ended", input);
        return;
    }
    judge_states(conn, input);
    if (!event->stream.id) {
        judge_rank(conn, event->type);
        if (event->type == WEFT_EV_DATAGRAM_OUTCOME)
            judge_token(conn, event);
        if (event->type == WEFT_EV_CONN_CLOSED)
            judge_conn_end(conn);
        return;
    }
    struct object *stream = stream_of(event, conn);
    if (!stream || stream->over) {
        wrong(stream, "of a stream that was never told of, or has ended", input);
        return;
    }
    stream->deaf |= find(stream->conn)->deaf;
    judge_states(stream, input);
    judge_rank(stream, event->type);
    if (event->type == WEFT_EV_RELEASED)
        judge_token(stream, event);
    if (event->type == WEFT_EV_STREAM_CLOSED) {
        judge_tokens_left(stream, WEFT_EV_RELEASED, input);
        stream->over = true;
    }
}

/* ---- what is done ---- */

static void act(uint64_t handle, enum order_act act) {
    struct object *object = find(handle);
    uint8_t to;
    if (!object)
        return;
    for (uint32_t machine = 0; machine < MACHINES; machine++) {
        step(object, machine, act, &to);
        object->state[machine] = to;
    }
}

static struct batch *batch_of(uint64_t engine) {
    for (uint32_t i = own.depth; i-- > 0;)
        if (own.batches[i].engine == engine)
            return &own.batches[i];
    return NULL;
}

/* It could be used before it is connected: early data, or a server's word before the client's Finished. */
static void used(struct object *object) {
    if (object && object->kind == CONN && object->state[0] == CONN_BEGUN)
        object->state[0] = CONN_EARLY;
}

void order_did(uint64_t handle, enum order_act done) {
    order_called();
    if (done == ORDER_NO_SPACE || done == ORDER_NO_STREAM)
        used(find(handle));
    const struct object *object = find(handle);
    if (!object || !batch_of(object->engine)) {
        act(handle, done);
        return;
    }
    own.deeds = (struct deed *)grown(own.deeds, own.deed_count, &own.deed_room, sizeof *own.deeds);
    own.deeds[own.deed_count++] = (struct deed){handle, object->engine, done};
}

void order_connecting(weft_conn conn) {
    struct object *object = add(CONN, conn.id, weft_conn_engine(conn).id);
    object->state[0] = CONN_BEGUN;
    object->state[1] = ROLE_CLIENT;
}

static struct object *stream_add(weft_conn conn, weft_stream stream, enum stream_life life) {
    struct object *object = add(STREAM, stream.id, weft_conn_engine(conn).id);
    object->state[0] = (uint8_t)life;
    object->conn = conn.id;
    return object;
}

void order_opened(weft_conn conn, weft_stream stream) {
    used(find(conn.id));
    stream_add(conn, stream, STREAM_OPEN);
}

void order_found(weft_conn conn, weft_stream stream) {
    if (!find(stream.id))
        stream_add(conn, stream, STREAM_NEW);
}

void order_token(uint64_t handle, uint64_t token) {
    struct object *object = find(handle);
    if (!object)
        return;
    used(object);
    object->tokens =
        (struct token *)grown(object->tokens, object->token_count, &object->token_room, sizeof *object->tokens);
    object->tokens[object->token_count++] = (struct token){.value = token};
}

void order_deaf(uint64_t handle, uint64_t types) {
    struct object *object = find(handle);
    if (!object)
        object = add(LISTENER, handle, 0);
    object->deaf |= types;
}

void order_freed(weft_engine engine) {
    struct batch *batch = batch_of(engine.id);
    if (batch)
        batch->freed = true;
    for (uint32_t i = own.count; i-- > 0;)
        if (own.objects[i].engine == engine.id || (own.objects[i].kind != LISTENER && !own.objects[i].engine))
            forget(&own.objects[i]);
}

void order_turn(bool seen) {
    own.turns_seen = own.quiet = seen;
    own.span++;
}

void order_called(void) {
    own.quiet = false;
    if (!own.depth)
        own.span++;
}

void order_hook(void (*hook)(const char *text)) { own.wrong = hook; }
void order_then(void (*then)(const weft_event *event)) { own.then = then; }
uint64_t order_count(void) { return own.judged; }

void order_begin(void) {
    while (own.count)
        forget(&own.objects[own.count - 1]);
    own.deed_count = 0;
    own.depth = 0;
    own.turns_seen = false;
}

void order_end(void) {
    for (uint32_t i = 0; i < own.count; i++)
        if (own.objects[i].kind == CONN && !own.objects[i].over &&
            !(own.objects[i].deaf & ORDER_BIT(WEFT_EV_CONN_CLOSED)))
            wrong(&own.objects[i], "it has not come", WEFT_EV_CONN_CLOSED);
}

/* ---- what is heard ---- */

/* What was done within a batch of this engine counts now. */
static void deeds_do(uint64_t engine) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < own.deed_count; i++)
        if (own.deeds[i].engine == engine)
            act(own.deeds[i].handle, own.deeds[i].act);
        else
            own.deeds[left++] = own.deeds[i];
    own.deed_count = left;
}

void order_on_events(void *user, const weft_event *events, uint32_t count) {
    (void)user;
    if (own.depth == DEPTH)
        abort();
    struct batch *batch = &own.batches[own.depth++];
    *batch = (struct batch){weft_conn_engine(events[0].conn).id, own.quiet, false};
    uint64_t engine = batch->engine, span = ++own.span;
    forget_over();
    for (uint32_t i = 0; i < count; i++) {
        own.in_batch = own.span == span; /* else something was heard in between */
        if (!batch->freed)
            judge(&events[i]);
        if (own.then)
            own.then(&events[i]);
    }
    own.in_batch = false;
    own.depth--;
    own.span++;
    deeds_do(engine);
}

void order_judge(const weft_event *event) {
    own.in_batch = false;
    forget_over();
    judge(event);
}

static void heard(const weft_event *event) {
    order_judge(event);
    if (own.then)
        own.then(event);
}

static void on_accept(void *user, weft_listener listener, weft_conn conn) {
    heard(&(weft_event){.type = WEFT_EV_ACCEPTED, .listener = listener, .conn = conn, .user = user});
}

static void on_listener_closed(void *user, weft_listener listener) {
    heard(&(weft_event){.type = WEFT_EV_LISTENER_CLOSED, .listener = listener, .user = user});
}

void order_listener_table(weft_listener_callbacks *table, uint64_t without) {
    *table = (weft_listener_callbacks){.size = sizeof *table};
    table->on_accept = without & ORDER_BIT(WEFT_EV_ACCEPTED) ? NULL : on_accept;
    table->on_closed = without & ORDER_BIT(WEFT_EV_LISTENER_CLOSED) ? NULL : on_listener_closed;
}

static void conn_heard(weft_conn conn, uint32_t type) { heard(&(weft_event){.type = type, .conn = conn}); }
static void on_connected(void *user, weft_conn conn) {
    (void)user;
    conn_heard(conn, WEFT_EV_CONNECTED);
}
static void on_confirmed(void *user, weft_conn conn) {
    (void)user;
    conn_heard(conn, WEFT_EV_CONFIRMED);
}
static void on_path(void *user, weft_conn conn) {
    (void)user;
    conn_heard(conn, WEFT_EV_PATH);
}
static void on_path_news(void *user, weft_conn conn) {
    (void)user;
    conn_heard(conn, WEFT_EV_PATH_NEWS);
}
static void on_streams(void *user, weft_conn conn) {
    (void)user;
    conn_heard(conn, WEFT_EV_STREAMS);
}
static void on_datagram_room(void *user, weft_conn conn) {
    (void)user;
    conn_heard(conn, WEFT_EV_DATAGRAM_ROOM);
}
static void on_conn_closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    (void)close;
    conn_heard(conn, WEFT_EV_CONN_CLOSED);
}
static void on_session(void *user, weft_conn conn, const uint8_t *session, size_t len) {
    (void)user;
    heard(&(weft_event){.type = WEFT_EV_SESSION, .conn = conn, .data = session, .len = len});
}
static void on_token(void *user, weft_conn conn, const uint8_t *token, size_t len) {
    (void)user;
    heard(&(weft_event){.type = WEFT_EV_TOKEN, .conn = conn, .data = token, .len = len});
}
static void on_datagram(void *user, weft_conn conn, const weft_slice *slice, uint32_t flags) {
    (void)user;
    heard(&(weft_event){.type = WEFT_EV_DATAGRAM,
                        .conn = conn,
                        .flags = flags,
                        .data = slice->data,
                        .len = slice->len,
                        .source = slice->source});
}
static void on_datagram_outcome(void *user, weft_conn conn, uint64_t token, uint32_t outcome) {
    (void)user;
    heard(&(weft_event){.type = WEFT_EV_DATAGRAM_OUTCOME, .conn = conn, .token = token, .code = outcome});
}

#define WITHOUT(type, function) (without & ORDER_BIT(type) ? NULL : (function))

void order_conn_table(weft_conn_callbacks *table, uint64_t without) {
    *table = (weft_conn_callbacks){
        .size = sizeof *table,
        .on_connected = WITHOUT(WEFT_EV_CONNECTED, on_connected),
        .on_confirmed = WITHOUT(WEFT_EV_CONFIRMED, on_confirmed),
        .on_session = WITHOUT(WEFT_EV_SESSION, on_session),
        .on_token = WITHOUT(WEFT_EV_TOKEN, on_token),
        .on_path = WITHOUT(WEFT_EV_PATH, on_path),
        .on_streams = WITHOUT(WEFT_EV_STREAMS, on_streams),
        .on_closed = WITHOUT(WEFT_EV_CONN_CLOSED, on_conn_closed),
        .on_datagram = WITHOUT(WEFT_EV_DATAGRAM, on_datagram),
        .on_datagram_outcome = WITHOUT(WEFT_EV_DATAGRAM_OUTCOME, on_datagram_outcome),
        .on_datagram_room = WITHOUT(WEFT_EV_DATAGRAM_ROOM, on_datagram_room),
        .on_path_news = WITHOUT(WEFT_EV_PATH_NEWS, on_path_news),
    };
}

static void stream_heard(weft_stream stream, uint32_t type, uint64_t code) {
    heard(&(weft_event){.type = type, .conn = weft_stream_conn(stream), .stream = stream, .code = code});
}
static void on_opened(void *user, weft_stream stream) {
    (void)user;
    stream_heard(stream, WEFT_EV_STREAM_OPENED, 0);
}
static void on_readable(void *user, weft_stream stream) {
    (void)user;
    stream_heard(stream, WEFT_EV_READABLE, 0);
}
static void on_reset(void *user, weft_stream stream, uint64_t code) {
    (void)user;
    stream_heard(stream, WEFT_EV_RESET, code);
}
static void on_stopped(void *user, weft_stream stream, uint64_t code) {
    (void)user;
    stream_heard(stream, WEFT_EV_STOPPED, code);
}
static void on_writable(void *user, weft_stream stream) {
    (void)user;
    stream_heard(stream, WEFT_EV_WRITABLE, 0);
}
static void on_finished(void *user, weft_stream stream) {
    (void)user;
    stream_heard(stream, WEFT_EV_FINISHED, 0);
}
static void on_stream_closed(void *user, weft_stream stream) {
    (void)user;
    stream_heard(stream, WEFT_EV_STREAM_CLOSED, 0);
}
static void on_released(void *user, weft_stream stream, uint64_t token) {
    (void)user;
    struct object *object = find(stream.id); /* a detached stream does not tell its connection any more */
    heard(
        &(weft_event){.type = WEFT_EV_RELEASED, .conn = {object ? object->conn : 0}, .stream = stream, .token = token});
}
/* One event a slice, as in a batch; what is done from within counts after all of them. */
static void on_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    weft_event event = {.type = WEFT_EV_DATA, .conn = weft_stream_conn(stream), .stream = stream};
    (void)user;
    own.in_batch = false;
    forget_over();
    for (uint32_t i = 0; i < count || (i == 0 && !count); i++) {
        event.flags = i + 1 >= count ? flags : 0;
        judge(&event);
    }
    for (uint32_t i = 0; i < count && own.then; i++) {
        event.data = slices[i].data;
        event.len = slices[i].len;
        event.source = slices[i].source;
        event.flags = i + 1 == count ? flags : 0;
        own.then(&event);
    }
}

void order_stream_table(weft_stream_callbacks *table, uint64_t without) {
    *table = (weft_stream_callbacks){
        .size = sizeof *table,
        .on_opened = WITHOUT(WEFT_EV_STREAM_OPENED, on_opened),
        .on_data = WITHOUT(WEFT_EV_DATA, on_data),
        .on_readable = WITHOUT(WEFT_EV_READABLE, on_readable),
        .on_reset = WITHOUT(WEFT_EV_RESET, on_reset),
        .on_stopped = WITHOUT(WEFT_EV_STOPPED, on_stopped),
        .on_writable = WITHOUT(WEFT_EV_WRITABLE, on_writable),
        .on_released = WITHOUT(WEFT_EV_RELEASED, on_released),
        .on_finished = WITHOUT(WEFT_EV_FINISHED, on_finished),
        .on_closed = WITHOUT(WEFT_EV_STREAM_CLOSED, on_stream_closed),
    };
}
