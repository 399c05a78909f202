/* The start over after rejected 0-RTT: all bytes again, under limits that may be lower, streams beyond them held. */
#include "base/toolkit.h"
#include "quic/stream.h"
#include "tables/errors.h"

static struct toolkit_heap heap;
static struct base_mem mem;
static struct base_slots slots;
static struct base_events events;
static struct options options;
static struct conn_stats stats;
static struct quic_streams set;
static struct quic_sent sent;
static uint8_t packet[1200];

static void begin(void) {
    static const uint8_t secret[16] = {1};
    memset(&heap, 0, sizeof heap);
    memset(&stats, 0, sizeof stats);
    mem = toolkit_mem(&heap, 0);
    base_slots_init(&slots, &mem, 1);
    base_events_init(&events);
    options_init(&options);
    quic_streams_init(&set, &mem, &slots, &events, &stats, &options, CRYPTO_CLIENT, 1, secret);
    quic_sent_init(&sent);
}

static void end(void) {
    quic_streams_clear(&set);
    quic_sent_clear(&sent, &mem);
    base_slots_clear(&slots);
    ck_assert_uint_eq(heap.blocks, 0);
}

static struct quic_params limits(uint64_t data, uint64_t stream, uint64_t bidi, uint64_t uni) {
    return (struct quic_params){.initial_max_data = data,
                                .initial_max_stream_data_bidi_local = stream,
                                .initial_max_stream_data_bidi_remote = stream,
                                .initial_max_stream_data_uni = stream,
                                .initial_max_streams_bidi = bidi,
                                .initial_max_streams_uni = uni};
}

/* Everything that may go now. Bytes of STREAM frames by stream sequence (bidirectional), and other frames as bits by
 * type. */
struct said {
    uint64_t bytes[8], frames, reset_size;
    bool fin[8];
};

static struct said speak(void) {
    struct said said = {{0}, 0, 0, {false}};
    bool more = true;
    while (more) {
        ck_assert(quic_sent_open(&sent, &mem));
        struct base_writer out = base_writer_of(packet, sizeof packet);
        more = quic_streams_tx(&set, &out, &sent, true);
        struct quic_sent_packet record = {.eliciting = true, .in_flight = true, .bytes = 1200};
        if (more)
            quic_sent_commit(&sent, &record);
        else
            quic_sent_abort(&sent);
        struct base_reader in = base_reader_of(packet, (size_t)(out.pos - packet));
        struct quic_frame f;
        while (in.pos < in.end) {
            ck_assert_int_eq(quic_frame_parse(&in, &f), 0);
            bool stream = f.type >= QUIC_FRAME_STREAM && f.type < QUIC_FRAME_STREAM + 8;
            if (stream) {
                ck_assert_uint_lt(f.u.stream.id >> 2, 8);
                said.bytes[f.u.stream.id >> 2] += f.u.stream.len;
                said.fin[f.u.stream.id >> 2] |= f.u.stream.fin;
            } else {
                said.frames |= UINT64_C(1) << f.type;
            }
            if (f.type == QUIC_FRAME_RESET_STREAM)
                said.reset_size = f.u.reset_stream.final_size;
        }
    }
    return said;
}

static struct quic_stream *open_and_write(size_t len, bool fin) {
    static const uint8_t bytes[4000];
    struct quic_stream *s;
    ck_assert_int_eq(quic_streams_open(&set, false, &s), 0);
    ck_assert_int_eq(quic_stream_write(s, bytes, len, fin), (int64_t)len);
    return s;
}

START_TEST(everything_goes_again)
{
    struct quic_params old = limits(10000, 4000, 4, 4);
    quic_streams_set_peer(&set, &old);
    open_and_write(3000, true);
    open_and_write(4000, false);
    struct said said = speak();
    ck_assert_uint_eq(said.bytes[0], 3000);
    ck_assert_uint_eq(said.bytes[1], 4000);
    quic_streams_rewind(&set);
    ck_assert(!quic_streams_sendable(&set)); /* nothing is allowed yet */
    struct quic_params now = limits(10000, 4000, 4, 4);
    quic_streams_set_peer(&set, &now);
    said = speak();
    ck_assert_uint_eq(said.bytes[0], 3000);
    ck_assert(said.fin[0]);
    ck_assert_uint_eq(said.bytes[1], 4000);
    ck_assert(!said.fin[1]);
    ck_assert_uint_eq(set.send_flow.used, 7000);
}
END_TEST

START_TEST(lower_limits_hold)
{
    struct quic_params old = limits(10000, 4000, 4, 4);
    quic_streams_set_peer(&set, &old);
    for (int i = 0; i < 4; i++)
        open_and_write(2000, true);
    speak();
    quic_streams_rewind(&set);
    struct quic_params now = limits(3000, 1900, 2, 0);
    quic_streams_set_peer(&set, &now);
    struct said said = speak();
    ck_assert_uint_eq(said.bytes[0] + said.bytes[1], 3000);
    ck_assert_uint_le(said.bytes[0], 1900);
    ck_assert_uint_le(said.bytes[1], 1900);
    ck_assert_uint_eq(said.bytes[2] + said.bytes[3], 0); /* held */
    ck_assert(said.frames & UINT64_C(1) << QUIC_FRAME_STREAMS_BLOCKED_BIDI);
    ck_assert(said.frames & UINT64_C(1) << QUIC_FRAME_DATA_BLOCKED);
    struct quic_frame f = {.type = QUIC_FRAME_MAX_DATA};
    f.u.max.max = 100000;
    ck_assert_int_eq(quic_streams_rx(&set, &f, NULL, 0), 0);
    said = speak();
    ck_assert_uint_eq(said.bytes[2] + said.bytes[3], 0);
    f.type = QUIC_FRAME_MAX_STREAMS_BIDI;
    f.u.max.max = 3;
    ck_assert_int_eq(quic_streams_rx(&set, &f, NULL, 0), 0);
    said = speak();
    ck_assert_uint_eq(said.bytes[2], 1900);
    ck_assert_uint_eq(said.bytes[3], 0);
    ck_assert(said.frames & UINT64_C(1) << QUIC_FRAME_STREAMS_BLOCKED_BIDI);
    f.u.max.max = 10;
    ck_assert_int_eq(quic_streams_rx(&set, &f, NULL, 0), 0);
    ck_assert_uint_eq(speak().bytes[3], 1900);
}
END_TEST

/* A reset says there were no bytes, for none has arrived; that of a held stream waits. */
START_TEST(resets_are_of_nothing)
{
    struct quic_params old = limits(10000, 4000, 4, 4);
    quic_streams_set_peer(&set, &old);
    struct quic_stream *s = open_and_write(2000, false);
    speak();
    ck_assert_int_eq(quic_stream_reset(s, 9), 0);
    ck_assert_int_eq(quic_stream_stop(s, 9), 0);
    struct said said = speak();
    ck_assert(said.frames & UINT64_C(1) << QUIC_FRAME_RESET_STREAM);
    ck_assert_uint_eq(said.reset_size, 2000);
    struct quic_sent_frame reset = {.kind = QUIC_FRAME_RESET_STREAM, .ref = s->handle};
    quic_streams_on_fate(&set, &reset, false); /* as the owner tells before it rewinds */
    quic_streams_rewind(&set);
    ck_assert(!quic_streams_sendable(&set));
    struct quic_params now = limits(10, 10, 0, 0);
    quic_streams_set_peer(&set, &now);
    ck_assert_uint_eq(speak().frames & UINT64_C(1) << QUIC_FRAME_RESET_STREAM, 0);
    struct quic_frame f = {.type = QUIC_FRAME_MAX_STREAMS_BIDI};
    f.u.max.max = 1;
    ck_assert_int_eq(quic_streams_rx(&set, &f, NULL, 0), 0);
    said = speak();
    ck_assert(said.frames & UINT64_C(1) << QUIC_FRAME_RESET_STREAM);
    ck_assert_uint_eq(said.reset_size, 0);
    ck_assert_uint_eq(set.send_flow.used, 0);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {everything_goes_again, lower_limits_hold, resets_are_of_nothing};
    return TOOLKIT_SUITE_WITH("quic/stream_rewind", tests, begin, end);
}
