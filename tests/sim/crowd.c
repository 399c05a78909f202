/* crowd.c - more true clients at once than a turn, a second or a budget of strangers has room for.
 *
 * They share one address, their hellos take two datagrams each, and all come within milliseconds to a server with one
 * processor (world.h). Nobody may be forgotten: each has its connection before it would have to send its hello again,
 * within the second that a probe timeout is at first, and the server makes no connection but theirs. Some come while
 * strangers knock with forged addresses, or meet a server that asks everybody for a Retry; those may take longer.
 */
#include <stdio.h>
#include <stdlib.h>

#include "checker.h"
#include "scenario.h"

#define CROWD_MOST 1200u
#define STRANGERS 1000u /* hellos, sent again and again */

struct crowd_kind {
    unsigned clients;
    unsigned validation;        /* of addresses */
    unsigned strangers;         /* hellos a millisecond */
    base_time most, processors; /* how long all may take; the processor works no more than that for it */
    const char *groups;
};

/* 1200 handshakes of 500 us are 600 ms. */
static const struct crowd_kind kinds[] = {
    {CROWD_MOST, QUIC_VALIDATE_AUTO, 0, 990 * BASE_MS, 700 * BASE_MS, NULL},
    {1000, QUIC_VALIDATE_ALWAYS, 0, 990 * BASE_MS, 700 * BASE_MS, NULL},
    {400, QUIC_VALIDATE_AUTO, 4, 990 * BASE_MS, 990 * BASE_MS, "X25519"},
};

struct crowd {
    struct sim_world *world;
    const struct crowd_kind *kind;
    struct sim_node *clients, *server, *attacker;
    unsigned connected;
    base_time began, last;
    uint64_t probes; /* hellos that were sent again */
    struct {
        uint16_t len;
        uint8_t data[1500];
    } * hellos;
    unsigned hello_next;
};

static struct crowd *present;

static void on_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    if (!(bits & QUIC_CONN_EV_CONNECTED))
        return;
    present->connected++;
    present->last = node->world->now;
    present->probes += conn->stats.ptos;
}

static void on_closed(struct sim_node *node, struct quic_conn *conn) {
    sim_fail(node->world, "a client was turned away: cause %u", (unsigned)conn->close.cause);
}

static const struct sim_app crowd_app = {on_conn, on_closed, NULL, NULL};
static const struct sim_app silent_app = {NULL, NULL, NULL, NULL};

/* First datagrams of clients that are never heard of again. */
static void make_hellos(struct crowd *crowd, const struct quic_config *config) {
    struct sim_node *node = crowd->attacker;
    crowd->hellos = calloc(STRANGERS, sizeof *crowd->hellos);
    for (unsigned i = 0; i < STRANGERS; i++) {
        struct quic_conn *conn = sim_connect(node, crowd->server, config, NULL);
        struct quic_train train = {.data = node->train, .max_segments = 1};
        if (!conn || !quic_endpoint_output(&node->endpoint, &train, crowd->world->now)) {
            sim_fail(crowd->world, "no stranger");
            return;
        }
        memcpy(crowd->hellos[i].data, train.data, crowd->hellos[i].len = (uint16_t)train.len);
        conn->detached = true;
        quic_conn_free(conn);
    }
}

static void knock(struct crowd *crowd) {
    unsigned i = crowd->hello_next++;
    struct quic_addr from = {
        .family = 4, .ip = {(uint8_t)(20 + i % 100), (uint8_t)(i >> 8), (uint8_t)i, 1}, .port = 1000};
    sim_inject(crowd->server, &from, crowd->hellos[i % STRANGERS].data, crowd->hellos[i % STRANGERS].len, 0);
}

static bool all_are_in(struct sim_world *world) {
    (void)world;
    return present->connected == present->kind->clients;
}

static void judge(struct crowd *crowd) {
    struct sim_world *world = crowd->world;
    const struct engine_stats *stats = &crowd->server->endpoint.stats;
    base_time took = crowd->last - crowd->began;
    unsigned clients = crowd->kind->clients;
    printf("    %u at once: all are in after %.0f ms, the processor worked %.0f ms\n", clients, (double)took / 1e6,
           (double)crowd->server->cpu.worked / 1e6);
    if (crowd->connected < clients)
        sim_fail(world, "%u of %u got in; %llu Retries, %llu not answered, %llu evicted", crowd->connected, clients,
                 (unsigned long long)stats->retries_sent, (unsigned long long)stats->initials_dropped,
                 (unsigned long long)stats->handshakes_evicted);
    if (took > crowd->kind->most || crowd->server->cpu.worked > crowd->kind->processors)
        sim_fail(world, "%.0f ms for all, %.0f ms of the processor", (double)took / 1e6,
                 (double)crowd->server->cpu.worked / 1e6);
    if (crowd->probes || stats->initials_dropped || stats->handshakes_evicted || crowd->server->cpu.overflowed)
        sim_fail(world,
                 "%llu hellos sent again, %llu not answered, %llu handshakes evicted, %llu datagrams without room",
                 (unsigned long long)crowd->probes, (unsigned long long)stats->initials_dropped,
                 (unsigned long long)stats->handshakes_evicted, (unsigned long long)crowd->server->cpu.overflowed);
    if (!crowd->kind->strangers && stats->connections_accepted != clients)
        sim_fail(world, "%llu connections for %u clients", (unsigned long long)stats->connections_accepted, clients);
    if (crowd->kind->strangers && !stats->half_open_guards)
        sim_fail(world, "the strangers were not seen");
}

static void run_crowd(struct sim_world *world, uint64_t seed) {
    struct crowd crowd = {.world = world, .kind = &kinds[(seed - 1) % (sizeof kinds / sizeof *kinds)]};
    struct options client, server;
    present = &crowd;
    world->unchecked = true; /* thousands of connections; each datagram is looked at in other scenarios */
    options_init(&client);
    options_init(&server);
    server.address_validation = crowd.kind->validation;
    struct quic_config *client_config = sim_config(CRYPTO_CLIENT, &client);
    struct quic_config *server_config = sim_config(CRYPTO_SERVER, &server);
    if (crowd.kind->groups)
        crypto_tls_config_groups(client_config->tls, crowd.kind->groups, NULL);
    crowd.clients = sim_node_add(world, &crowd_app, 0);
    crowd.server = sim_node_add(world, &silent_app, 0);
    crowd.attacker = sim_node_add(world, &silent_app, 0);
    struct sim_link link = {.delay = 5 * BASE_MS, .bits_per_second = 1000000000, .queue = BASE_SEC};
    sim_join(crowd.clients, crowd.server, &link);
    sim_join(crowd.attacker, crowd.server, &link);
    sim_listen(crowd.server, server_config);
    sim_node_cpu(crowd.server);
    if (crowd.kind->strangers)
        make_hellos(&crowd, client_config);
    for (unsigned ms = 0; crowd.kind->strangers && ms < 300; ms++) { /* they have been there for a while */
        for (unsigned i = 0; i < crowd.kind->strangers; i++)
            knock(&crowd);
        sim_run(world, world->now + BASE_MS, NULL);
    }
    crowd.began = world->now;
    crowd.server->cpu.worked = 0;
    for (unsigned i = 0; i < crowd.kind->clients; i++)
        sim_connect(crowd.clients, crowd.server, client_config, NULL);
    for (base_time end = crowd.began + 5 * BASE_SEC; world->now < end && !all_are_in(world) && !world->failure;) {
        base_time next = world->now + BASE_MS;
        for (unsigned i = 0; i < crowd.kind->strangers; i++)
            knock(&crowd);
        sim_run(world, next, all_are_in);
        world->now = base_time_max(world->now, all_are_in(world) ? world->now : next);
    }
    judge(&crowd);
    sim_node_remove(crowd.clients);
    sim_node_remove(crowd.server);
    sim_node_remove(crowd.attacker);
    sim_config_free(client_config);
    sim_config_free(server_config);
    free(crowd.hellos);
}

static const struct scenario list[] = {
    {"crowd-at-once", "a thousand clients of one address that come at once all get in, without a timeout of theirs",
     sizeof kinds / sizeof *kinds, run_crowd},
};
SCENARIOS(scenarios_crowd, list);
