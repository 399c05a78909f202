/* ends.c - how connections end: whoever closes, whenever, the other side hears the code and the reason, once, and
 * nothing is left. */
#include <stdlib.h>

#include "stage.h"

static void nothing_left(struct stage *stage) {
    stage_wait(stage, 60 * BASE_SEC);
    for (unsigned i = 0; i < 2; i++) {
        const struct sim_node *node = i ? stage->s : stage->c;
        if (node->alive && (node->endpoint.conn_count || node->slots.live))
            sim_fail(stage->world, "node %u: %u connections, %u handles are left", i, node->endpoint.conn_count,
                     node->slots.live);
    }
}

static bool reason_is(const struct quic_close *close, const char *reason) {
    return close->reason_len == strlen(reason) && memcmp(close->reason, reason, close->reason_len) == 0;
}

static void run_close(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.loss = (double)(seed % 5) * 0.05;
    stage.link.bits_per_second = 10000000;
    stage.t.streams = 5;
    stage.t.close_when_done = false;
    stage.client.max_idle_timeout = stage.server.max_idle_timeout = 5 * BASE_SEC;
    stage_open(&stage);
    stage_wait(&stage, stage_time(&stage, 300 * BASE_MS));
    bool by_server = sim_roll(&stage.dice) % 2, app = sim_roll(&stage.dice) % 4 != 0;
    uint64_t code = app ? 4711 : QUIC_NO_ERROR;
    struct quic_conn *conn = by_server ? stage_server_conn(&stage) : stage.t.client;
    if (!conn || conn->state >= QUIC_CONN_CLOSING) {
        stage_close(&stage);
        return;
    }
    struct quic_conn *other = by_server ? stage.t.client : stage_server_conn(&stage);
    bool confirmed = conn->handshake_confirmed && other && other->handshake_confirmed;
    quic_conn_close(conn, app, code, "by design", 9, world->now);
    quic_conn_close(conn, app, 99, "too late", 8, world->now); /* what came first stands */
    if (!other)
        *(by_server ? &stage.t.client_closed : &stage.t.server_closed) = true;
    if (!stage_run(&stage, 100 * BASE_SEC) && !(stage.t.client_closed && stage.t.server_closed))
        sim_fail(world, "closed: client %d, server %d", stage.t.client_closed, stage.t.server_closed);
    const struct quic_close *mine = by_server ? &stage.t.server_close : &stage.t.client_close;
    const struct quic_close *theirs = by_server ? &stage.t.client_close : &stage.t.server_close;
    if (mine->cause != QUIC_CAUSE_LOCAL || mine->code != code || !reason_is(mine, "by design"))
        sim_fail(world, "the closer heard cause %u code %llu", mine->cause, (unsigned long long)mine->code);
    if (other && theirs->cause == QUIC_CAUSE_PEER && confirmed &&
        (theirs->code != code || theirs->app != app || !reason_is(theirs, "by design")))
        sim_fail(world, "the peer heard code %llu app %d %.*s", (unsigned long long)theirs->code, theirs->app,
                 theirs->reason_len, theirs->reason);
    if (other && theirs->cause == QUIC_CAUSE_PEER && !confirmed && app && theirs->code != code &&
        theirs->code != QUIC_APPLICATION_ERROR)
        sim_fail(world, "the peer heard code %llu before confirmation", (unsigned long long)theirs->code);
    bool lossless = stage.link.loss == 0;
    if (other && lossless && theirs->cause != QUIC_CAUSE_PEER)
        sim_fail(world, "nothing was lost, but the peer heard cause %u", theirs->cause);
    nothing_left(&stage);
    stage_close(&stage);
}

static void run_both_close(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.loss = (double)(seed % 3) * 0.1;
    stage.t.close_when_done = false;
    stage_open(&stage);
    stage_wait(&stage, stage_time(&stage, 200 * BASE_MS));
    struct quic_conn *server = stage_server_conn(&stage);
    if (stage.t.client)
        quic_conn_close(stage.t.client, true, 1, "client", 6, world->now);
    if (seed % 2)
        stage_wait(&stage, stage_time(&stage, 12 * BASE_MS));
    if (server && server == stage_server_conn(&stage))
        quic_conn_close(server, true, 2, "server", 6, world->now);
    else
        stage.t.server_closed = !stage_server_conn(&stage);
    uint64_t sent = stage.c->links[1].sent + stage.s->links[0].sent;
    stage_run(&stage, 100 * BASE_SEC);
    nothing_left(&stage);
    uint64_t more = stage.c->links[1].sent + stage.s->links[0].sent - sent;
    if (more > 40)
        sim_fail(world, "two closing sides exchanged %llu datagrams", (unsigned long long)more);
    stage_close(&stage);
}

/* Somebody goes on sending to a side that has closed: it is answered, ever more rarely. */
static void run_deaf_peer(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.t = (struct transfer){.streams = 1, .upload = 4 << 20, .download = 10};
    stage.link.bits_per_second = 10000000;
    stage_open(&stage);
    stage_wait(&stage, 150 * BASE_MS);
    stage.s->links[stage.c->index].cut = true; /* the close does not arrive */
    struct quic_conn *server = stage_server_conn(&stage);
    if (server)
        quic_conn_close(server, true, 5, NULL, 0, world->now);
    uint64_t sent = stage.s->links[stage.c->index].sent;
    stage_wait(&stage, 20 * BASE_MS + stage_time(&stage, 20 * BASE_MS));
    uint64_t answers = stage.s->links[stage.c->index].sent - sent;
    if (answers > 12)
        sim_fail(world, "%llu answers", (unsigned long long)answers);
    stage.s->links[stage.c->index].cut = false;
    stage_run(&stage, 100 * BASE_SEC);
    uint8_t cause = stage.t.client_close.cause;
    if (!stage.t.client_closed || (cause != QUIC_CAUSE_PEER && cause != QUIC_CAUSE_RESET))
        sim_fail(world, "the client closed: %d, cause %u", stage.t.client_closed, cause);
    nothing_left(&stage);
    stage_close(&stage);
}

/* The application lets go of a connection: it is closed, and nothing is told. */
static void run_detach(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.t.streams = 3;
    stage.t.close_when_done = false;
    stage_open(&stage);
    stage_wait(&stage, stage_time(&stage, 100 * BASE_MS));
    if (stage.t.client) {
        for (struct base_node *n = base_list_first(&stage.t.client->streams.all); n;
             n = base_list_next(&stage.t.client->streams.all, n)) {
            struct quic_stream *s = BASE_CONTAINER(n, struct quic_stream, all);
            free(s->user);
            s->user = NULL;
            quic_stream_detach(s, 3);
        }
        quic_conn_detach(stage.t.client, world->now);
        stage.t.client = NULL;
    }
    stage_wait(&stage, 60 * BASE_SEC);
    if (stage.t.client_closed)
        sim_fail(world, "a detached connection was reported");
    if (stage_server_conn(&stage) && !stage.t.server_closed)
        sim_fail(world, "the server has not heard of it");
    nothing_left(&stage);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"close", "either side closes at a random moment: code, reason and cause arrive, nothing is left", 200, run_close},
    {"both-close", "both sides close at once, and fall silent", 60, run_both_close},
    {"deaf-peer", "a peer that does not hear the close is told again, ever more rarely", 20, run_deaf_peer},
    {"detach", "the application lets go at a random moment", 40, run_detach},
};
SCENARIOS(scenarios_ends, list);
