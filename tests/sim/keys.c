/* keys.c - key updates: by either side, by both at once, again and again, under loss; and by themselves before a key is
 * worn out. */
#include "stage.h"

static void run_updates(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage_bad_link(&stage, (double)(seed % 4) * 0.05);
    stage.link.bits_per_second = 10000000;
    stage.client.handshake_timeout = stage.server.handshake_timeout = 60 * BASE_SEC;
    stage.t =
        (struct transfer){.streams = 2, .upload = 400000, .download = 400000, .eager = true, .close_when_done = true};
    stage_open(&stage);
    unsigned updates = 0;
    while (!stage.t.client_closed && !stage.t.server_closed && world->now < 300 * BASE_SEC && !world->failure) {
        stage_wait(&stage, stage_time(&stage, 60 * BASE_MS));
        struct quic_conn *server = stage_server_conn(&stage), *client = stage.t.client;
        if (client && seed / 4 % 3 != 1 && sim_roll(&stage.dice) % 2)
            updates += quic_conn_update_keys(client) == ERR_OK;
        if (server && server->state == QUIC_CONN_ESTABLISHED && seed / 4 % 3 != 2 &&
            (seed / 12 % 2 || sim_roll(&stage.dice) % 2))
            updates += quic_conn_update_keys(server) == ERR_OK;
    }
    stage_finish(&stage);
    if (!updates)
        sim_fail(world, "no update was made");
    if (stage.t.client_stats.key_updates > updates || stage.t.server_stats.key_updates > updates)
        sim_fail(world, "%u updates were asked for, %llu and %llu made", updates,
                 (unsigned long long)stage.t.client_stats.key_updates,
                 (unsigned long long)stage.t.server_stats.key_updates);
    stage_close(&stage);
}

/* The sender believes to have sealed nearly as much as its key is good for. */
static void run_worn_key(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.loss = (double)(seed % 2) * 0.03;
    stage_open(&stage);
    stage_wait(&stage, 45 * BASE_MS);
    struct quic_conn *server = stage_server_conn(&stage);
    if (server && server->state == QUIC_CONN_ESTABLISHED)
        server->phase.tx_sealed = crypto_confidentiality_limit(server->phase.tx_secret.aead) / 2 - 1 - seed % 300;
    stage_finish(&stage);
    if (server && seed % 2 == 0 && !stage.t.server_stats.key_updates)
        sim_fail(world, "the key was not changed");
    stage_close(&stage);
}

/* A server that would update at once: not before the client has confirmed the handshake too, though HANDSHAKE_DONE be
 * lost. */
static void run_early_update(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.loss = (double)(seed % 4) * 0.1;
    stage.t = (struct transfer){.streams = 1, .download = 200000, .close_when_done = true};
    stage_open(&stage);
    bool updated = false;
    while (!updated && !stage.t.client_closed && world->now < 60 * BASE_SEC && !world->failure) {
        stage_wait(&stage, BASE_MS);
        struct quic_conn *server = stage_server_conn(&stage), *client = stage.t.client;
        if (!server || !client || server->state != QUIC_CONN_ESTABLISHED)
            continue;
        updated = quic_conn_update_keys(server) == ERR_OK;
        if (updated && !client->handshake_confirmed)
            sim_fail(world, "the server updates before the client has confirmed");
    }
    stage_finish(&stage);
    if (!updated && !stage.t.client_closed)
        sim_fail(world, "no update was made");
    stage_close(&stage);
}

/* A client that updates as soon as it may, with the first thing it says after HANDSHAKE_DONE, and a server that does. */
static void run_prompt_update(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    stage.link.loss = (double)(seed % 4) * 0.1;
    stage.t = (struct transfer){.streams = 1, .upload = 100000, .download = 100000, .close_when_done = true};
    stage_open(&stage);
    bool updated = false;
    while (!updated && !stage.t.client_closed && world->now < 60 * BASE_SEC && !world->failure) {
        struct quic_conn *server = stage_server_conn(&stage), *client = stage.t.client;
        if (client && client->handshake_confirmed) {
            if (!client->stats.key_updates && quic_conn_update_keys(client) != ERR_OK)
                sim_fail(world, "a client that has confirmed may not update");
            if (server && seed / 4 % 2)
                quic_conn_update_keys(server);
            updated = true;
        }
        stage_wait(&stage, BASE_MS / 4);
    }
    stage_finish(&stage);
    if (updated && (!stage.t.client_stats.key_updates || !stage.t.server_stats.key_updates))
        sim_fail(world, "the update was not followed");
    if (!updated)
        sim_fail(world, "no update was made");
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"key-updates", "updates by either side and both, again and again, clean and lossy", 60, run_updates},
    {"early-update", "a server's first key update waits for the client to confirm the handshake", 40, run_early_update},
    {"prompt-update", "the first packets after the handshake are of the next key phase", 40, run_prompt_update},
    {"worn-key", "a key that is half worn out is replaced in mid transfer", 40, run_worn_key},
};
SCENARIOS(scenarios_keys, list);
