/* test_recovery.c - probe time-outs, spaces and paths that end (RFC 9002 6.2), then random lives against a naive model
 * of the flight. */
#include "recovery_kit.h"

/* ---- probe time-out ---- */

START_TEST(pto_uses_variation_and_ack_delay_in_its_space)
{
    struct fixture *f = confirmed();
    f->path.rtt.variation = 10 * BASE_MS;
    app(f, START);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + (100 + 40 + 25) * BASE_MS);
    ck_assert_uint_eq(quic_recovery_pto(&f->r, QUIC_APPLICATION), 165 * BASE_MS);
    ck_assert_uint_eq(quic_recovery_pto(&f->r, QUIC_HANDSHAKE), 140 * BASE_MS);
    put(f, QUIC_HANDSHAKE, START + 5 * BASE_MS, true, true);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + 145 * BASE_MS); /* the soonest of both */
    f->path.rtt.variation = 0;
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + (5 + 100 + 1) * BASE_MS);
    teardown(f);
}
END_TEST

START_TEST(pto_runs_from_the_last_eliciting_packet)
{
    struct fixture *f = confirmed();
    app(f, START);
    app(f, START + 50 * BASE_MS);
    put(f, QUIC_APPLICATION, START + 80 * BASE_MS, false, true);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + (50 + 126) * BASE_MS);
    teardown(f);
}
END_TEST

START_TEST(no_application_pto_before_confirmation)
{
    struct fixture *f = setup(CRYPTO_SERVER);
    app(f, START);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), BASE_NEVER);
    put(f, QUIC_HANDSHAKE, START + BASE_MS, true, true);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + BASE_MS + 333 * BASE_MS + 4 * (333 * BASE_MS / 2));
    f->r.handshake_confirmed = true;
    quic_recovery_discard_space(&f->r, QUIC_HANDSHAKE);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START),
                      START + 333 * BASE_MS + 4 * (333 * BASE_MS / 2) + 25 * BASE_MS);
    teardown(f);
}
END_TEST

START_TEST(pto_backs_off_and_stops_at_a_minute)
{
    struct fixture *f = confirmed();
    app(f, START);
    base_time period = 126 * BASE_MS, now = START;
    for (uint32_t i = 0; i < 200; i++) {
        base_time at = quic_recovery_deadline(&f->r, now);
        ck_assert_uint_eq(at, START + period);
        now = at;
        quic_recovery_on_timeout(&f->r, now);
        ck_assert_uint_eq(f->stats.ptos, i + 1);
        ck_assert_uint_eq(f->r.probes[QUIC_APPLICATION], 2);
        period = period * 2 < QUIC_PTO_MAX ? period * 2 : QUIC_PTO_MAX;
        if (period == QUIC_PTO_MAX)
            now = START + period;
    }
    acked(f, 0, 0, now);
    ck_assert_uint_eq(f->r.pto_count, 0);
    ck_assert_uint_eq(f->r.probes[QUIC_APPLICATION], 0);
    teardown(f);
}
END_TEST

START_TEST(a_period_beyond_the_cap_is_not_shortened)
{
    struct fixture *f = confirmed();
    f->path.rtt.smoothed = 90 * BASE_SEC;
    app(f, START);
    f->r.pto_count = 5;
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + 90 * BASE_SEC + 26 * BASE_MS);
    teardown(f);
}
END_TEST

START_TEST(probes_are_counted_down_by_eliciting_packets)
{
    struct fixture *f = confirmed();
    app(f, START);
    quic_recovery_on_timeout(&f->r, START + 126 * BASE_MS);
    ck_assert_uint_eq(f->r.probes[QUIC_APPLICATION], 2);
    put(f, QUIC_APPLICATION, START + 126 * BASE_MS, false, false);
    ck_assert_uint_eq(f->r.probes[QUIC_APPLICATION], 2);
    app(f, START + 126 * BASE_MS);
    app(f, START + 126 * BASE_MS);
    ck_assert_uint_eq(f->r.probes[QUIC_APPLICATION], 0);
    app(f, START + 126 * BASE_MS);
    ck_assert_uint_eq(f->r.probes[QUIC_APPLICATION], 0);
    teardown(f);
}
END_TEST

START_TEST(probes_carry_the_oldest_content_once)
{
    struct fixture *f = confirmed();
    for (int i = 0; i < 4; i++)
        app(f, START);
    quic_recovery_on_timeout(&f->r, START + 126 * BASE_MS);
    ck_assert_uint_eq(f->told, 2);
    ck_assert_uint_eq(count_told(f, 0, QUIC_FATE_LOST), 1);
    ck_assert_uint_eq(count_told(f, 1, QUIC_FATE_LOST), 1);
    ck_assert_uint_eq(f->stats.packets_lost, 0); /* they are still in flight */
    ck_assert_uint_eq(f->path.bytes_in_flight, 4 * SIZE);
    quic_recovery_on_timeout(&f->r, START + 252 * BASE_MS); /* the next ones */
    ck_assert_uint_eq(count_told(f, 2, QUIC_FATE_LOST), 1);
    ck_assert_uint_eq(count_told(f, 0, QUIC_FATE_LOST), 1);
    app(f, START + 260 * BASE_MS);
    app(f, START + 260 * BASE_MS);
    acked(f, 5, 5, START + 300 * BASE_MS); /* now 0 .. 2 are lost by number: told already */
    ck_assert_uint_ge(f->stats.packets_lost, 3);
    ck_assert_uint_eq(count_told(f, 0, QUIC_FATE_LOST), 1);
    ck_assert_uint_eq(count_told(f, 2, QUIC_FATE_LOST), 1);
    teardown(f);
}
END_TEST

START_TEST(other_spaces_in_flight_are_probed_too)
{
    struct fixture *f = setup(CRYPTO_SERVER);
    put(f, QUIC_INITIAL, START, true, true);
    put(f, QUIC_HANDSHAKE, START + BASE_MS, true, true);
    app(f, START); /* 0.5-RTT data, but there are no keys to probe with */
    quic_recovery_on_timeout(&f->r, quic_recovery_deadline(&f->r, START));
    ck_assert_uint_eq(f->r.probes[QUIC_INITIAL], 2);
    ck_assert_uint_eq(f->r.probes[QUIC_HANDSHAKE], 2); /* each datagram has room for both */
    ck_assert_uint_eq(f->r.probes[QUIC_APPLICATION], 0);
    f->r.has_application_keys = true;
    quic_recovery_on_timeout(&f->r, quic_recovery_deadline(&f->r, START));
    ck_assert_uint_eq(f->r.probes[QUIC_APPLICATION], 1);
    ck_assert_int_eq(ack(f, QUIC_INITIAL, 0, 0, START + 10 * BASE_SEC), QUIC_NO_ERROR); /* and the probes with it */
    quic_recovery_on_timeout(&f->r, quic_recovery_deadline(&f->r, START + 10 * BASE_SEC));
    ck_assert_uint_eq(f->r.probes[QUIC_INITIAL], 0);
    ck_assert_uint_eq(f->r.probes[QUIC_HANDSHAKE], 2);
    ck_assert_uint_eq(f->r.probes[QUIC_APPLICATION], 1);
    teardown(f);
}
END_TEST

START_TEST(handshake_probes_end_with_those_of_the_initial_space)
{
    struct fixture *f = setup(CRYPTO_SERVER);
    put(f, QUIC_INITIAL, START, true, true);
    put(f, QUIC_HANDSHAKE, START, true, true);
    base_time now = quic_recovery_deadline(&f->r, START);
    quic_recovery_on_timeout(&f->r, now);
    put(f, QUIC_INITIAL, now, true, true); /* a datagram with an Initial that leaves no room */
    ck_assert_uint_eq(f->r.probes[QUIC_HANDSHAKE], 2);
    put(f, QUIC_INITIAL, now, true, true); /* one with both */
    put(f, QUIC_HANDSHAKE, now, true, true);
    ck_assert_uint_eq(f->r.probes[QUIC_HANDSHAKE], 0);
    ck_assert_int_eq(ack(f, QUIC_INITIAL, 1, 1, now), QUIC_NO_ERROR);
    quic_recovery_discard_space(&f->r, QUIC_INITIAL); /* alone, it has two of its own */
    now = quic_recovery_deadline(&f->r, now);
    quic_recovery_on_timeout(&f->r, now);
    put(f, QUIC_HANDSHAKE, now, true, true);
    ck_assert_uint_eq(f->r.probes[QUIC_HANDSHAKE], 1);
    teardown(f);
}
END_TEST

START_TEST(no_pto_while_amplification_blocked)
{
    struct fixture *f = setup(CRYPTO_SERVER);
    put(f, QUIC_HANDSHAKE, START, true, true);
    f->r.amplification_blocked = true;
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), BASE_NEVER);
    quic_recovery_on_timeout(&f->r, START + 100 * BASE_SEC);
    ck_assert_uint_eq(f->stats.ptos, 0);
    f->r.amplification_blocked = false;
    ck_assert_uint_lt(quic_recovery_deadline(&f->r, START), START + 2 * BASE_SEC);
    teardown(f);
}
END_TEST

START_TEST(a_client_keeps_the_server_able_to_speak)
{
    struct fixture *f = setup(CRYPTO_CLIENT);
    put(f, QUIC_INITIAL, START, true, true);
    ck_assert_int_eq(ack(f, QUIC_INITIAL, 0, 0, START + 100 * BASE_MS), QUIC_NO_ERROR);
    ck_assert_uint_eq(f->path.bytes_in_flight, 0);
    base_time at =
        START + 100 * BASE_MS + 100 * BASE_MS + 4 * 50 * BASE_MS; /* from the last event, whenever one asks */
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START + 150 * BASE_MS), at);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START + 250 * BASE_MS), at);
    quic_recovery_on_timeout(&f->r, at);
    ck_assert_uint_eq(f->r.probes[QUIC_INITIAL], 1);
    ck_assert_uint_eq(f->r.pto_count, 1);
    f->r.has_handshake_keys = true;
    put(f, QUIC_APPLICATION, at, true, true); /* 0-RTT in flight does not help: it has no PTO yet */
    ck_assert_uint_ne(quic_recovery_deadline(&f->r, at), BASE_NEVER);
    quic_recovery_on_timeout(&f->r, quic_recovery_deadline(&f->r, at));
    ck_assert_uint_eq(f->r.probes[QUIC_HANDSHAKE], 1);
    put(f, QUIC_HANDSHAKE, at + BASE_SEC, true, true);
    ck_assert_int_eq(ack(f, QUIC_HANDSHAKE, 0, 0, at + 2 * BASE_SEC), QUIC_NO_ERROR);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, at + 2 * BASE_SEC), BASE_NEVER); /* it has: no need any more */
    teardown(f);
}
END_TEST

START_TEST(a_server_does_not_probe_an_empty_flight)
{
    struct fixture *f = setup(CRYPTO_SERVER);
    put(f, QUIC_INITIAL, START, true, true);
    ck_assert_int_eq(ack(f, QUIC_INITIAL, 0, 0, START + 100 * BASE_MS), QUIC_NO_ERROR);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START + 100 * BASE_MS), BASE_NEVER);
    teardown(f);
}
END_TEST

START_TEST(a_server_asks_for_a_finished_that_is_lost)
{
    struct fixture *f = setup(CRYPTO_SERVER);
    base_time now = START + 100 * BASE_MS, at = now + 100 * BASE_MS + 4 * 50 * BASE_MS;
    f->r.finished_awaited = true; /* a datagram of which nothing is known but that it came */
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), BASE_NEVER);
    f->r.has_handshake_keys = true;
    put(f, QUIC_HANDSHAKE, START, true, true);
    ck_assert_int_eq(ack(f, QUIC_HANDSHAKE, 0, 0, now), QUIC_NO_ERROR);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, now), at);
    quic_recovery_on_timeout(&f->r, at);
    ck_assert_uint_eq(f->r.probes[QUIC_HANDSHAKE], 1);
    ck_assert_uint_eq(f->r.probes[QUIC_INITIAL], 0);
    put(f, QUIC_HANDSHAKE, at, true, true);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, at), at + 2 * (at - now)); /* backed off like any other */
    f->r.amplification_blocked = true;
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, at), BASE_NEVER);
    f->r.amplification_blocked = false;
    f->r.handshake_confirmed = true;
    ck_assert_int_eq(ack(f, QUIC_HANDSHAKE, 1, 1, at + BASE_MS), QUIC_NO_ERROR);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, at + BASE_MS), BASE_NEVER);
    teardown(f);
}
END_TEST

START_TEST(probes_carry_as_much_of_a_handshake_as_they_have_room_for)
{
    struct fixture *f = setup(CRYPTO_SERVER);
    static const uint32_t sizes[] = {1000, 1000, 200, 200, 200, 200};
    for (unsigned i = 0; i < 6; i++)
        put_of_size(f, QUIC_HANDSHAKE, START, true, true, sizes[i]);
    quic_recovery_on_timeout(&f->r, quic_recovery_deadline(&f->r, START));
    ck_assert_uint_eq(f->r.probes[QUIC_HANDSHAKE], 2);
    for (uint64_t i = 0; i < 6; i++) /* 2400 bytes; the rest stays for the next time */
        ck_assert_uint_eq(count_told(f, i, QUIC_FATE_LOST), i < 4);
    quic_recovery_on_timeout(&f->r, quic_recovery_deadline(&f->r, START));
    for (uint64_t i = 0; i < 6; i++)
        ck_assert_uint_eq(count_told(f, i, QUIC_FATE_LOST), 1);
    ck_assert_uint_eq(f->stats.packets_lost, 0);
    teardown(f);
}
END_TEST

START_TEST(backoff_restarts_only_for_validated_peers)
{
    struct fixture *f = setup(CRYPTO_CLIENT);
    put(f, QUIC_INITIAL, START, true, true);
    put(f, QUIC_INITIAL, START, true, true);
    f->r.pto_count = 3;
    ck_assert_int_eq(ack(f, QUIC_INITIAL, 0, 0, START + BASE_MS), QUIC_NO_ERROR);
    ck_assert_uint_eq(f->r.pto_count, 3); /* the server may still be limited by three times what it got */
    put(f, QUIC_HANDSHAKE, START, true, true);
    ck_assert_int_eq(ack(f, QUIC_HANDSHAKE, 0, 0, START + BASE_MS), QUIC_NO_ERROR);
    ck_assert_uint_eq(f->r.pto_count, 0);
    f->r.pto_count = 3;
    ck_assert_int_eq(ack(f, QUIC_HANDSHAKE, 0, 0, START + BASE_MS), QUIC_NO_ERROR);
    ck_assert_uint_eq(f->r.pto_count, 3); /* nothing new */
    teardown(f);
    f = setup(CRYPTO_SERVER);
    put(f, QUIC_INITIAL, START, true, true);
    f->r.pto_count = 3;
    ck_assert_int_eq(ack(f, QUIC_INITIAL, 0, 0, START + BASE_MS), QUIC_NO_ERROR);
    ck_assert_uint_eq(f->r.pto_count, 0);
    teardown(f);
}
END_TEST

/* ---- spaces and paths end ---- */

START_TEST(a_discarded_space_leaves_silently)
{
    struct fixture *f = setup(CRYPTO_SERVER);
    put(f, QUIC_INITIAL, START, true, true);
    put(f, QUIC_INITIAL, START, true, true);
    put(f, QUIC_HANDSHAKE, START, true, true);
    f->r.pto_count = 4;
    f->r.probes[QUIC_INITIAL] = 1;
    uint64_t used = f->mem.used;
    quic_recovery_discard_space(&f->r, QUIC_INITIAL);
    ck_assert_uint_eq(f->path.bytes_in_flight, SIZE);
    ck_assert_uint_eq(f->told, 0);
    ck_assert_uint_eq(f->stats.packets_lost, 0);
    ck_assert_uint_eq(f->r.pto_count, 0);
    ck_assert_uint_eq(f->r.probes[QUIC_INITIAL], 0);
    ck_assert_uint_lt(f->mem.used, used);
    ck_assert_uint_eq(quic_recovery_deadline(&f->r, START), START + 999 * BASE_MS); /* the Handshake packet's */
    teardown(f);
}
END_TEST

START_TEST(a_retry_sends_everything_again)
{
    struct fixture *f = setup(CRYPTO_CLIENT);
    put(f, QUIC_INITIAL, START, true, true);
    app(f, START); /* 0-RTT */
    uint64_t window = f->path.cc.window;
    quic_recovery_on_retry(&f->r);
    ck_assert_uint_eq(f->told, 2);
    ck_assert_uint_eq(f->journal[0].fate, QUIC_FATE_LOST);
    ck_assert_uint_eq(f->journal[1].fate, QUIC_FATE_LOST);
    ck_assert_uint_eq(f->path.bytes_in_flight, 0);
    ck_assert_uint_eq(f->path.cc.window, window);
    ck_assert_uint_eq(f->stats.packets_lost, 0);
    ck_assert_uint_eq(put(f, QUIC_INITIAL, START, true, true), 1); /* numbers go on */
    teardown(f);
}
END_TEST

START_TEST(rejected_early_data_goes_again)
{
    struct fixture *f = setup(CRYPTO_CLIENT);
    put(f, QUIC_INITIAL, START, true, true);
    app(f, START);
    app(f, START);
    quic_recovery_on_early_rejected(&f->r);
    ck_assert_uint_eq(f->told, 2);
    ck_assert_uint_eq(f->path.bytes_in_flight, SIZE);
    ck_assert_uint_eq(app(f, START), 2);
    teardown(f);
}
END_TEST

START_TEST(packets_of_another_path_do_not_touch_this_one)
{
    struct fixture *f = confirmed();
    quic_path_control_init(&f->other, &f->mem, &quic_cc_newreno, MTU, 10, false, false, 333 * BASE_MS);
    f->r.paths[1] = &f->other;
    for (int i = 0; i < 4; i++)
        app(f, START);
    f->r.active = 1;
    for (int i = 0; i < 4; i++)
        app(f, START + BASE_MS);
    ck_assert_uint_eq(f->path.bytes_in_flight, 4 * SIZE);
    ck_assert_uint_eq(f->other.bytes_in_flight, 4 * SIZE);
    uint64_t window = f->other.cc.window;
    acked(f, 1, 3, START + 100 * BASE_MS); /* 0 is lost on the old path */
    ck_assert_uint_eq(f->stats.packets_lost, 1);
    ck_assert(!f->other.rtt.sampled);
    ck_assert_uint_eq(f->other.cc.window, window);
    ck_assert_uint_eq(f->other.cc.events, 0);
    ck_assert_uint_eq(f->path.cc.events, 1);
    quic_recovery_forget_path(&f->r, 0);
    f->r.paths[0] = NULL;
    acked(f, 4, 7, START + 51 * BASE_MS);
    ck_assert_uint_eq(f->other.bytes_in_flight, 0);
    ck_assert_uint_eq(f->other.rtt.latest, 50 * BASE_MS);
    teardown(f);
}
END_TEST

START_TEST(a_forgotten_paths_index_may_be_used_again)
{
    struct fixture *f = confirmed();
    for (int i = 0; i < 6; i++)
        app(f, START);
    quic_recovery_forget_path(&f->r, 0);
    ck_assert_uint_eq(f->path.bytes_in_flight, 0);
    app(f, START); /* 6 */
    acked(f, 5, 6, START + 100 * BASE_MS);
    ck_assert_uint_eq(f->path.bytes_in_flight, 0);
    ck_assert_uint_eq(f->stats.packets_lost, 4);
    ck_assert_uint_eq(f->stats.congestion_events, 0);
    ck_assert_uint_eq(f->path.delivered, SIZE);
    teardown(f);
}
END_TEST

/* One entry has had more paths than an era can tell apart: what went on any but the last belongs to nobody. */
START_TEST(paths_without_end)
{
    struct fixture *f = confirmed();
    f->path.cc.window = UINT64_C(1) << 30;
    app(f, START);
    for (unsigned i = 0; i < 600; i++) {
        quic_recovery_forget_path(&f->r, 0);
        app(f, START);
        ck_assert_uint_eq(f->path.bytes_in_flight, SIZE);
    }
    uint64_t delivered = f->path.delivered;
    acked(f, 0, 599, START + 100 * BASE_MS);
    ck_assert_uint_eq(f->path.bytes_in_flight, SIZE);
    ck_assert_uint_eq(f->path.delivered, delivered);
    acked(f, 600, 600, START + 100 * BASE_MS);
    ck_assert_uint_eq(f->path.bytes_in_flight, 0);
    ck_assert_uint_eq(f->path.delivered, delivered + SIZE);
    teardown(f);
}
END_TEST

/* ---- random lives ---- */

#define LIVES 3000u
enum model_state { MODEL_OUT, MODEL_ACKED, MODEL_LOST, MODEL_GONE };
struct model_packet {
    uint8_t state, in_flight, acked_told, path;
};

struct model {
    struct fixture *f;
    struct model_packet packets[QUIC_SPACES][LIVES];
};

/* The frames' fates keep the model: what it says is in flight must be what recovery says. */
static void model_on_packet(void *user, enum quic_space space, uint64_t number, const struct quic_sent_packet *packet,
                            enum quic_fate fate) {
    struct model *m = (struct model *)user;
    struct model_packet *p = &m->packets[space][number];
    (void)packet;
    if (fate == QUIC_FATE_LOST ? p->state != MODEL_OUT : p->state != MODEL_OUT && p->state != MODEL_LOST)
        ck_abort_msg("space %d packet %u met %d in state %d", (int)space, (unsigned)number, (int)fate, p->state);
    p->state = fate == QUIC_FATE_ACKED ? MODEL_ACKED : MODEL_LOST;
}

static void model_on_frame(void *user, enum quic_space space, const struct quic_sent_frame *frame,
                           enum quic_fate fate) {
    struct model *m = (struct model *)user;
    struct model_packet *p = &m->packets[space][frame->value];
    if (fate == QUIC_FATE_ACKED && p->acked_told++)
        ck_abort_msg("space %d packet %u acknowledged twice", (int)space, (unsigned)frame->value);
}

static void model_check(struct model *m) {
    uint64_t flight[2] = {0};
    for (unsigned s = 0; s < QUIC_SPACES; s++) {
        uint32_t out = 0;
        for (uint64_t i = 0; i < m->f->r.spaces[s].next; i++) {
            const struct model_packet *p = &m->packets[s][i];
            if (p->state != MODEL_OUT || !p->in_flight)
                continue;
            out++;
            if (p->path < 2)
                flight[p->path] += SIZE;
        }
        ck_assert_uint_eq(out, m->f->r.spaces[s].outstanding);
    }
    ck_assert_uint_eq(flight[0], m->f->path.bytes_in_flight);
    ck_assert_uint_eq(flight[1], m->f->other.bytes_in_flight);
    ck_assert_uint_ge(m->f->path.cc.window, 2 * MTU);
}

/* An ACK of random ranges within what was sent, sometimes far back, sometimes repeating. */
static void model_ack(struct model *m, struct toolkit_dice *dice, enum quic_space space, base_time now) {
    uint64_t next = m->f->r.spaces[space].next, list[40][2], back = toolkit_pick(dice, 12);
    if (next == 0)
        return;
    uint64_t high = next - 1 > back ? next - 1 - back : 0;
    uint32_t count = 0;
    for (;;) {
        uint64_t len = toolkit_pick(dice, 30), low = high > len ? high - len : 0;
        list[count][0] = low;
        list[count++][1] = high;
        uint64_t gap = 2 + toolkit_pick(dice, 4);
        if (count == 40 || low < gap || toolkit_pick(dice, 12) == 0)
            break;
        high = low - gap;
    }
    ck_assert_int_eq(quic_recovery_on_ack(&m->f->r, space, ack_ranges((const uint64_t(*)[2])list, count), 0, now),
                     QUIC_NO_ERROR);
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t n = list[i][0]; n <= list[i][1]; n++)
            if (m->packets[space][n].state == MODEL_OUT && m->packets[space][n].in_flight)
                ck_abort_msg("space %d packet %u was told and is still out", (int)space, (unsigned)n);
}

START_TEST(flight_agrees_with_the_naive_sum)
{
    static struct model model;
    static const struct quic_recovery_events model_events = {model_on_frame, model_on_packet};
    struct model *m = &model;
    struct toolkit_dice dice = {(uint64_t)_i * 7919 + 1};
    memset(m, 0, sizeof *m);
    struct fixture *f = m->f = confirmed();
    quic_path_control_init(&f->path, &f->mem, _i % 2 ? &quic_cc_cubic : &quic_cc_newreno, MTU, 10, true, true,
                           333 * BASE_MS);
    quic_path_control_init(&f->other, &f->mem, &quic_cc_cubic, MTU, 10, true, true, 333 * BASE_MS);
    f->r.paths[1] = &f->other;
    f->r.events = &model_events;
    f->r.user = m;
    base_time now = START;
    for (int step = 0; step < 4000; step++) {
        uint32_t what = toolkit_pick(&dice, 100);
        enum quic_space space = step < 400 ? (enum quic_space)toolkit_pick(&dice, 3) : QUIC_APPLICATION;
        now += toolkit_pick(&dice, 20) ? toolkit_roll(&dice) % (3 * BASE_MS) : toolkit_roll(&dice) % (300 * BASE_MS);
        if (what < 70 && f->r.spaces[space].next < LIVES) {
            bool in_flight = toolkit_pick(&dice, 6) != 0, eliciting = in_flight && toolkit_pick(&dice, 8) != 0;
            uint64_t number = put(f, space, now, eliciting, in_flight);
            m->packets[space][number] = (struct model_packet){.in_flight = in_flight, .path = f->r.active};
        } else if (what < 90) {
            model_ack(m, &dice, space, now);
        } else if (what < 97) {
            base_time at = quic_recovery_deadline(&f->r, now);
            if (at != BASE_NEVER)
                now = at > now ? at : now;
            quic_recovery_on_timeout(&f->r, now);
        } else if (what == 97) {
            f->r.active ^= 1;
        }
        if (step == 400 || (step == 2000 && _i % 3 == 0)) {
            for (unsigned s = 0; s < (step == 400 ? 2u : 3u); s++) {
                if (s < 2 && step != 400)
                    continue;
                for (uint64_t i = 0; i < f->r.spaces[s].next; i++)
                    m->packets[s][i].state = m->packets[s][i].state == MODEL_OUT ? MODEL_GONE : m->packets[s][i].state;
                if (s < 2)
                    quic_recovery_discard_space(&f->r, (enum quic_space)s);
                else
                    quic_recovery_on_early_rejected(&f->r);
            }
        }
        if (step == 3000) {
            quic_recovery_forget_path(&f->r, 1);
            for (unsigned s = 0; s < QUIC_SPACES; s++)
                for (uint64_t i = 0; i < f->r.spaces[s].next; i++)
                    if (m->packets[s][i].path == 1)
                        m->packets[s][i].path = 2;
        }
        if (step % 16 == 0)
            model_check(m);
    }
    model_check(m);
    teardown(f);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const tests[] = {pto_uses_variation_and_ack_delay_in_its_space,
                                  pto_runs_from_the_last_eliciting_packet,
                                  no_application_pto_before_confirmation,
                                  pto_backs_off_and_stops_at_a_minute,
                                  a_period_beyond_the_cap_is_not_shortened,
                                  probes_are_counted_down_by_eliciting_packets,
                                  probes_carry_the_oldest_content_once,
                                  other_spaces_in_flight_are_probed_too,
                                  handshake_probes_end_with_those_of_the_initial_space,
                                  no_pto_while_amplification_blocked,
                                  a_client_keeps_the_server_able_to_speak,
                                  a_server_does_not_probe_an_empty_flight,
                                  a_server_asks_for_a_finished_that_is_lost,
                                  probes_carry_as_much_of_a_handshake_as_they_have_room_for,
                                  backoff_restarts_only_for_validated_peers,
                                  a_discarded_space_leaves_silently,
                                  a_retry_sends_everything_again,
                                  rejected_early_data_goes_again,
                                  packets_of_another_path_do_not_touch_this_one,
                                  a_forgotten_paths_index_may_be_used_again,
                                  paths_without_end};
    Suite *suite = TOOLKIT_SUITE("recovery", tests);
    TCase *model = tcase_create("model");
    tcase_add_loop_test(model, flight_agrees_with_the_naive_sum, 0, 30);
    suite_add_tcase(suite, model);
    return suite;
}
