/* stage.c - see stage.h. One stage runs at a time: the world's `done` question has no other way to find it. */
#include "stage.h"

static struct stage *present;

static bool both_closed(struct sim_world *world) {
    (void)world;
    return present->t.client_closed && present->t.server_closed;
}

void stage_init(struct stage *stage, struct sim_world *world, uint64_t seed) {
    *stage = (struct stage){.world = world, .dice = {seed ^ UINT64_C(0x5ce7a810)}};
    stage->link = (struct sim_link){.delay = 10 * BASE_MS, .bits_per_second = 100000000};
    stage->t = (struct transfer){.streams = 1, .upload = 1000, .download = 1 << 20, .close_when_done = true};
    options_init(&stage->client);
    options_init(&stage->server);
}

void stage_bad_link(struct stage *stage, double loss) {
    stage->link.loss = loss;
    stage->link.reorder = loss / 2;
    stage->link.duplicate = loss / 5;
    stage->link.corrupt = loss / 10;
}

void stage_open(struct stage *stage) {
    present = stage;
    stage->cc = sim_config(CRYPTO_CLIENT, &stage->client);
    stage->sc = stage->large_chain ? sim_config_large(&stage->server) : sim_config(CRYPTO_SERVER, &stage->server);
    stage->c = sim_node_add(stage->world, &transfer_client_app, stage->limit);
    stage->s = sim_node_add(stage->world, &transfer_server_app, stage->limit);
    stage->c->user = stage->s->user = &stage->t;
    sim_join(stage->c, stage->s, &stage->link);
    if (stage->back.delay)
        stage->s->links[stage->c->index] = stage->back;
    sim_listen(stage->s, stage->sc);
    stage->t.client = sim_connect(stage->c, stage->s, stage->cc, NULL);
}

bool stage_run(struct stage *stage, base_time span) {
    return sim_run(stage->world, stage->world->now + span, both_closed);
}

void stage_wait(struct stage *stage, base_time span) {
    base_time until = stage->world->now + span;
    sim_run(stage->world, until, NULL);
    if (stage->world->now < until && !stage->world->failure)
        stage->world->now = until;
}

void stage_finish(struct stage *stage) {
    const struct transfer *t = &stage->t;
    stage_run(stage, 600 * BASE_SEC);
    if (!transfer_done(t))
        sim_fail(stage->world,
                 "%u of %u streams finished, %llu bytes, connected %d, client closed %d (cause %u code %llu %.*s), "
                 "server closed %d (cause %u code %llu %.*s)",
                 t->finished, t->streams, (unsigned long long)t->received, t->connected, t->client_closed,
                 t->client_close.cause, (unsigned long long)t->client_close.code, t->client_close.reason_len,
                 t->client_close.reason, t->server_closed, t->server_close.cause,
                 (unsigned long long)t->server_close.code, t->server_close.reason_len, t->server_close.reason);
    else if (t->close_when_done && t->client_close.cause != QUIC_CAUSE_LOCAL)
        sim_fail(stage->world, "client closed with cause %u code %llu", t->client_close.cause,
                 (unsigned long long)t->client_close.code);
    else if (t->close_when_done && (!t->server_closed || (t->server_close.cause != QUIC_CAUSE_PEER &&
                                                          t->server_close.cause != QUIC_CAUSE_IDLE)))
        sim_fail(stage->world, "server closed: %d, cause %u", t->server_closed, t->server_close.cause);
}

void stage_close(struct stage *stage) {
    sim_node_remove(stage->c);
    sim_node_remove(stage->s);
    sim_config_free(stage->cc);
    sim_config_free(stage->sc);
}

void stage_play(struct stage *stage) {
    stage_open(stage);
    stage_finish(stage);
    stage_close(stage);
}

base_time stage_time(struct stage *stage, base_time most) { return 1 + sim_roll(&stage->dice) % most; }

struct quic_conn *stage_server_conn(struct stage *stage) {
    struct base_node *first = stage->s->alive ? base_list_first(&stage->s->endpoint.conns) : NULL;
    return first ? BASE_CONTAINER(first, struct quic_conn, all) : NULL;
}
