/* attacks.c - somebody else is on the wire: replays, forged sources, garbage, mutations. None of it may disturb a
 * connection, end it, or move it. */
#include "stage.h"

static struct attack {
    struct stage *stage;
    double chance; /* of each datagram */
    bool replay, spoof, mutate, garbage, truncate;
    uint64_t injected;
    base_time from; /* not earlier */
} attack;

static struct quic_addr stranger(void) {
    struct quic_addr addr = {.family = 4, .ip = {192, 0, 2, (uint8_t)(1 + sim_roll(&attack.stage->dice) % 250)}};
    addr.port = (uint16_t)(1 + sim_roll(&attack.stage->dice) % 65000);
    return addr;
}

/* Copies what passes, changes it, and puts it on the wire again. */
static bool on_wire(struct sim_world *world, const struct sim_datagram *d) {
    struct sim_dice *dice = &attack.stage->dice;
    if (!d->to || world->now < attack.from || !sim_chance(dice, attack.chance))
        return true;
    if (attack.mutate && (d->data[0] & 0x80) && d->len > 5 && !base_load_u32(d->data + 1))
        return true; /* it can end a handshake, or be found out: version-forged, -downgrade */
    uint8_t copy[2048];
    size_t len = d->len < sizeof copy ? d->len : sizeof copy;
    memcpy(copy, d->data, len);
    struct quic_addr src = d->src;
    if (attack.mutate)
        for (unsigned n = 1 + (unsigned)(sim_roll(dice) % 4); n; n--)
            copy[sim_roll(dice) % (n % 2 && len > 40 ? 40 : len)] = (uint8_t)sim_roll(dice);
    if (attack.truncate)
        len = 1 + sim_roll(dice) % len;
    if (attack.garbage) {
        len = 1 + sim_roll(dice) % 1500;
        size_t keep = sim_roll(dice) % 24; /* first bytes as they were: it gets to the connection */
        for (size_t i = keep; i < len; i++)
            copy[i] = (uint8_t)sim_roll(dice);
    }
    if (attack.spoof)
        src = stranger();
    attack.injected++;
    base_time delay = sim_roll(dice) % (attack.replay ? 300 * BASE_MS : 9 * BASE_MS);
    if (attack.mutate || attack.truncate)
        sim_inject_changed(d->to, &src, copy, len, delay, d);
    else
        sim_inject(d->to, &src, copy, len, delay);
    return true;
}

static void begin(struct stage *stage, struct sim_world *world, uint64_t seed) {
    stage_init(stage, world, seed);
    attack = (struct attack){.stage = stage, .chance = 0.3};
    world->filter = on_wire;
    stage->link.loss = (double)(seed % 3) * 0.02;
    if (seed % 2)
        stage->t = (struct transfer){
            .streams = 3, .upload = 100000, .download = 100000, .eager = true, .close_when_done = true};
    else
        stage->t.download = 400000;
}

static void finish(struct stage *stage) {
    stage_finish(stage);
    if (!attack.injected)
        sim_fail(stage->world, "nothing was injected");
    if (stage->t.client_stats.key_updates || stage->t.server_stats.key_updates)
        sim_fail(stage->world, "an attacker has moved the keys on");
    stage_close(stage);
}

static void run_replay(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    attack.replay = true;
    stage_open(&stage);
    finish(&stage);
}

/* The connection may look at the stranger's address, and even move there for a moment if the copy comes first (9.3.3):
 * it must come back. */
static void run_spoof(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    attack.spoof = true;
    attack.replay = seed % 4 < 2;
    /* who overtakes a client's first Initial, and can see and be seen, has got its place (21.1.1.1): after that he has
     * not */
    attack.from = world->now + 60 * BASE_MS;
    stage.server.path_burst = 1 << 20; /* what is refused looks to the checker as if it had come */
    stage.link.loss = 0;
    stage_open(&stage);
    finish(&stage);
}

static void run_mutations(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    attack.mutate = true;
    attack.chance = 0.8;
    attack.spoof = seed % 4 == 0;
    attack.from = attack.spoof ? world->now + 60 * BASE_MS : 0;
    attack.truncate = seed % 3 == 0;
    stage.server.address_validation = seed % 5 == 0;
    stage_open(&stage);
    finish(&stage);
}

static void run_garbage(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    attack.garbage = true;
    attack.chance = 0.8;
    attack.spoof = seed % 2;
    stage.limit = 6 << 20;
    stage_open(&stage);
    finish(&stage);
}

/* ---- floods ---- */

/* Client Initials that are well formed but nobody's: the server's memory stays within its budget, and those who are
 * there are served. */
static void run_flood(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    attack = (struct attack){.stage = &stage};
    stage.limit = 3 << 20;
    stage.server.address_validation = seed % 2;
    stage.server.handshake_timeout = 2 * BASE_SEC;
    stage.t.download = 3 << 20;
    stage.link.bits_per_second = 40000000;
    stage_open(&stage);
    stage_wait(&stage, 100 * BASE_MS);
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 100; i++) {
            struct quic_addr src = stranger();
            uint8_t initial[1200] = {0xc0, 0, 0, 0, 1, 8};
            for (size_t n = 6; n < sizeof initial; n++)
                initial[n] = (uint8_t)sim_roll(&stage.dice);
            initial[14] = 0; /* no Source Connection ID, no token, a length that fits */
            initial[15] = 0;
            base_store_u16(initial + 16, 0x4000 | (sizeof initial - 18));
            sim_inject(stage.s, &src, initial, sizeof initial, i * BASE_US * 100);
        }
        stage_wait(&stage, 10 * BASE_MS);
    }
    stage_finish(&stage);
    if (stage.s->endpoint.conn_count > 1)
        sim_fail(world, "%u connections of nobody", stage.s->endpoint.conn_count);
    stage_close(&stage);
}

/* Copies of a true first Initial from many addresses: half-open connections, or Retry. The budget holds, the true
 * client gets in. */
static uint8_t first_initial[1500];
static size_t first_initial_len;
static bool keep_initial(struct sim_world *world, const struct sim_datagram *d) {
    (void)world;
    if (d->from->index == 0 && !first_initial_len && d->len <= sizeof first_initial) {
        memcpy(first_initial, d->data, d->len);
        first_initial_len = d->len;
    }
    return true;
}

static void run_half_open(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    stage_init(&stage, world, seed);
    attack = (struct attack){.stage = &stage};
    world->filter = keep_initial;
    first_initial_len = 0;
    stage.limit = 4 << 20;
    stage.server.max_connections = 50;
    stage.server.handshake_timeout = 2 * BASE_SEC;
    stage.client.handshake_timeout = 30 * BASE_SEC;
    stage_open(&stage);
    stage_wait(&stage, BASE_MS);
    for (unsigned i = 0; i < 200; i++) {
        /* the same client's Initial from elsewhere, before and after the true one: the first to come makes the
         * connection */
        struct quic_addr src = stranger();
        sim_inject(stage.s, &src, first_initial, first_initial_len, 10 * BASE_MS + stage_time(&stage, 200 * BASE_MS));
    }
    stage_finish(&stage);
    if (stage.s->endpoint.conn_count > 1)
        sim_fail(world, "%u connections", stage.s->endpoint.conn_count);
    stage_close(&stage);
}

/* Forged stateless resets, closes and acknowledgements without keys: short packets with random tails. */
static void run_forged_reset(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    begin(&stage, world, seed);
    world->filter = NULL;
    attack.injected = 1;
    stage_open(&stage);
    for (unsigned i = 0; i < 50 && !stage.t.client_closed; i++) {
        uint8_t reset[64];
        for (size_t n = 0; n < sizeof reset; n++)
            reset[n] = (uint8_t)sim_roll(&stage.dice);
        reset[0] = (uint8_t)((reset[0] & 0x3f) | 0x40);
        struct quic_conn *conn = stage.t.client;
        if (conn && seed % 2) /* with the right ID, but a wrong token */
            memcpy(reset + 1, conn->local_cids.list[0].cid.id, QUIC_LOCAL_CID_LEN);
        /* the true token, but from an address that the connection does not talk to */
        struct quic_addr src = stage.s->socket.local;
        if (conn && i % 2 && conn->remote_cids.list[0].has_token) {
            memcpy(reset + 48, conn->remote_cids.list[0].reset_token, 16);
            src = stranger();
            memset(reset + 1, 0xee, QUIC_LOCAL_CID_LEN);
        }
        sim_inject(stage.c, &src, reset, 21 + (i % 2 ? 43 : sim_roll(&stage.dice) % 43), 1);
        stage_wait(&stage, 3 * BASE_MS);
    }
    finish(&stage);
}

static const struct scenario list[] = {
    {"replay", "30 % of all datagrams come again up to 300 ms later", 40, run_replay},
    {"spoof", "copies from addresses of strangers: the connection stays with its peer", 60, run_spoof},
    {"mutations", "changed and cut copies of 80 % of all datagrams", 80, run_mutations},
    {"garbage", "noise behind true first bytes", 40, run_garbage},
    {"flood", "4,000 Initials of nobody: memory stays within 3 MiB, the transfer goes on", 6, run_flood},
    {"half-open", "a client's Initial, copied to come from 200 addresses", 20, run_half_open},
    {"forged-reset", "stateless resets with wrong tokens, or from wrong addresses", 20, run_forged_reset},
};
SCENARIOS(scenarios_attacks, list);
