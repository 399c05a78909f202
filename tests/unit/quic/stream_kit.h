/* stream_kit.h - two sets of streams wired together by frames, over a network that loses and reorders; or one of them,
 * fed with single frames.
 *
 * Each side has an application that writes what can be computed from the stream's ID and the offset, and checks what it
 * reads. A header alone: each test program that includes it has a world of its own, `w`, and each test begins with a
 * new one (setup, world_clear).
 */
#ifndef STREAM_KIT_H
#define STREAM_KIT_H

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

static struct world {
    struct side client, server;
    struct toolkit_dice dice;
    unsigned loss; /* in percent */
    bool lend;     /* write by reference */
    bool orderly;  /* packets arrive in the order they were sent */
    base_time now;
} w;

static uint8_t lendable[65536];

static inline void fill(uint64_t id, uint64_t offset, uint8_t *out, size_t len) {
    for (size_t i = 0; i < len; i++, offset++)
        out[i] = (uint8_t)(id * 59 + offset * 7 + (offset >> 8));
}

static void on_available(void *user) { ((struct side *)user)->available++; }

static inline void side_init(struct side *s, enum crypto_role role) {
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

static inline struct quic_params params_of(const struct options *o) {
    return (struct quic_params){.initial_max_data = o->initial_max_data,
                                .initial_max_stream_data_bidi_local = o->initial_max_stream_data_bidi_local,
                                .initial_max_stream_data_bidi_remote = o->initial_max_stream_data_bidi_remote,
                                .initial_max_stream_data_uni = o->initial_max_stream_data_uni,
                                .initial_max_streams_bidi = o->initial_max_streams_bidi,
                                .initial_max_streams_uni = o->initial_max_streams_uni};
}

static inline void world_start(void) {
    struct quic_params of_server = params_of(&w.server.options), of_client = params_of(&w.client.options);
    quic_streams_set_peer(&w.client.set, &of_server);
    quic_streams_set_peer(&w.server.set, &of_client);
}

static inline void world_init(uint64_t seed) {
    memset(&w, 0, sizeof w);
    side_init(&w.client, CRYPTO_CLIENT);
    side_init(&w.server, CRYPTO_SERVER);
    w.dice.state = seed;
    w.now = BASE_SEC;
}

static inline void side_clear(struct side *s) {
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

static inline void world_clear(void) {
    side_clear(&w.client);
    side_clear(&w.server);
}

/* Each test begins with a world that has started, from the first seed. */
static inline void setup(void) {
    world_init(1);
    world_start();
}

/* Another one, from this seed, that has not started: its limits may still be changed. */
static inline void world_anew(uint64_t seed) {
    world_clear();
    world_init(seed);
}

/* ---- the application ---- */

static inline struct app_stream *app_of(struct side *side, const struct quic_stream *s) {
    ck_assert_uint_lt(s->id, STREAMS);
    return &side->streams[s->id];
}

static inline void app_write(struct side *side, struct quic_stream *s) {
    struct app_stream *a = app_of(side, s);
    while (!a->finished) {
        static uint8_t data[5000];
        size_t len = a->to_write - a->written < sizeof data ? (size_t)(a->to_write - a->written) : sizeof data;
        bool last = a->written + len == a->to_write;
        int64_t taken;
        if (w.lend) {
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

static inline void app_read(struct side *side, struct quic_stream *s) {
    struct app_stream *a = app_of(side, s);
    struct quic_slice slices[4];
    size_t n;
    while ((n = quic_stream_peek(s, slices, 4)) > 0) {
        uint64_t len = 0;
        static uint8_t data[65536];
        for (size_t i = 0; i < n; i++) {
            if (!w.lend) {
                fill(s->id, a->read + len, data, slices[i].len);
                ck_assert_mem_eq(slices[i].data, data, slices[i].len);
            }
            len += slices[i].len;
        }
        if (!side->greedy)
            len = toolkit_pick(&w.dice, (uint32_t)len + 1);
        a->read += len;
        ck_assert_int_eq(quic_stream_consume(s, len, 10 * BASE_MS, w.now), 0);
        if (!side->greedy && !toolkit_pick(&w.dice, 4))
            break;
    }
    if (!quic_stream_peek(s, slices, 1) && !(quic_stream_is_uni(s->id) && quic_stream_is_of(s->id, side->set.role)))
        ck_assert_int_eq(quic_stream_consume(s, 0, 0, w.now), 0);
    a->ended = quic_stream_recv_at_end(&s->recv);
    if (!a->ended && s->recv.ready > s->recv.taken) {
        quic_stream_pause(s, true); /* and on: READABLE comes again */
        quic_stream_pause(s, false);
    }
}

static inline void app_hear(struct side *side, struct quic_stream *s, uint32_t bits) {
    struct app_stream *a = app_of(side, s);
    ck_assert(!a->closed);
    a->seen |= bits;
    a->handle = s->handle;
    if (bits & QUIC_STREAM_EV_OPENED && !quic_stream_is_uni(s->id)) {
        a->to_write = side->reply;
        app_write(side, s);
    }
    if (bits & QUIC_STREAM_EV_READABLE)
        app_read(side, s);
    if (bits & QUIC_STREAM_EV_WRITABLE)
        app_write(side, s);
    if (bits & QUIC_STREAM_EV_RELEASED) {
        a->released += s->released_count;
        s->released_count = 0;
    }
    if (bits & QUIC_STREAM_EV_CLOSED) {
        a->closed = true;
        quic_stream_told_closed(s);
    }
}

static inline void side_dispatch(struct side *side) {
    uint32_t bits;
    struct base_event *event;
    unsigned most = 1000;
    while (most-- && (event = base_events_pop(&side->events, &bits)) != NULL) {
        struct quic_stream *s = quic_stream_of(&side->slots, event->handle);
        ck_assert_ptr_nonnull(s);
        app_hear(side, s, bits);
    }
    quic_streams_compact(&side->set);
    quic_streams_reap(&side->set);
}

/* ---- the network ---- */

static inline bool side_send(struct side *side, size_t size) {
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
static inline bool side_receive(struct side *to, const struct packet *p) {
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
            result = quic_streams_rx(&to->set, &frame, buf, w.now);
    }
    base_buf_unref(buf);
    if (result > 0 && !to->error)
        to->error = result;
    return result == 0;
}

static inline void side_settle(struct side *from, unsigned index, bool acked) {
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

static inline void side_turn(struct side *from, struct side *to) {
    while (toolkit_pick(&w.dice, 8) && side_send(from, toolkit_pick(&w.dice, 10) ? PACKET_SIZE : 100))
        ;
    unsigned count = from->flying_count ? 1 + toolkit_pick(&w.dice, from->flying_count) : 0;
    while (count--) {
        unsigned i = w.orderly || toolkit_pick(&w.dice, 3) ? 0 : toolkit_pick(&w.dice, from->flying_count);
        bool lost = toolkit_pick(&w.dice, 100) < w.loss;
        bool arrived = (!lost || toolkit_pick(&w.dice, 2)) && side_receive(to, &from->flying[i]);
        side_settle(from, i, arrived && !lost); /* some that arrived count as lost: the ACK was */
    }
}

static inline bool side_quiet(const struct side *s) {
    return !s->flying_count && !quic_streams_sendable(&s->set) && base_list_empty(&s->events.line) &&
           base_list_empty(&s->set.closing);
}

static inline void world_turn(void) {
    side_turn(&w.client, &w.server);
    side_dispatch(&w.server);
    side_turn(&w.server, &w.client);
    side_dispatch(&w.client);
    w.now += BASE_MS;
}

static inline void world_run(void) {
    for (unsigned turn = 0; !side_quiet(&w.client) || !side_quiet(&w.server); turn++) {
        ck_assert_uint_lt(turn, 100000);
        world_turn();
    }
    ck_assert_int_eq(w.client.error, 0);
    ck_assert_int_eq(w.server.error, 0);
}

static inline struct quic_stream *must_open(struct side *side, bool uni) {
    struct quic_stream *s = NULL;
    ck_assert_int_eq(quic_streams_open(&side->set, uni, &s), 0);
    app_of(side, s)->handle = s->handle;
    return s;
}

static inline void request(struct side *side, bool uni, uint64_t bytes) {
    struct quic_stream *s = NULL;
    if (quic_streams_open(&side->set, uni, &s) != 0)
        return;
    *app_of(side, s) = (struct app_stream){.handle = s->handle, .to_write = bytes};
    app_write(side, s);
}

/* With no stream left, both ends count the same bytes, and all of them were taken. */
static inline void check_credit(const struct side *from, const struct side *to) {
    ck_assert_uint_eq(from->set.send_flow.used, to->set.recv_flow.received);
    ck_assert_uint_eq(to->set.recv_flow.received, to->set.recv_flow.consumed);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(to->set.kinds[i].open, 0);
        ck_assert_uint_eq(from->set.kinds[i].max, to->set.kinds[i].max);
    }
    ck_assert_uint_eq(from->set.send_flow.max, to->set.recv_flow.max); /* nothing about it is unsaid */
}

/* ---- single frames ---- */

static inline int feed(struct side *side, struct quic_frame frame) {
    return quic_streams_rx(&side->set, &frame, NULL, BASE_SEC);
}

static inline int feed_stream(struct side *side, uint64_t id, uint64_t offset, size_t len, bool fin) {
    static const uint8_t zeros[20000];
    struct quic_frame f = {.type = QUIC_FRAME_STREAM};
    f.u.stream.id = id;
    f.u.stream.offset = offset;
    f.u.stream.len = len;
    f.u.stream.data = zeros;
    f.u.stream.fin = fin;
    return feed(side, f);
}

static inline int feed_reset(struct side *side, uint64_t id, uint64_t size) {
    struct quic_frame f = {.type = QUIC_FRAME_RESET_STREAM};
    f.u.reset_stream.id = id;
    f.u.reset_stream.code = 42;
    f.u.reset_stream.final_size = size;
    return feed(side, f);
}

static inline int feed_stop(struct side *side, uint64_t id) {
    struct quic_frame f = {.type = QUIC_FRAME_STOP_SENDING};
    f.u.stop_sending.id = id;
    f.u.stop_sending.code = 43;
    return feed(side, f);
}

static inline int feed_max(struct side *side, uint64_t type, uint64_t id, uint64_t max) {
    struct quic_frame f = {.type = type};
    f.u.max.id = id;
    f.u.max.max = max;
    return feed(side, f);
}

static inline int feed_blocked(struct side *side, uint64_t type, uint64_t id) {
    struct quic_frame f = {.type = type};
    f.u.blocked.id = id;
    return feed(side, f);
}

/* Sends one packet and gives its records; it stays in flight. */
static inline unsigned send_one(struct side *side, struct quic_sent_frame *records, unsigned max) {
    if (!side_send(side, PACKET_SIZE))
        return 0;
    struct quic_sent_packet *packet = quic_sent_at(&side->log, side->flying[side->flying_count - 1].number);
    ck_assert_uint_le(packet->frame_count, max);
    for (unsigned i = 0; i < packet->frame_count; i++)
        records[i] = *quic_sent_frame_at(&side->log, packet, i);
    return packet->frame_count;
}

#endif
