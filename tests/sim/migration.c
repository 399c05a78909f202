/* migration.c - moves by the client's will, and to the address the server prefers: the transfer goes on, every path has
 * connection IDs of its own, and what was left is given back. */
#include "stage.h"

static struct quic_addr addr_of(uint8_t family, uint8_t host, uint16_t port) {
    struct quic_addr addr = {.family = family, .ip = {10, 1, 0, host}, .port = port};
    if (family == 6)
        addr.ip[0] = 0xfd;
    return addr;
}

static struct quic_conn *client(struct stage *stage) {
    return stage->t.client && stage->t.client->state < QUIC_CONN_CLOSING ? stage->t.client : NULL;
}

static unsigned news_of(struct stage *stage, enum quic_path_news news) {
    struct quic_path_note note;
    unsigned count = 0;
    while (client(stage) && quic_conn_path_note(stage->t.client, &note))
        count += note.news == news;
    return count;
}

static unsigned paths_of(const struct quic_conn *conn) {
    unsigned count = 0;
    for (unsigned i = 0; i < QUIC_PATHS; i++)
        count += quic_path_at(conn, i) != NULL;
    return count;
}

static unsigned spares_of(const struct quic_conn *conn) {
    unsigned count = 0;
    for (unsigned i = 0; i < QUIC_CIDS; i++)
        count += conn->remote_cids.list[i].used && !conn->remote_cids.list[i].paths;
    return count;
}

/* Some seconds later one path is left on either side, and its peer has replaced every ID that was used up. */
static void expect_tidy(struct stage *stage) {
    stage_wait(stage, 8 * BASE_SEC);
    struct quic_conn *ends[] = {client(stage), stage_server_conn(stage)};
    for (unsigned i = 0; i < 2 && !stage->world->failure; i++) {
        if (!ends[i])
            sim_fail(stage->world, "side %u has closed", i);
        /* a server may know a path to be good that its client, whom the answers did not reach, has given up */
        else if (paths_of(ends[i]) > (i && stage->link.loss > 0 ? 2 : 1) ||
                 spares_of(ends[i]) + paths_of(ends[i]) != ends[i]->config->options.active_connection_id_limit)
            sim_fail(stage->world, "side %u has %u paths and %u unused connection IDs", i, paths_of(ends[i]),
                     spares_of(ends[i]));
    }
}

static void begin(struct stage *stage, struct sim_world *world, uint64_t seed) {
    stage_init(stage, world, seed);
    if (seed % 2)
        stage_bad_link(stage, 0.02);
    stage->link.bits_per_second = 20000000;
    stage->t.upload = stage->t.download = 600000;
    stage->t.eager = true;
    stage->t.close_when_done = false;
}

/* Until the handshake is confirmed, which no lost datagram may hurry, and `more` after that. */
static void open_confirmed(struct stage *stage, base_time more) {
    stage_open(stage);
    stage->c->other.local = addr_of(4, 99, 5000);
    for (unsigned i = 0; i < 1000 && client(stage) && !stage->t.client->handshake_confirmed; i++)
        stage_wait(stage, 10 * BASE_MS);
    stage_wait(stage, more);
    if (!client(stage))
        sim_fail(stage->world, "no connection");
}

static void end(struct stage *stage) {
    if (client(stage))
        quic_conn_close(stage->t.client, true, 0, "done", 4, stage->world->now);
    stage->t.close_when_done = true;
    stage_finish(stage);
    stage_close(stage);
}

/* A server that moves nowhere and a client that goes to and fro. */
static void run_migrate(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    open_confirmed(&stage, 60 * BASE_MS);
    unsigned moves = 0;
    for (unsigned i = 0; i < 8 && client(&stage); i++) {
        stage_wait(&stage, stage_time(&stage, 200 * BASE_MS));
        struct quic_path *active = quic_path_active(stage.t.client);
        struct quic_socket *to = active->socket == &stage.c->socket ? &stage.c->other : &stage.c->socket;
        int result = quic_conn_migrate(stage.t.client, to, &to->local, world->now);
        if (result && result != ERR_BLOCKED)
            sim_fail(world, "migrate: %d", result);
        stage_wait(&stage, 700 * BASE_MS);
        active = quic_path_active(stage.t.client);
        moves += news_of(&stage, QUIC_PATH_NEWS_ACTIVE);
        if (!result && seed % 2 == 0 && active->socket != to)
            sim_fail(world, "move %u was not made", i);
    }
    if (moves < 2)
        sim_fail(world, "%u moves", moves);
    expect_tidy(&stage);
    end(&stage);
}

static bool drop_other(struct sim_world *world, const struct sim_datagram *datagram) {
    const struct stage *stage = world->user;
    return !quic_addr_equal(&datagram->src, &stage->c->other.local) &&
           !quic_addr_equal(&datagram->dst, &stage->s->other.local);
}

/* A move to where nothing comes through is not made, and costs nothing but connection IDs, which are replaced. */
static void run_dead_end(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    open_confirmed(&stage, 60 * BASE_MS);
    world->user = &stage;
    world->filter = drop_other;
    if (quic_conn_migrate(stage.t.client, &stage.c->other, &stage.c->other.local, world->now))
        sim_fail(world, "migrate");
    stage_wait(&stage, 10 * BASE_SEC);
    if (!client(&stage) || quic_path_active(stage.t.client)->socket != &stage.c->socket ||
        news_of(&stage, QUIC_PATH_NEWS_FAILED) != 1)
        sim_fail(world, "the move was made, or is not told to have failed");
    if (!transfer_done(&stage.t) || stage.t.done_at > 5 * BASE_SEC)
        sim_fail(world, "the transfer suffered");
    expect_tidy(&stage);
    end(&stage);
}

/* A path that was probed beforehand is moved to at once, when the old one dies. */
static void run_spare(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    open_confirmed(&stage, 60 * BASE_MS);
    if (quic_conn_probe(stage.t.client, &stage.c->other, &stage.c->other.local, world->now))
        sim_fail(world, "probe");
    stage_wait(&stage, 4 * BASE_SEC);
    if (quic_path_active(stage.t.client)->socket != &stage.c->socket || news_of(&stage, QUIC_PATH_NEWS_VALIDATED) != 1)
        sim_fail(world, "a probe alone moved the connection, or is not told of");
    if (quic_conn_migrate(stage.t.client, &stage.c->other, &stage.c->other.local, world->now) ||
        quic_path_active(stage.t.client)->socket != &stage.c->other)
        sim_fail(world, "the way is known and was not taken");
    stage.t.streams = 2;
    transfer_more(stage.c, &stage.t);
    stage_wait(&stage, 5 * BASE_SEC);
    if (!transfer_done(&stage.t))
        sim_fail(world, "nothing came over the new path");
    expect_tidy(&stage);
    end(&stage);
}

/* What is refused: servers, early moves, and those the server does not want. */
static void run_refused(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    stage.server.disable_active_migration = 1;
    stage_open(&stage);
    stage.c->other.local = addr_of(4, 99, 5000);
    if (quic_conn_migrate(stage.t.client, &stage.c->other, &stage.c->other.local, world->now) != ERR_STATE)
        sim_fail(world, "moved before the handshake");
    stage_wait(&stage, 2 * BASE_SEC);
    struct quic_conn *server = stage_server_conn(&stage);
    if (quic_conn_migrate(stage.t.client, &stage.c->other, &stage.c->other.local, world->now) != ERR_STATE ||
        quic_conn_migrate(server, &stage.s->socket, &stage.s->socket.local, world->now) != ERR_STATE)
        sim_fail(world, "moved against the rules");
    end(&stage);
}

/* ---- the preferred address ---- */

static struct quic_socket *client_sibling(struct quic_socket *socket, uint8_t family) {
    struct sim_node *node = BASE_CONTAINER(socket, struct sim_node, socket);
    return node->other.local.family == family ? &node->other : NULL;
}
static const struct quic_socket_ops client_ops = {.sibling = client_sibling};

static void open_preferred(struct stage *stage, uint8_t family) {
    stage_open(stage);
    stage->s->other.local = addr_of(family, 77, 443);
    *(family == 6 ? &stage->sc->preferred_v6 : &stage->sc->preferred_v4) = stage->s->other.local;
    stage->c->socket.ops = &client_ops;
    stage->c->other.local = addr_of(6, 99, 5000);
}

static bool met(struct stage *stage) {
    struct quic_conn *server = stage_server_conn(stage);
    return client(stage) && server &&
           quic_addr_equal(&quic_path_active(stage->t.client)->remote, &stage->s->other.local) &&
           quic_addr_equal(&quic_path_active(server)->local, &stage->s->other.local);
}

static void run_preferred(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    stage.server.disable_active_migration = seed / 4 % 2;
    bool six = seed / 2 % 2;
    open_preferred(&stage, six ? 6 : 4);
    stage_wait(&stage, 3 * BASE_SEC);
    for (unsigned i = 0; i < 7 && !met(&stage); i++)
        stage_wait(&stage, BASE_SEC); /* a lost PATH_RESPONSE is asked for again after a second */
    if (!met(&stage))
        sim_fail(world, "they did not meet at the preferred address");
    else if (!six && (stage.c->other.local.family = 4,
                      quic_conn_migrate(stage.t.client, &stage.c->other, &stage.c->other.local, world->now)))
        sim_fail(world, "no move is allowed from there");
    expect_tidy(&stage);
    if (!transfer_done(&stage.t))
        sim_fail(world, "the transfer failed");
    end(&stage);
}

static void run_preferred_not(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    bool dead = seed % 2;
    stage.client.follow_preferred_address = dead;
    open_preferred(&stage, 4);
    if (dead) {
        world->user = &stage;
        world->filter = drop_other;
    }
    stage_wait(&stage, 10 * BASE_SEC);
    if (!client(&stage) || !quic_addr_equal(&quic_path_active(stage.t.client)->remote, &stage.s->socket.local))
        sim_fail(world, "it did not stay where it was");
    if (!transfer_done(&stage.t) || stage.t.done_at > 5 * BASE_SEC)
        sim_fail(world, "the transfer suffered");
    expect_tidy(&stage);
    end(&stage);
}

static const struct scenario list[] = {
    {"migrate", "a client moves between two addresses in mid transfer and idle", 60, run_migrate},
    {"migrate-dead-end", "a move to where nothing comes through is not made", 40, run_dead_end},
    {"migrate-spare", "a path probed beforehand is taken at once", 40, run_spare},
    {"migrate-refused", "moves the rules forbid", 8, run_refused},
    {"preferred-address", "both sides meet at the server's preferred address, IPv4 and IPv6", 80, run_preferred},
    {"preferred-address-not", "a preferred address that does not answer, or is not wanted", 40, run_preferred_not},
};
SCENARIOS(scenarios_migration, list);
