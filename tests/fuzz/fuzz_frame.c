/* fuzz_frame.c - any bytes as the frames of a packet: nothing is read beyond them, and what a parsed frame promises
 * holds. */
#include <stdlib.h>

#include "quic/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds)
        abort();
}

static void touch(const uint8_t *at, uint64_t len) {
    static volatile uint8_t sink;
    for (uint64_t i = 0; i < len; i++)
        sink = (uint8_t)(sink ^ at[i]);
}

/* Ranges go down, apart from each other, and not below 0. */
static void walk_ack(struct quic_frame_ack *ack) {
    require(ack->first_range <= ack->largest);
    uint64_t low = ack->largest - ack->first_range, before = low, high, count = 0;
    while (quic_frame_ack_next(ack, &low, &high)) {
        require(low <= high && high < before && before - high >= 2);
        before = low;
        count++;
    }
    require(count == ack->range_count && !ack->ranges.bad);
}

static void check(struct quic_frame *frame) {
    if ((frame->type & ~UINT64_C(7)) == QUIC_FRAME_STREAM) {
        require(frame->u.stream.offset + frame->u.stream.len <= BASE_VARINT_MAX);
        touch(frame->u.stream.data, frame->u.stream.len);
    } else if (frame->type == QUIC_FRAME_ACK || frame->type == QUIC_FRAME_ACK_ECN) {
        walk_ack(&frame->u.ack);
    } else if (frame->type == QUIC_FRAME_CRYPTO) {
        require(frame->u.crypto.offset + frame->u.crypto.len <= BASE_VARINT_MAX);
        touch(frame->u.crypto.data, frame->u.crypto.len);
    } else if (frame->type == QUIC_FRAME_NEW_TOKEN) {
        require(frame->u.new_token.len > 0);
        touch(frame->u.new_token.token, frame->u.new_token.len);
    } else if (frame->type == QUIC_FRAME_DATAGRAM || frame->type == QUIC_FRAME_DATAGRAM_LEN) {
        require(frame->u.datagram.size > frame->u.datagram.len);
        touch(frame->u.datagram.data, frame->u.datagram.len);
    } else if (frame->type == QUIC_FRAME_RESET_STREAM_AT) {
        require(frame->u.reset_stream.reliable_size <= frame->u.reset_stream.final_size);
    } else if (frame->type == QUIC_FRAME_NEW_CONNECTION_ID) {
        require(frame->u.new_cid.cid.len >= 1 && frame->u.new_cid.cid.len <= QUIC_CID_MAX);
        require(frame->u.new_cid.retire_prior_to <= frame->u.new_cid.sequence);
        touch(frame->u.new_cid.reset_token, 16);
    } else if (frame->type == QUIC_FRAME_PATH_CHALLENGE || frame->type == QUIC_FRAME_PATH_RESPONSE) {
        touch(frame->u.path.data, 8);
    } else if (frame->type == QUIC_FRAME_CONNECTION_CLOSE || frame->type == QUIC_FRAME_CONNECTION_CLOSE_APP) {
        touch(frame->u.close.reason, frame->u.close.reason_len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct base_reader in = base_reader_of(data, size);
    while (base_reader_left(&in) > 0) {
        const uint8_t *before = in.pos;
        struct quic_frame frame;
        enum quic_error error = quic_frame_parse(&in, &frame);
        require(error == QUIC_NO_ERROR || error == QUIC_FRAME_ENCODING_ERROR || error == QUIC_PROTOCOL_VIOLATION);
        if (error)
            break;
        require(in.pos > before && in.pos <= in.end && frame.type <= QUIC_FRAME_ACK_FREQUENCY);
        check(&frame);
    }
    return 0;
}
