/* test_stream.c - two sets of streams wired together by frames, over a network that loses and reorders.
 *
 * Each side has an application that writes what can be computed from the stream's ID and the offset, and checks what it
 * reads. Whatever happens on the way, everything arrives, credit is exact at both ends, and all memory comes back.
 */
#include "quic/stream.h"

#include "base/toolkit.h"
#include "tables/errors.h"

#define PACKETS 64u
#define PACKET_SIZE 1200u
#define STREAMS 4096u

struct app_stream {
    uint64_t handle;
    uint64_t to_write, written, read;
    uint64_t lent, released;
    uint32_t seen; /* events */
    bool finished, ended, closed;
};

struct packet {
    uint64_t number;
    size_t len;
    uint8_t bytes[PACKET_SIZE];
};

struct side {
    struct toolkit_heap heap;
    struct base_mem mem;
    struct base_slots slots;
    struct base_events events;
    struct base_bufpool bufs;
    struct options options;
    struct conn_stats stats;
    struct quic_streams set;
    struct quic_sent log;
    struct packet flying[PACKETS];
    unsigned flying_count;
    struct app_stream *streams; /* by ID */
    uint64_t reply;             /* bytes to answer a bidirectional stream with */
    bool greedy;                /* reads everything at once */
    unsigned available;
    int error; /* the first that a frame of the other side's caused */
};

struct world {
    struct side client, server;
    struct toolkit_dice dice;
    unsigned loss; /* in percent */
    bool lend;     /* write by reference */
    bool orderly;  /* packets arrive in the order they were sent */
    base_time now;
};

static uint8_t lendable[65536];

static void fill(uint64_t id, uint64_t offset, uint8_t *out, size_t len) {
    for (size_t i = 0; i < len; i++, offset++)
        out[i] = (uint8_t)(id * 59 + offset * 7 + (offset >> 8));
}

static void on_available(void *user) { ((struct side *)user)->available++; }

static void side_init(struct side *s, enum crypto_role role) {
    memset(s, 0, sizeof *s);
    s->mem = toolkit_mem(&s->heap, 0);
    base_slots_init(&s->slots, &s->mem, 1);
    base_events_init(&s->events);
    base_bufpool_init(&s->bufs, &s->mem, PACKETS, 0);
    s->options = (struct options){.initial_max_data = 30000,
                                  .initial_max_stream_data_bidi_local = 10000,
                                  .initial_max_stream_data_bidi_remote = 10000,
                                  .initial_max_stream_data_uni = 8000,
                                  .max_data_window = 200000,
                                  .max_stream_data_window = 60000,
                                  .initial_max_streams_bidi = 16,
                                  .initial_max_streams_uni = 4,
                                  .stream_send_buffer = 20000};
    static const uint8_t secret[16] = {1};
    quic_streams_init(&s->set, &s->mem, &s->slots, &s->events, &s->stats, &s->options, role, 1, secret);
    s->set.on_available = on_available;
    s->set.user = s;
    quic_sent_init(&s->log);
    s->streams = (struct app_stream *)calloc(STREAMS, sizeof *s->streams);
    ck_assert_ptr_nonnull(s->streams);
    s->greedy = true;
}

static struct quic_params params_of(const struct options *o) {
    return (struct quic_params){.initial_max_data = o->initial_max_data,
                                .initial_max_stream_data_bidi_local = o->initial_max_stream_data_bidi_local,
                                .initial_max_stream_data_bidi_remote = o->initial_max_stream_data_bidi_remote,
                                .initial_max_stream_data_uni = o->initial_max_stream_data_uni,
                                .initial_max_streams_bidi = o->initial_max_streams_bidi,
                                .initial_max_streams_uni = o->initial_max_streams_uni};
}

static void world_start(struct world *w) {
    struct quic_params of_server = params_of(&w->server.options), of_client = params_of(&w->client.options);
    quic_streams_set_peer(&w->client.set, &of_server);
    quic_streams_set_peer(&w->server.set, &of_client);
}

static void world_init(struct world *w, uint64_t seed) {
    memset(w, 0, sizeof *w);
    side_init(&w->client, CRYPTO_CLIENT);
    side_init(&w->server, CRYPTO_SERVER);
    w->dice.state = seed;
    w->now = BASE_SEC;
}

static void side_clear(struct side *s) {
    s->heap.left = -1;
    quic_streams_clear(&s->set);
    ck_assert(base_list_empty(&s->events.line));
    ck_assert_uint_eq(s->slots.live, 0);
    base_slots_clear(&s->slots);
    quic_sent_clear(&s->log, &s->mem);
    base_bufpool_clear(&s->bufs);
    toolkit_all_back(&s->heap, &s->mem);
    free(s->streams);
}

static void world_clear(struct world *w) {
    side_clear(&w->client);
    side_clear(&w->server);
}

/* ---- the application ---- */

static struct app_stream *app_of(struct side *side, const struct quic_stream *s) {
    ck_assert_uint_lt(s->id, STREAMS);
    return &side->streams[s->id];
}

static void app_write(struct world *w, struct side *side, struct quic_stream *s) {
    struct app_stream *a = app_of(side, s);
    while (!a->finished) {
        static uint8_t data[5000];
        size_t len = a->to_write - a->written < sizeof data ? (size_t)(a->to_write - a->written) : sizeof data;
        bool last = a->written + len == a->to_write;
        int64_t taken;
        if (w->lend) {
            taken = quic_stream_write_reference(s, lendable, len, a->lent, last);
            if (taken == 0) {
                a->lent++;
                taken = (int64_t)len;
            }
        } else {
            fill(s->id, a->written, data, len);
            taken = quic_stream_write(s, data, len, last);
        }
        if (taken < 0)
            return; /* blocked, out of memory or reset: events or later turns tell */
        a->written += (uint64_t)taken;
        a->finished = last && (size_t)taken == len;
        if ((size_t)taken < len)
            return;
    }
}

static void app_read(struct world *w, struct side *side, struct quic_stream *s) {
    struct app_stream *a = app_of(side, s);
    struct quic_slice slices[4];
    size_t n;
    while ((n = quic_stream_peek(s, slices, 4)) > 0) {
        uint64_t len = 0;
        static uint8_t data[65536];
        for (size_t i = 0; i < n; i++) {
            if (!w->lend) {
                fill(s->id, a->read + len, data, slices[i].len);
                ck_assert_mem_eq(slices[i].data, data, slices[i].len);
            }
            len += slices[i].len;
        }
        if (!side->greedy)
            len = toolkit_pick(&w->dice, (uint32_t)len + 1);
        a->read += len;
        ck_assert_int_eq(quic_stream_consume(s, len, 10 * BASE_MS, w->now), 0);
        if (!side->greedy && !toolkit_pick(&w->dice, 4))
            break;
    }
    if (!quic_stream_peek(s, slices, 1) && !(quic_stream_is_uni(s->id) && quic_stream_is_of(s->id, side->set.role)))
        ck_assert_int_eq(quic_stream_consume(s, 0, 0, w->now), 0);
    a->ended = quic_stream_recv_at_end(&s->recv);
    if (!a->ended && s->recv.ready > s->recv.taken) {
        quic_stream_pause(s, true); /* and on: READABLE comes again */
        quic_stream_pause(s, false);
    }
}

static void app_hear(struct world *w, struct side *side, struct quic_stream *s, uint32_t bits) {
    struct app_stream *a = app_of(side, s);
    ck_assert(!a->closed);
    a->seen |= bits;
    a->handle = s->handle;
    if (bits & QUIC_STREAM_EV_OPENED && !quic_stream_is_uni(s->id)) {
        a->to_write = side->reply;
        app_write(w, side, s);
    }
    if (bits & QUIC_STREAM_EV_READABLE)
        app_read(w, side, s);
    if (bits & QUIC_STREAM_EV_WRITABLE)
        app_write(w, side, s);
    if (bits & QUIC_STREAM_EV_RELEASED) {
        a->released += s->released_count;
        s->released_count = 0;
    }
    if (bits & QUIC_STREAM_EV_CLOSED) {
        a->closed = true;
        quic_stream_told_closed(s);
    }
}

static void side_dispatch(struct world *w, struct side *side) {
    uint32_t bits;
    struct base_event *event;
    unsigned most = 1000;
    while (most-- && (event = base_events_pop(&side->events, &bits)) != NULL) {
        struct quic_stream *s = quic_stream_of(&side->slots, event->handle);
        ck_assert_ptr_nonnull(s);
        app_hear(w, side, s, bits);
    }
    quic_streams_compact(&side->set);
    quic_streams_reap(&side->set);
}

/* ---- the network ---- */

static bool side_send(struct side *side, size_t size) {
    if (side->flying_count == PACKETS || !quic_sent_open(&side->log, &side->mem))
        return false;
    struct packet *p = &side->flying[side->flying_count];
    struct base_writer out = base_writer_of(p->bytes, size);
    bool sendable = quic_streams_sendable(&side->set);
    bool wrote = quic_streams_tx(&side->set, &out, &side->log, true);
    if (size == PACKET_SIZE)
        ck_assert_int_eq(wrote, sendable); /* says so exactly when there is something to say */
    ck_assert(!out.bad);
    if (!wrote) {
        quic_sent_abort(&side->log);
        return false;
    }
    p->len = (size_t)(out.pos - p->bytes);
    p->number =
        quic_sent_commit(&side->log, &(struct quic_sent_packet){.bytes = 1, .eliciting = true, .in_flight = true});
    side->flying_count++;
    return true;
}

/* False: the packet counts as not received. */
static bool side_receive(struct world *w, struct side *to, const struct packet *p) {
    struct base_buf *buf = base_buf_get(&to->bufs);
    if (!buf)
        return false;
    memcpy(buf->data, p->bytes, p->len);
    struct base_reader in = base_reader_of(buf->data, p->len);
    int result = 0;
    while (base_reader_left(&in) && result == 0) {
        struct quic_frame frame;
        ck_assert_int_eq(quic_frame_parse(&in, &frame), 0);
        if (frame.type != QUIC_FRAME_PADDING)
            result = quic_streams_rx(&to->set, &frame, buf, w->now);
    }
    base_buf_unref(buf);
    if (result > 0 && !to->error)
        to->error = result;
    return result == 0;
}

static void side_settle(struct side *from, unsigned index, bool acked) {
    struct quic_sent_packet *packet = quic_sent_at(&from->log, from->flying[index].number);
    for (unsigned i = 0; i < packet->frame_count; i++) {
        struct quic_sent_frame frame = *quic_sent_frame_at(&from->log, packet, i);
        ck_assert(quic_streams_on_fate(&from->set, &frame, acked));
    }
    quic_sent_settle(&from->log, packet, QUIC_SENT_ACKED);
    packet->skip = 1;
    quic_sent_trim(&from->log, 0);
    from->flying_count--;
    memmove(&from->flying[index], &from->flying[index + 1], (from->flying_count - index) * sizeof *from->flying);
}

static void side_turn(struct world *w, struct side *from, struct side *to) {
    while (toolkit_pick(&w->dice, 8) && side_send(from, toolkit_pick(&w->dice, 10) ? PACKET_SIZE : 100))
        ;
    unsigned count = from->flying_count ? 1 + toolkit_pick(&w->dice, from->flying_count) : 0;
    while (count--) {
        unsigned i = w->orderly || toolkit_pick(&w->dice, 3) ? 0 : toolkit_pick(&w->dice, from->flying_count);
        bool lost = toolkit_pick(&w->dice, 100) < w->loss;
        bool arrived = (!lost || toolkit_pick(&w->dice, 2)) && side_receive(w, to, &from->flying[i]);
        side_settle(from, i, arrived && !lost); /* some that arrived count as lost: the ACK was */
    }
}

static bool side_quiet(const struct side *s) {
    return !s->flying_count && !quic_streams_sendable(&s->set) && base_list_empty(&s->events.line) &&
           base_list_empty(&s->set.closing);
}

static void world_turn(struct world *w) {
    side_turn(w, &w->client, &w->server);
    side_dispatch(w, &w->server);
    side_turn(w, &w->server, &w->client);
    side_dispatch(w, &w->client);
    w->now += BASE_MS;
}

static void world_run(struct world *w) {
    for (unsigned turn = 0; !side_quiet(&w->client) || !side_quiet(&w->server); turn++) {
        ck_assert_uint_lt(turn, 100000);
        world_turn(w);
    }
    ck_assert_int_eq(w->client.error, 0);
    ck_assert_int_eq(w->server.error, 0);
}

static struct quic_stream *must_open(struct side *side, bool uni) {
    struct quic_stream *s = NULL;
    ck_assert_int_eq(quic_streams_open(&side->set, uni, &s), 0);
    app_of(side, s)->handle = s->handle;
    return s;
}

static void request(struct world *w, struct side *side, bool uni, uint64_t bytes) {
    struct quic_stream *s = NULL;
    if (quic_streams_open(&side->set, uni, &s) != 0)
        return;
    *app_of(side, s) = (struct app_stream){.handle = s->handle, .to_write = bytes};
    app_write(w, side, s);
}

/* With no stream left, both ends count the same bytes, and all of them were taken. */
static void check_credit(const struct side *from, const struct side *to) {
    ck_assert_uint_eq(from->set.send_flow.used, to->set.recv_flow.received);
    ck_assert_uint_eq(to->set.recv_flow.received, to->set.recv_flow.consumed);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(to->set.kinds[i].open, 0);
        ck_assert_uint_eq(from->set.kinds[i].max, to->set.kinds[i].max);
    }
    ck_assert_uint_eq(from->set.send_flow.max, to->set.recv_flow.max); /* nothing about it is unsaid */
}

START_TEST(everything_arrives)
{
    for (uint64_t seed = 0; seed < 24; seed++) {
        static struct world w;
        world_init(&w, seed);
        w.loss = (unsigned)(seed % 4) * 10;
        w.server.reply = 30000;
        w.server.greedy = seed % 3 != 0;
        w.client.greedy = seed % 3 != 1;
        request(&w, &w.client, false, 10); /* before the peer's limits are known: refused */
        ck_assert(w.client.set.open_blocked);
        world_start(&w);
        ck_assert_uint_eq(w.client.available, 1);
        unsigned asked = 0;
        for (unsigned round = 0; round < 60; round++) {
            request(&w, &w.client, round % 2, toolkit_pick(&w.dice, 50000));
            request(&w, &w.server, round % 3, toolkit_pick(&w.dice, 3000));
            world_turn(&w);
        }
        world_run(&w);
        for (unsigned id = 0; id < STREAMS; id++) {
            struct app_stream *c = &w.client.streams[id], *s = &w.server.streams[id];
            if (!c->handle)
                continue;
            asked++;
            ck_assert(c->closed && s->closed);
            ck_assert_uint_eq(s->read, c->written);
            ck_assert_uint_eq(c->read, s->written);
            ck_assert(!(c->finished && !(c->seen & QUIC_STREAM_EV_FINISHED)));
            ck_assert(!(s->finished && !(s->seen & QUIC_STREAM_EV_FINISHED)));
        }
        ck_assert_uint_gt(asked, 30);
        check_credit(&w.client, &w.server);
        check_credit(&w.server, &w.client);
        world_clear(&w);
    }
}
END_TEST

START_TEST(lent_bytes_come_back_exactly_once)
{
    for (uint64_t seed = 50; seed < 60; seed++) {
        static struct world w;
        world_init(&w, seed);
        w.loss = 15;
        w.lend = true;
        w.server.reply = 20000;
        world_start(&w);
        for (unsigned i = 0; i < 12; i++) {
            request(&w, &w.client, false, i * 3000);
            world_turn(&w);
        }
        struct quic_stream *victim = quic_stream_of(&w.client.slots, w.client.streams[44].handle);
        if (victim && seed % 2)
            quic_stream_detach(victim, 5);
        world_run(&w);
        for (unsigned id = 0; id < STREAMS; id++) {
            ck_assert_uint_eq(w.client.streams[id].lent, w.client.streams[id].released);
            ck_assert_uint_eq(w.server.streams[id].lent, w.server.streams[id].released);
        }
        check_credit(&w.client, &w.server);
        world_clear(&w);
    }
}
END_TEST

/* Something rude happens to a random stream. */
static void disturb(struct world *w, struct side *side) {
    unsigned count = 0;
    struct quic_stream *chosen = NULL;
    for (struct base_node *n = base_list_first(&side->set.all); n; n = base_list_next(&side->set.all, n))
        if (!toolkit_pick(&w->dice, ++count))
            chosen = BASE_CONTAINER(n, struct quic_stream, all);
    if (!chosen)
        return;
    switch (toolkit_pick(&w->dice, 5)) {
    case 0: (void)quic_stream_reset(chosen, 1); break;
    case 1: (void)quic_stream_stop(chosen, 2); break;
    case 2: quic_stream_detach(chosen, 3); break;
    default: quic_stream_priority(chosen, (uint8_t)toolkit_pick(&w->dice, 8), toolkit_pick(&w->dice, 2));
    }
}

/* Lets go of whatever still waits for somebody: streams whose writers were cut off. */
static void detach_all(struct side *side) {
    struct base_node *next;
    for (struct base_node *n = base_list_first(&side->set.all); n; n = next) {
        next = base_list_next(&side->set.all, n);
        quic_stream_detach(BASE_CONTAINER(n, struct quic_stream, all), 4);
    }
}

START_TEST(resets_and_stops_give_all_credit_back)
{
    for (uint64_t seed = 100; seed < 160; seed++) {
        static struct world w;
        world_init(&w, seed);
        w.loss = (unsigned)(seed % 3) * 15;
        w.server.reply = 15000;
        w.server.greedy = seed % 2;
        world_start(&w);
        for (unsigned round = 0; round < 60; round++) {
            request(&w, &w.client, round % 2, toolkit_pick(&w.dice, 30000));
            request(&w, &w.server, true, toolkit_pick(&w.dice, 30000));
            disturb(&w, &w.client);
            disturb(&w, &w.server);
            world_turn(&w);
        }
        world_run(&w);
        detach_all(&w.client);
        detach_all(&w.server);
        world_run(&w);
        check_credit(&w.client, &w.server);
        check_credit(&w.server, &w.client);
        world_clear(&w);
    }
}
END_TEST

/* ---- single frames ---- */

static int feed(struct side *side, struct quic_frame frame) {
    return quic_streams_rx(&side->set, &frame, NULL, BASE_SEC);
}

static int feed_stream(struct side *side, uint64_t id, uint64_t offset, size_t len, bool fin) {
    static const uint8_t zeros[20000];
    struct quic_frame f = {.type = QUIC_FRAME_STREAM};
    f.u.stream.id = id;
    f.u.stream.offset = offset;
    f.u.stream.len = len;
    f.u.stream.data = zeros;
    f.u.stream.fin = fin;
    return feed(side, f);
}

static int feed_reset(struct side *side, uint64_t id, uint64_t size) {
    struct quic_frame f = {.type = QUIC_FRAME_RESET_STREAM};
    f.u.reset_stream.id = id;
    f.u.reset_stream.code = 42;
    f.u.reset_stream.final_size = size;
    return feed(side, f);
}

static int feed_stop(struct side *side, uint64_t id) {
    struct quic_frame f = {.type = QUIC_FRAME_STOP_SENDING};
    f.u.stop_sending.id = id;
    f.u.stop_sending.code = 43;
    return feed(side, f);
}

static int feed_max(struct side *side, uint64_t type, uint64_t id, uint64_t max) {
    struct quic_frame f = {.type = type};
    f.u.max.id = id;
    f.u.max.max = max;
    return feed(side, f);
}

static int feed_blocked(struct side *side, uint64_t type, uint64_t id) {
    struct quic_frame f = {.type = type};
    f.u.blocked.id = id;
    return feed(side, f);
}

START_TEST(frames_for_the_wrong_stream_are_errors)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    struct side *s = &w.server;
    /* Streams of ours that we have not opened. */
    ck_assert_int_eq(feed_stream(s, 1, 0, 1, false), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_reset(s, 1, 0), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_stop(s, 1), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_stop(s, 3), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_max(s, QUIC_FRAME_MAX_STREAM_DATA, 1, 5), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_blocked(s, QUIC_FRAME_STREAM_DATA_BLOCKED, 1), QUIC_STREAM_STATE_ERROR);
    /* Halves that do not exist. */
    must_open(s, true);
    ck_assert_int_eq(feed_stream(s, 3, 0, 1, false), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_reset(s, 3, 0), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_blocked(s, QUIC_FRAME_STREAM_DATA_BLOCKED, 3), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_stop(s, 2), QUIC_STREAM_STATE_ERROR);
    ck_assert_int_eq(feed_max(s, QUIC_FRAME_MAX_STREAM_DATA, 2, 5), QUIC_STREAM_STATE_ERROR);
    /* Beyond the limit, whatever the frame. */
    ck_assert_int_eq(feed_stream(s, 16 * 4, 0, 1, false), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_stream(s, 4 * 4 + 2, 0, 1, false), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_reset(s, 16 * 4, 0), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_stop(s, 16 * 4), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_max(s, QUIC_FRAME_MAX_STREAM_DATA, 16 * 4, 5), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_int_eq(feed_blocked(s, QUIC_FRAME_STREAM_DATA_BLOCKED, 16 * 4), QUIC_STREAM_LIMIT_ERROR);
    ck_assert_uint_eq(s->set.kinds[0].open, 0);
    /* At the limit; all below open, too. */
    ck_assert_int_eq(feed_blocked(s, QUIC_FRAME_STREAM_DATA_BLOCKED, 15 * 4), 0);
    ck_assert_uint_eq(s->set.kinds[0].open, 16);
    ck_assert_uint_eq(s->stats.streams_opened_remote, 16);
    world_clear(&w);
}
END_TEST

START_TEST(windows_are_enforced)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    struct side *s = &w.server;
    ck_assert_int_eq(feed_stream(s, 0, 0, 10001, false), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 10000, 1, false), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_reset(s, 0, 10001), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 0, 10000, false), 0);
    ck_assert_int_eq(feed_stream(s, 0, 0, 10000, false), 0); /* again: uses nothing */
    ck_assert_int_eq(feed_stream(s, 4, 9999, 1, false), 0);  /* a gap counts */
    ck_assert_int_eq(feed_stream(s, 8, 0, 9990, false), 0);
    ck_assert_uint_eq(s->set.recv_flow.received, 29990);
    ck_assert_int_eq(feed_stream(s, 12, 0, 11, false), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_reset(s, 12, 11), QUIC_FLOW_CONTROL_ERROR);
    ck_assert_int_eq(feed_stream(s, 12, 0, 10, false), 0);
    ck_assert_uint_eq(s->set.recv_flow.received, s->set.recv_flow.max);
    world_clear(&w);
}
END_TEST

START_TEST(final_sizes_are_enforced)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    struct side *s = &w.server;
    ck_assert_int_eq(feed_stream(s, 0, 0, 100, false), 0);
    ck_assert_int_eq(feed_stream(s, 0, 0, 99, true), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_reset(s, 0, 99), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 200, 0, true), 0);
    ck_assert_int_eq(feed_stream(s, 0, 200, 1, false), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 150, 49, true), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_reset(s, 0, 201), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_reset(s, 0, 200), 0);
    ck_assert_int_eq(feed_reset(s, 0, 199), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 0, 201, false), QUIC_FINAL_SIZE_ERROR);
    ck_assert_int_eq(feed_stream(s, 0, 0, 200, true), 0); /* late, ignored */
    struct quic_stream *stream = quic_streams_find(&s->set, 0);
    ck_assert_int_eq(stream->recv.state, QUIC_RECV_RESET_RECVD);
    ck_assert_uint_eq(stream->recv.reset_code, 42);
    ck_assert_uint_eq(s->set.recv_flow.received, 200);
    ck_assert_uint_eq(s->set.recv_flow.consumed, 200);
    ck_assert(stream->event.bits & QUIC_STREAM_EV_RESET);
    ck_assert(!(stream->event.bits & QUIC_STREAM_EV_READABLE));
    world_clear(&w);
}
END_TEST

START_TEST(a_closed_stream_is_not_heard_any_more)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    struct side *s = &w.server;
    ck_assert_int_eq(feed_stream(s, 2, 0, 100, true), 0);
    uint64_t handle = quic_streams_find(&s->set, 2)->handle;
    w.lend = true; /* the bytes are zeros: not checked */
    side_dispatch(&w, s);
    ck_assert(s->streams[2].closed);
    ck_assert_ptr_null(quic_streams_find(&s->set, 2));
    ck_assert_ptr_null(quic_stream_of(&s->slots, handle));
    ck_assert_int_eq(feed_stream(s, 2, 0, 100, true), 0);
    ck_assert_int_eq(feed_stream(s, 2, 500, 100, true), 0);
    ck_assert_int_eq(feed_reset(s, 2, 100), 0);
    ck_assert_uint_eq(s->set.recv_flow.received, 100);
    ck_assert_uint_eq(s->set.kinds[2].open, 0);
    world_clear(&w);
}
END_TEST

START_TEST(stop_sending_is_answered_by_a_reset)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    struct side *c = &w.client;
    struct quic_stream *s = must_open(c, true);
    static uint8_t data[100];
    ck_assert_int_eq(quic_stream_write(s, data, 100, false), 100);
    ck_assert_int_eq(feed_stop(c, s->id), 0);
    ck_assert_int_eq(s->send.state, QUIC_SEND_RESET_SENT);
    ck_assert_uint_eq(s->send.reset_code, 43);
    ck_assert_uint_eq(s->send.final_size, 0);
    ck_assert_uint_eq(s->stop_code_received, 43);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_STOPPED);
    ck_assert_int_eq(quic_stream_write(s, data, 1, false), ERR_STREAM_CLOSED);
    world_run(&w);
    ck_assert(c->streams[2].closed && w.server.streams[2].closed);
    ck_assert(w.server.streams[2].seen & QUIC_STREAM_EV_RESET);
    /* All sent and acknowledged: nothing to stop. */
    request(&w, c, false, 10);
    world_run(&w);
    s = quic_streams_find(&c->set, 0);
    if (s) {
        ck_assert_int_eq(feed_stop(c, 0), 0);
        ck_assert_int_eq(s->send.state, QUIC_SEND_DATA_RECVD);
    }
    world_clear(&w);
}
END_TEST

/* Sends one packet and gives its records; it stays in flight. */
static unsigned send_one(struct side *side, struct quic_sent_frame *records, unsigned max) {
    if (!side_send(side, PACKET_SIZE))
        return 0;
    struct quic_sent_packet *packet = quic_sent_at(&side->log, side->flying[side->flying_count - 1].number);
    ck_assert_uint_le(packet->frame_count, max);
    for (unsigned i = 0; i < packet->frame_count; i++)
        records[i] = *quic_sent_frame_at(&side->log, packet, i);
    return packet->frame_count;
}

START_TEST(being_blocked_is_said_once_a_limit)
{
    static struct world w;
    world_init(&w, 1);
    w.server.options.initial_max_stream_data_uni = 100;
    w.server.options.initial_max_data = 150;
    side_clear(&w.server);
    side_init(&w.server, CRYPTO_SERVER);
    w.server.options.initial_max_stream_data_uni = 100;
    w.server.options.initial_max_data = 150;
    world_start(&w);
    struct side *c = &w.client;
    struct quic_stream *a = must_open(c, true), *b = must_open(c, true);
    static uint8_t data[1000];
    ck_assert_int_eq(quic_stream_write(a, data, 1000, false), 1000);
    ck_assert_int_eq(quic_stream_write(b, data, 1000, false), 1000);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(c, r, 16), 4); /* 100 bytes, 50 bytes, and the two words */
    ck_assert_uint_eq(c->set.send_flow.used, 150);
    ck_assert_uint_eq(send_one(c, r, 16), 0);
    side_settle(c, 0, false); /* lost: all of it again */
    ck_assert_uint_eq(send_one(c, r, 16), 4);
    ck_assert_uint_eq(c->set.send_flow.used, 150);
    feed_max(c, QUIC_FRAME_MAX_STREAM_DATA, a->id, 200);
    feed_max(c, QUIC_FRAME_MAX_STREAM_DATA, a->id, 50); /* never down */
    feed_max(c, QUIC_FRAME_MAX_DATA, 0, 400);
    ck_assert_uint_eq(a->send_flow.max, 200);
    side_settle(c, 0,
                false); /* lost again, but the limits are others now: data only, and b is blocked by its own now */
    unsigned n = send_one(c, r, 16), blocked = 0;
    for (unsigned i = 0; i < n; i++)
        blocked += r[i].kind != QUIC_FRAME_STREAM;
    ck_assert_uint_eq(blocked, 2); /* each of the two by its new limit */
    ck_assert_uint_eq(c->set.send_flow.used, 300);
    /* Streams, too. */
    struct quic_stream *s;
    must_open(c, true);
    must_open(c, true);
    ck_assert_int_eq(quic_streams_open(&c->set, true, &s), ERR_STREAM_LIMIT);
    ck_assert_int_eq(quic_streams_open(&c->set, true, &s), ERR_STREAM_LIMIT);
    ck_assert_uint_eq(send_one(c, r, 16), 1);
    ck_assert_int_eq(r[0].kind, QUIC_FRAME_STREAMS_BLOCKED_UNI);
    ck_assert_uint_eq(r[0].value, 4);
    ck_assert_uint_eq(send_one(c, r, 16), 0);
    feed_max(c, QUIC_FRAME_MAX_STREAMS_UNI, 0, 3);
    ck_assert_uint_eq(c->available, 0);
    feed_max(c, QUIC_FRAME_MAX_STREAMS_UNI, 0, 5);
    ck_assert_uint_eq(c->available, 1);
    must_open(c, true);
    world_clear(&w);
}
END_TEST

START_TEST(without_credit_nobody_stands_in_line)
{
    static struct world w;
    world_init(&w, 1);
    struct quic_params params = params_of(&w.server.options);
    params.initial_max_data = 20;
    quic_streams_set_peer(&w.client.set, &params);
    static uint8_t data[20];
    struct quic_stream *a = must_open(&w.client, true), *b = must_open(&w.client, true);
    ck_assert_int_eq(quic_stream_write(a, data, 20, false), 20);
    ck_assert_int_eq(quic_stream_write(b, data, 20, false), 20);
    ck_assert(side_send(&w.client, 22)); /* a's 20 bytes fill the packet and use all credit */
    ck_assert_uint_eq(w.client.set.send_flow.used, 20);
    ck_assert_uint_eq(w.client.set.sched.mask, 0);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(&w.client, r, 16), 1);
    ck_assert_int_eq(r[0].kind, QUIC_FRAME_DATA_BLOCKED);
    ck_assert(!quic_streams_sendable(&w.client.set));
    feed_max(&w.client, QUIC_FRAME_MAX_DATA, 0, 40);
    ck_assert_uint_eq(send_one(&w.client, r, 16), 1);
    ck_assert_uint_eq(r[0].ref, b->handle);
    world_clear(&w);
}
END_TEST

START_TEST(what_was_read_already_is_not_announced)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    ck_assert_int_eq(feed_stream(&w.server, 0, 0, 10, false), 0);
    struct quic_stream *s = quic_streams_find(&w.server.set, 0);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED | QUIC_STREAM_EV_READABLE);
    ck_assert_int_eq(quic_stream_consume(s, 4, 0, w.now), 0);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED | QUIC_STREAM_EV_READABLE);
    ck_assert_int_eq(quic_stream_consume(s, 6, 0, w.now), 0);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED);
    quic_stream_pause(s, true);
    ck_assert_int_eq(feed_stream(&w.server, 0, 10, 10, false), 0);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED);
    quic_stream_pause(s, false);
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_OPENED | QUIC_STREAM_EV_READABLE);
    world_clear(&w);
}
END_TEST

START_TEST(lost_limits_are_said_again_only_while_they_matter)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    struct side *s = &w.server;
    struct quic_sent_frame r[16];
    ck_assert_int_eq(feed_stream(s, 0, 0, 10000, false), 0);
    struct quic_stream *stream = quic_streams_find(&s->set, 0);
    ck_assert_int_eq(quic_stream_consume(stream, 5000, 0, w.now), 0);
    ck_assert_uint_eq(send_one(s, r, 16), 1);
    ck_assert_int_eq(r[0].kind, QUIC_FRAME_MAX_STREAM_DATA);
    ck_assert_uint_eq(r[0].value, 15000);
    side_settle(s, 0, false);
    ck_assert_uint_eq(send_one(s, r, 16), 1); /* again */
    ck_assert_int_eq(quic_stream_consume(stream, 5000, 0, w.now), 0);
    ck_assert_uint_eq(send_one(s, r, 16), 1);
    ck_assert_uint_eq(r[0].value, 20000);
    side_settle(s, 0, false); /* the older one: void */
    ck_assert_uint_eq(send_one(s, r, 16), 0);
    ck_assert_int_eq(feed_stream(s, 0, 10000, 0, true), 0);
    side_settle(s, 0, false); /* the newest, but the size is known now */
    ck_assert_uint_eq(send_one(s, r, 16), 0);
    world_clear(&w);
}
END_TEST

START_TEST(the_limit_of_streams_grows_as_they_close)
{
    static struct world w;
    world_init(&w, 1);
    w.server.reply = 100;
    world_start(&w);
    for (unsigned i = 0; i < 1000; i++) {
        request(&w, &w.client, false, 100);
        world_run(&w);
    }
    ck_assert_uint_eq(w.server.stats.streams_opened_remote, 1000);
    ck_assert_uint_eq(w.server.set.kinds[0].closed, 1000);
    ck_assert_uint_ge(w.client.set.kinds[0].max, 1000 + 14);
    world_clear(&w);
}
END_TEST

START_TEST(warm_requests_do_not_allocate)
{
    static struct world w;
    world_init(&w, 1);
    w.server.reply = 5000;
    w.orderly = true;
    world_start(&w);
    uint64_t calls = 0;
    for (unsigned i = 0; i < 300; i++) {
        if (i == 100)
            calls = w.client.heap.calls + w.server.heap.calls;
        request(&w, &w.client, false, 700);
        world_run(&w);
    }
    ck_assert_uint_eq(w.client.heap.calls + w.server.heap.calls, calls);
    quic_streams_trim(&w.server.set);
    ck_assert_uint_eq(w.server.set.free_count, 0);
    world_clear(&w);
}
END_TEST

START_TEST(a_long_lived_stream_lets_the_window_move_on)
{
    static struct world w;
    world_init(&w, 1);
    w.server.reply = 1;
    world_start(&w);
    struct quic_stream *old = must_open(&w.client, false);
    uint8_t byte[1];
    fill(old->id, 0, byte, 1);
    ck_assert_int_eq(quic_stream_write(old, byte, 1, false), 1);
    world_run(&w);
    for (unsigned i = 0; i < 900; i++) {
        request(&w, &w.client, false, 10);
        world_run(&w);
    }
    ck_assert_ptr_eq(quic_streams_find(&w.client.set, 0), old);
    ck_assert_uint_gt(w.client.set.kinds[0].base, 100);
    ck_assert_uint_le(w.client.set.kinds[0].capacity, 64);
    fill(old->id, 1, byte, 1);
    ck_assert_int_eq(quic_stream_write(old, byte, 1, true), 1);
    world_run(&w);
    ck_assert(w.client.streams[0].closed && w.server.streams[0].closed);
    ck_assert_ptr_null(quic_streams_find(&w.client.set, 0));
    ck_assert_uint_eq(w.client.set.outliers.count, 0);
    world_clear(&w);
}
END_TEST

START_TEST(a_writer_hears_when_there_is_room)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    struct side *c = &w.client;
    struct quic_stream *s = must_open(c, true);
    static uint8_t data[30000];
    fill(s->id, 0, data, sizeof data);
    ck_assert_int_eq(quic_stream_write(s, data, 30000, true), 20000);
    ck_assert(!s->send.fin);
    ck_assert_int_eq(quic_stream_write(s, data, 1, false), 0);
    ck_assert_int_eq(quic_stream_write_reference(s, data, 1, 0, false), ERR_BLOCKED);
    while (s->send.buffered > 10000) {
        ck_assert(!(c->streams[s->id].seen & QUIC_STREAM_EV_WRITABLE));
        side_turn(&w, c, &w.server);
        side_dispatch(&w, &w.server);
        side_turn(&w, &w.server, c);
    }
    ck_assert_uint_eq(s->event.bits, QUIC_STREAM_EV_WRITABLE);
    c->streams[s->id].to_write = 30000;
    c->streams[s->id].written = 20000;
    world_run(&w);
    ck_assert(c->streams[s->id].closed);
    ck_assert_uint_eq(w.server.streams[2].read, 30000);
    world_clear(&w);
}
END_TEST

START_TEST(a_closed_connection_tells_every_stream_last)
{
    static struct world w;
    world_init(&w, 1);
    w.lend = true;
    world_start(&w);
    struct side *c = &w.client;
    request(&w, c, false, 12000);
    request(&w, c, true, 3000);
    quic_streams_close(&c->set);
    quic_streams_close(&c->set);
    struct quic_stream *s;
    ck_assert_int_eq(quic_streams_open(&c->set, false, &s), ERR_CLOSED);
    s = quic_streams_find(&c->set, 0);
    ck_assert_int_eq(quic_stream_write(s, lendable, 1, false), ERR_CLOSED);
    ck_assert_int_eq(quic_stream_reset(s, 0), ERR_CLOSED);
    ck_assert_int_eq(quic_stream_stop(s, 0), ERR_CLOSED);
    ck_assert(!quic_streams_sendable(&c->set) && !c->set.want_send);
    ck_assert_int_eq(feed_stream(c, 1, 0, 1, false), 0);
    side_dispatch(&w, c);
    ck_assert(c->streams[0].closed && c->streams[2].closed);
    ck_assert_uint_eq(c->streams[0].released, c->streams[0].lent);
    ck_assert(base_list_empty(&c->set.all) && base_list_empty(&c->set.closing));
    world_clear(&w);
}
END_TEST

START_TEST(resets_are_for_sending_halves_and_stops_for_receiving_ones)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    struct quic_stream *uni = must_open(&w.client, true);
    ck_assert_int_eq(quic_stream_stop(uni, 1), ERR_STREAM_CLOSED);
    ck_assert_int_eq(quic_stream_reset(uni, UINT64_C(1) << 62), ERR_INVALID);
    ck_assert_int_eq(quic_stream_reset(uni, 1), 0);
    ck_assert_int_eq(quic_stream_reset(uni, 1), ERR_STREAM_CLOSED);
    ck_assert_int_eq(feed_stream(&w.server, 2, 0, 10, false), 0);
    struct quic_stream *theirs = quic_streams_find(&w.server.set, 2);
    ck_assert_int_eq(quic_stream_reset(theirs, 1), ERR_STREAM_CLOSED);
    ck_assert_int_eq(quic_stream_write(theirs, lendable, 1, false), ERR_STREAM_CLOSED);
    ck_assert_int_eq(quic_stream_consume(theirs, 11, 0, 0), ERR_INVALID);
    ck_assert_int_eq(quic_stream_stop(theirs, 1), 0);
    ck_assert_int_eq(quic_stream_stop(theirs, 1), ERR_STREAM_CLOSED);
    ck_assert_uint_eq(w.server.set.recv_flow.consumed, 10);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(&w.server, r, 16), 1);
    ck_assert_int_eq(r[0].kind, QUIC_FRAME_STOP_SENDING);
    side_settle(&w.server, 0, false);
    ck_assert_uint_eq(send_one(&w.server, r, 16), 1); /* lost: again */
    ck_assert_int_eq(feed_reset(&w.server, 2, 10), 0);
    side_settle(&w.server, 0, false);
    ck_assert_uint_eq(send_one(&w.server, r, 16), 0); /* the peer has reset it: void */
    world_clear(&w);
}
END_TEST

START_TEST(every_size_fits_every_room)
{
    for (size_t room = 28; room < 120; room++) {
        static struct world w;
        world_init(&w, 1);
        w.lend = true;
        world_start(&w);
        uint64_t sent = 0;
        struct quic_stream *s = must_open(&w.client, true);
        for (size_t len = 1; len < 110; len++) {
            ck_assert_int_eq(quic_stream_write(s, lendable, len, false), (int64_t)len);
            sent += len;
            while (quic_streams_sendable(&w.client.set)) {
                ck_assert(side_send(&w.client, room));
                const struct packet *p = &w.client.flying[0];
                struct base_reader in = base_reader_of(p->bytes, p->len);
                struct quic_frame frame = {.type = 0};
                while (base_reader_left(&in))
                    ck_assert_int_eq(quic_frame_parse(&in, &frame), 0);
                if (!(frame.type & 2))
                    ck_assert_uint_eq(p->len, room); /* no length field: nothing may follow */
                ck_assert(side_receive(&w, &w.server, p));
                side_settle(&w.client, 0, true);
            }
            side_dispatch(&w, &w.server);
            w.client.set.send_flow.max = s->send_flow.max = UINT64_C(1) << 40;
        }
        ck_assert_int_eq(w.server.error, 0);
        ck_assert_uint_eq(w.server.streams[2].read, sent);
        world_clear(&w);
    }
}
END_TEST

START_TEST(control_frames_fill_as_many_packets_as_they_need)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    for (unsigned i = 0; i < 16; i++) {
        struct quic_stream *s = must_open(&w.client, false);
        ck_assert_int_eq(quic_stream_stop(s, 1000000), 0);
        ck_assert_int_eq(quic_stream_reset(s, 1000000), 0);
    }
    unsigned packets = 0;
    while (quic_streams_sendable(&w.client.set)) {
        ck_assert(side_send(&w.client, 30));
        packets++;
    }
    ck_assert_uint_gt(packets, 5);
    world_run(&w);
    for (unsigned i = 0; i < 16; i++)
        ck_assert(w.client.streams[i * 4].closed);
    world_clear(&w);
}
END_TEST

START_TEST(limits_remembered_for_0rtt_are_raised_later)
{
    static struct world w;
    world_init(&w, 1);
    struct quic_params remembered = {
        .initial_max_data = 100, .initial_max_stream_data_uni = 50, .initial_max_streams_uni = 2};
    quic_streams_set_peer(&w.client.set, &remembered);
    struct quic_stream *s = must_open(&w.client, true);
    static uint8_t data[300];
    fill(s->id, 0, data, sizeof data);
    ck_assert_int_eq(quic_stream_write(s, data, 300, true), 300);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(&w.client, r, 16), 2); /* 50 bytes, and that it is blocked */
    ck_assert_uint_eq(w.client.set.send_flow.used, 50);
    world_start(&w);
    ck_assert_uint_eq(s->send_flow.max, 8000);
    ck_assert_uint_eq(w.client.set.send_flow.max, 30000);
    remembered.initial_max_data = 1;
    quic_streams_set_peer(&w.client.set, &remembered); /* never down */
    ck_assert_uint_eq(w.client.set.send_flow.max, 30000);
    world_run(&w);
    ck_assert_uint_eq(w.server.streams[2].read, 300);
    world_clear(&w);
}
END_TEST

START_TEST(a_stop_after_all_has_arrived_asks_for_nothing)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    ck_assert_int_eq(feed_stream(&w.server, 2, 0, 10, true), 0);
    struct quic_stream *s = quic_streams_find(&w.server.set, 2);
    ck_assert_int_eq(quic_stream_stop(s, 1), 0);
    ck_assert(s->closed_raised);
    ck_assert(!quic_streams_sendable(&w.server.set));
    ck_assert_uint_eq(w.server.set.recv_flow.consumed, 10);
    /* With the size known but bytes missing it ends when the peer has heard of it. */
    ck_assert_int_eq(feed_stream(&w.server, 6, 5, 5, true), 0);
    s = quic_streams_find(&w.server.set, 6);
    ck_assert_int_eq(quic_stream_stop(s, 1), 0);
    ck_assert(!s->closed_raised);
    struct quic_sent_frame r[16];
    ck_assert_uint_eq(send_one(&w.server, r, 16), 1);
    side_settle(&w.server, 0, true);
    ck_assert(s->closed_raised);
    ck_assert_uint_eq(w.server.set.recv_flow.consumed, 20);
    world_clear(&w);
}
END_TEST

START_TEST(records_of_others_are_not_ours)
{
    static struct world w;
    world_init(&w, 1);
    world_start(&w);
    const uint8_t others[] = {QUIC_FRAME_PING, QUIC_FRAME_CRYPTO, QUIC_FRAME_ACK, QUIC_FRAME_HANDSHAKE_DONE, 0xff};
    for (unsigned i = 0; i < sizeof others; i++) {
        struct quic_sent_frame record = {.kind = others[i]};
        ck_assert(!quic_streams_on_fate(&w.client.set, &record, true));
    }
    quic_streams_close(&w.client.set);
    struct quic_sent_frame record = {.kind = QUIC_FRAME_MAX_DATA, .value = 30000};
    ck_assert(quic_streams_on_fate(&w.client.set, &record, false));
    ck_assert(!quic_streams_sendable(&w.client.set));
    world_clear(&w);
}
END_TEST

/* A short, deterministic exchange; `n`: which allocation of each side fails (once). */
static bool exchange(int64_t n) {
    static struct world w;
    world_init(&w, 5);
    world_start(&w);
    w.loss = 10;
    w.lend = n % 2;
    w.server.reply = 9000;
    w.client.heap.left = w.server.heap.left = n;
    bool failed = false;
    unsigned opened = 0;
    for (unsigned turn = 0; turn < 400 || !side_quiet(&w.client) || !side_quiet(&w.server); turn++) {
        ck_assert_uint_lt(turn, 20000);
        struct quic_stream *s;
        if (opened < 6 && quic_streams_open(&w.client.set, opened % 2, &s) == 0) {
            *app_of(&w.client, s) = (struct app_stream){.handle = s->handle, .to_write = 7000};
            opened++;
        }
        for (struct side *side = &w.client;; side = &w.server) { /* whoever was refused memory tries again */
            if (side->mem.refusals && side->heap.left == 0) {
                side->heap.left = -1;
                failed = true;
            }
            for (struct base_node *e = base_list_first(&side->set.all); e; e = base_list_next(&side->set.all, e)) {
                struct quic_stream *each = BASE_CONTAINER(e, struct quic_stream, all);
                if (each->send.state < QUIC_SEND_DATA_SENT && !each->send.fin && app_of(side, each)->to_write)
                    app_write(&w, side, each);
            }
            if (side == &w.server)
                break;
        }
        world_turn(&w);
    }
    ck_assert_uint_eq(opened, 6);
    for (unsigned id = 0; id < STREAMS; id++)
        if (w.client.streams[id].handle) {
            ck_assert(w.client.streams[id].closed && w.server.streams[id].closed);
            ck_assert_uint_eq(w.server.streams[id].read, 7000);
            ck_assert_uint_eq(w.client.streams[id].lent, w.client.streams[id].released);
        }
    check_credit(&w.client, &w.server);
    check_credit(&w.server, &w.client);
    world_clear(&w);
    return failed;
}

START_TEST(any_allocation_may_fail)
{
    int64_t n = 0;
    while (exchange(n))
        n++;
    ck_assert_int_gt(n, 20);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {everything_arrives,
                            lent_bytes_come_back_exactly_once,
                            resets_and_stops_give_all_credit_back,
                            frames_for_the_wrong_stream_are_errors,
                            windows_are_enforced,
                            final_sizes_are_enforced,
                            a_closed_stream_is_not_heard_any_more,
                            stop_sending_is_answered_by_a_reset,
                            being_blocked_is_said_once_a_limit,
                            without_credit_nobody_stands_in_line,
                            what_was_read_already_is_not_announced,
                            lost_limits_are_said_again_only_while_they_matter,
                            the_limit_of_streams_grows_as_they_close,
                            warm_requests_do_not_allocate,
                            a_long_lived_stream_lets_the_window_move_on,
                            a_writer_hears_when_there_is_room,
                            a_closed_connection_tells_every_stream_last,
                            resets_are_for_sending_halves_and_stops_for_receiving_ones,
                            every_size_fits_every_room,
                            control_frames_fill_as_many_packets_as_they_need,
                            limits_remembered_for_0rtt_are_raised_later,
                            a_stop_after_all_has_arrived_asks_for_nothing,
                            records_of_others_are_not_ours,
                            any_allocation_may_fail};
    return TOOLKIT_SUITE("quic/stream", tests);
}
