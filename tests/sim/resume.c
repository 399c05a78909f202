/* resume.c - Careful Resume in a network: what a saved window is worth, what it costs where the path has become slow
 * meanwhile, and that nobody gets a server to jump who was not given the token, or twice.
 *
 * A client downloads much and keeps the newest token; then it comes back. The figures are of virtual time, the same on
 * every machine, and each is held to a least or a most.
 */
#include <stdio.h>

#include "stage.h"

#define MEGABYTE (UINT64_C(1000) * 1000)

static struct kept {
    uint8_t token[CRYPTO_TOKEN_MAX + 4];
    size_t token_len;
    uint8_t session[16384];
    size_t session_len;
} kept;

static void keep_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    if (bits & QUIC_CONN_EV_TOKEN) {
        memcpy(kept.token, conn->new_token, conn->new_token_len);
        kept.token_len = conn->new_token_len;
    }
    if ((bits & QUIC_CONN_EV_SESSION) && conn->session_len <= sizeof kept.session) {
        memcpy(kept.session, conn->session, conn->session_len);
        kept.session_len = conn->session_len;
    }
    transfer_client_app.on_conn(node, conn, bits);
}

static struct sim_app client_app;

/* 100 Mbit/s and 200 ms, limits that do not stand in the way, and a first download of 30 MB. */
static void first_visit(struct stage *stage, struct sim_world *world, uint64_t seed, bool up) {
    stage_init(stage, world, seed);
    world->unchecked = true;
    memset(&kept, 0, sizeof kept);
    stage->link = (struct sim_link){.delay = 100 * BASE_MS, .bits_per_second = 100000000, .queue = 100 * BASE_MS};
    struct options *sides[] = {&stage->client, &stage->server};
    for (unsigned i = 0; i < 2; i++) {
        sides[i]->careful_resume = 1;
        sides[i]->congestion_control = seed % 2;
        sides[i]->initial_max_data = sides[i]->max_data_window = 64 << 20;
        sides[i]->initial_max_stream_data_bidi_local = sides[i]->initial_max_stream_data_bidi_remote =
            sides[i]->max_stream_data_window = 64 << 20;
        sides[i]->stream_send_buffer = 8 << 20;
    }
    stage->t.upload = up ? 30 * MEGABYTE : 1000;
    stage->t.download = up ? 1000 : 30 * MEGABYTE;
    stage_open(stage);
    client_app = transfer_client_app;
    client_app.on_conn = keep_conn;
    stage->c->app = &client_app;
    stage_finish(stage);
    stage_wait(stage, 5 * BASE_SEC);
}

/* Comes back; the seconds it takes. */
static double next_visit(struct stage *stage, bool token, bool session, uint64_t upload, uint64_t download) {
    struct quic_connect connect = {.config = stage->cc,
                                   .socket = &stage->c->socket,
                                   .local = stage->c->socket.local,
                                   .remote = stage->s->socket.local,
                                   .server_name = "sim.test",
                                   .token = token ? kept.token : NULL,
                                   .token_len = token ? kept.token_len : 0,
                                   .session = session ? kept.session : NULL,
                                   .session_len = session ? kept.session_len : 0};
    base_time begun = stage->world->now;
    stage->t = (struct transfer){.streams = 1, .upload = upload, .download = download, .close_when_done = true};
    int result = quic_conn_connect(&stage->c->endpoint, &connect, stage->world->now, &stage->t.client, NULL);
    if (result)
        sim_fail(stage->world, "connect: %d", result);
    else
        stage_finish(stage);
    double span = (double)(stage->t.done_at - begun) / 1e9;
    stage_wait(stage, 5 * BASE_SEC);
    return span;
}

static void expect(struct stage *stage, const struct conn_stats *stats, uint64_t tried, uint64_t validated,
                   uint64_t refused) {
    if (stats->resumes_tried != tried || stats->resumes_validated != validated || stats->resumes_refused != refused ||
        stats->resumes_retreated)
        sim_fail(stage->world, "%llu jumps, %llu good, %llu retreats, %llu refused; not %llu, %llu, 0, %llu",
                 (unsigned long long)stats->resumes_tried, (unsigned long long)stats->resumes_validated,
                 (unsigned long long)stats->resumes_retreated, (unsigned long long)stats->resumes_refused,
                 (unsigned long long)tried, (unsigned long long)validated, (unsigned long long)refused);
}

/* 5 MB down with a server's token, or up with a client's session. */
static void run_faster(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    bool up = (seed - 1) / 2 % 2;
    uint64_t upload = up ? 5 * MEGABYTE : 1000, download = up ? 1000 : 5 * MEGABYTE;
    first_visit(&stage, world, seed, up);
    double fresh = next_visit(&stage, false, false, upload, download);
    expect(&stage, up ? &stage.t.client_stats : &stage.t.server_stats, 0, 0, 0);
    stage_close(&stage); /* what the short visit has saved is not to be compared */
    first_visit(&stage, world, seed, up);
    double resumed = next_visit(&stage, true, true, upload, download);
    expect(&stage, up ? &stage.t.client_stats : &stage.t.server_stats, 1, 1, 0);
    printf("    5 MB %s, %s: %.2f s, and %.2f s with the window saved: %.2f times as fast\n", up ? "up" : "down",
           seed % 2 ? "newreno" : "cubic", fresh, resumed, fresh / resumed);
    if (fresh < 1.3 * resumed)
        sim_fail(world, "%.2f s, and %.2f s with a saved window", fresh, resumed);
    stage_close(&stage);
}

static double rate_of(struct stage *stage, const struct transfer *rival, base_time span) {
    uint64_t before = rival->received;
    stage_wait(stage, span);
    return (double)(rival->received - before) * 8e9 / (double)span;
}

static struct quic_conn *jumped_conn(struct stage *stage) {
    const struct base_list *all = &stage->s->endpoint.conns;
    for (struct base_node *at = base_list_first(all); at; at = base_list_next(all, at)) {
        struct quic_conn *conn = BASE_CONTAINER(at, struct quic_conn, all);
        if (conn->stats.resumes_tried)
            return conn;
    }
    return NULL;
}

/* The path has a tenth of its rate, and another flow on it. Not more than the jump is lost; the window falls below what
 * was proven; and the other has its share back soon. */
static void run_retreat(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    struct transfer rival = {.streams = 1, .upload = 1000, .download = 200 * MEGABYTE};
    first_visit(&stage, world, seed, false);
    struct kept good = kept;
    stage.s->links[stage.c->index].bits_per_second = 10000000;
    rival.client = sim_connect(stage.c, stage.s, stage.cc, &rival);
    stage_wait(&stage, 15 * BASE_SEC);
    double alone = rate_of(&stage, &rival, 5 * BASE_SEC);
    stage.t = (struct transfer){.streams = 1, .upload = 1000, .download = 50 * MEGABYTE};
    struct quic_connect connect = {.config = stage.cc,
                                   .socket = &stage.c->socket,
                                   .local = stage.c->socket.local,
                                   .remote = stage.s->socket.local,
                                   .server_name = "sim.test",
                                   .token = good.token,
                                   .token_len = good.token_len};
    if (quic_conn_connect(&stage.c->endpoint, &connect, world->now, &stage.t.client, NULL))
        sim_fail(world, "connect");
    stage_wait(&stage, 3 * BASE_SEC);
    struct quic_conn *conn = jumped_conn(&stage);
    double after = rate_of(&stage, &rival, 10 * BASE_SEC);
    if (!conn || conn->stats.resumes_retreated != 1 || conn->stats.resumes_validated) {
        sim_fail(world, "the server %s", conn ? "did not retreat" : "did not jump");
    } else {
        const struct quic_path_control *control = &quic_path_active(conn)->control;
        uint64_t lost = conn->stats.packets_lost * 1452, most = stage.server.careful_resume_most;
        printf(
            "    %s at a tenth of the rate: %llu packets lost; the other flow %.1f Mbit/s before, %.1f from 3 s on\n",
            seed % 2 ? "newreno" : "cubic", (unsigned long long)conn->stats.packets_lost, alone / 1e6, after / 1e6);
        if (lost > most || control->cc.window > most / 2)
            sim_fail(world, "%llu bytes lost, window %llu", (unsigned long long)lost,
                     (unsigned long long)control->cc.window);
    }
    if (after < 0.25 * alone)
        sim_fail(world, "the other flow has %.2f Mbit/s of %.2f", after / 1e6, alone / 1e6);
    stage_close(&stage);
}

static enum quic_admit trust(const struct quic_admission *admission, enum quic_token_kind kind,
                             const struct quic_addr *remote, const uint8_t *token, size_t len) {
    (void)admission, (void)kind, (void)remote, (void)token, (void)len;
    return QUIC_ADMIT_PROVEN;
}

static const struct quic_admission trusting = {.judge = trust};

/* A token makes one jump, at its address, unchanged, in time, and where it was issued. */
static void run_attack(struct sim_world *world, uint64_t seed) {
    struct stage stage;
    struct kept good;
    first_visit(&stage, world, seed, false);
    good = kept;
    kept.token[4 + sim_roll(&stage.dice) % (kept.token_len - 4)] ^= 1; /* forged */
    next_visit(&stage, true, false, 1000, MEGABYTE);
    expect(&stage, &stage.t.server_stats, 0, 0, 0);
    kept = good;
    stage.c->seen_as = stage.c->socket.local; /* stolen: from another address */
    stage.c->seen_as.ip[3] ^= 64;
    next_visit(&stage, true, false, 1000, MEGABYTE);
    expect(&stage, &stage.t.server_stats, 0, 0, 0);
    kept = good;
    stage.sc->admission = &trusting; /* as good as proven, but still not the address of the token */
    next_visit(&stage, true, false, 1000, MEGABYTE);
    expect(&stage, &stage.t.server_stats, 0, 0, 0);
    stage.sc->admission = NULL;
    stage.c->seen_as.family = 0;
    kept = good;
    next_visit(&stage, true, false, 1000, 5 * MEGABYTE);
    expect(&stage, &stage.t.server_stats, 1, 1, 0);
    kept = good; /* again */
    next_visit(&stage, true, false, 1000, 5 * MEGABYTE);
    expect(&stage, &stage.t.server_stats, 0, 0, 1);
    stage_close(&stage);
    first_visit(&stage, world, seed, false);
    stage_wait(&stage, 3601 * BASE_SEC); /* too late */
    good = kept;
    next_visit(&stage, true, false, 1000, 5 * MEGABYTE);
    expect(&stage, &stage.t.server_stats, 0, 0, 1);
    kept = good;
    stage_wait(&stage, 24 * 3600 * BASE_SEC); /* for the token, too */
    next_visit(&stage, true, false, 1000, 5 * MEGABYTE);
    expect(&stage, &stage.t.server_stats, 0, 0, 0);
    stage_close(&stage);
    first_visit(&stage, world, seed, false);
    stage_wait(&stage, 1 * BASE_SEC);
    sim_node_restart(stage.s); /* nobody knows whether it was used */
    next_visit(&stage, true, false, 1000, 5 * MEGABYTE);
    expect(&stage, &stage.t.server_stats, 0, 0, 1);
    stage_close(&stage);
}

static const struct scenario list[] = {
    {"resume-faster", "a saved window makes 5 MB at 100 Mbit/s and 200 ms a third faster", 4, run_faster},
    {"resume-retreat", "where the path has a tenth of its rate, the jump ends and the other flow keeps its share", 2,
     run_retreat},
    {"resume-attack", "no forged, stolen, repeated or old token makes a server jump", 2, run_attack},
};
SCENARIOS(scenarios_resume, list);
