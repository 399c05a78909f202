/* frame.h - frames as bytes: syntax only (RFC 9000 section 19). What a frame means is decided in rx_frame.c.
 *
 * One parser for every packet type; the writers are the parser's inverse. Byte strings in a parsed frame are borrowed
 * from the packet.
 */
#ifndef QUIC_FRAME_H
#define QUIC_FRAME_H

#include "base/cursor.h"
#include "quic/types.h"

struct quic_frame_ack {
    uint64_t largest;
    uint64_t delay; /* as on the wire: not yet scaled */
    uint64_t first_range;
    uint64_t range_count;      /* further ranges, in `ranges`, all checked: no number below 0 */
    struct base_reader ranges; /* walk with quic_frame_ack_next */
    uint64_t ect0, ect1, ce;   /* ACK_ECN only */
};

struct quic_frame {
    uint64_t type; /* STREAM: with its flag bits */
    union {
        struct quic_frame_ack ack;
        struct {
            uint64_t offset, len;
            const uint8_t *data;
        } crypto;
        struct {
            uint64_t id, offset, len;
            const uint8_t *data;
            bool fin;
        } stream;
        struct {
            uint64_t id, code, final_size, reliable_size;
        } reset_stream; /* reliable_size: RESET_STREAM_AT, else 0 */
        struct {
            uint64_t id, code;
        } stop_sending;
        struct {
            const uint8_t *token;
            uint64_t len;
        } new_token;
        struct {
            uint64_t id, max;
        } max; /* MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS: id for streams only */
        struct {
            uint64_t id, limit;
        } blocked; /* the three BLOCKED frames */
        struct {
            uint64_t sequence, retire_prior_to;
            struct quic_cid cid;
            const uint8_t *reset_token;
        } new_cid;
        struct {
            uint64_t sequence;
        } retire_cid;
        struct {
            const uint8_t *data;
        } path; /* 8 bytes */
        struct {
            uint64_t code, frame_type, reason_len;
            const uint8_t *reason;
        } close;
        struct {
            uint64_t len;
        } padding; /* a run of PADDING is one frame */
        struct {
            uint64_t len, size;
            const uint8_t *data;
        } datagram; /* size: of the whole frame, which is what is limited */
        struct {
            uint64_t sequence, threshold, max_delay, reordering;
        } ack_frequency; /* max_delay: us */
    } u;
};

/* Reads the next frame. 0, or the transport error to close with: FRAME_ENCODING_ERROR for bytes that are no frame
 * (unknown type, cut short, a field out of its range: stream count > 2^60, offset + length > 2^62-1, connection ID
 * length not 1..20, retire_prior_to > sequence, empty NEW_TOKEN, reliable size > final size), PROTOCOL_VIOLATION for a
 * frame type not in its shortest encoding. On an error frame->type says which type it was, as far as known. */
enum quic_error quic_frame_parse(struct base_reader *in, struct quic_frame *frame);

/* Walks a parsed ACK frame's ranges downwards. Start with *low = largest - first_range (the first range is [*low,
 * largest]); each call gives the next lower range [*low, *high]; false at the end. */
bool quic_frame_ack_next(struct quic_frame_ack *ack, uint64_t *low, uint64_t *high);

/* Bytes a STREAM frame header takes with an explicit length field of `len_size` bytes (0: no length field). */
size_t quic_frame_stream_overhead(uint64_t id, uint64_t offset, size_t len_size);
size_t quic_frame_crypto_overhead(uint64_t offset, uint64_t len);

/* Writers. Each turns the writer bad when there is no room (nothing partial is kept by the caller then). */
void quic_frame_write_padding(struct base_writer *out, size_t len);
void quic_frame_write_type(struct base_writer *out, uint64_t type); /* PING, HANDSHAKE_DONE, IMMEDIATE_ACK */
/* A STREAM frame up to its data, which the caller puts behind it: `len` bytes; len_size as above (0: the frame ends
 * the packet). The ACK frame's writer is quic_ack_write. */
void quic_frame_write_stream_header(struct base_writer *out, uint64_t id, uint64_t offset, uint64_t len,
                                    size_t len_size, bool fin);
void quic_frame_write_crypto(struct base_writer *out, uint64_t offset, const uint8_t *data, size_t len);
void quic_frame_write_reset_stream(struct base_writer *out, uint64_t id, uint64_t code, uint64_t final_size);
void quic_frame_write_reset_stream_at(struct base_writer *out, uint64_t id, uint64_t code, uint64_t final_size,
                                      uint64_t reliable_size);
void quic_frame_write_stop_sending(struct base_writer *out, uint64_t id, uint64_t code);
void quic_frame_write_new_token(struct base_writer *out, const uint8_t *token, size_t len);
/* MAX_DATA, DATA_BLOCKED, MAX_STREAMS_*, STREAMS_BLOCKED_*, RETIRE_CONNECTION_ID */
void quic_frame_write_number(struct base_writer *out, uint64_t type, uint64_t value);
/* MAX_STREAM_DATA, STREAM_DATA_BLOCKED */
void quic_frame_write_stream_number(struct base_writer *out, uint64_t type, uint64_t id, uint64_t value);
void quic_frame_write_new_cid(struct base_writer *out, uint64_t sequence, uint64_t retire_prior_to,
                              const struct quic_cid *cid, const uint8_t reset_token[16]);
void quic_frame_write_path(struct base_writer *out, uint64_t type, const uint8_t data[8]);
/* Cuts the reason to what fits, at the start of a UTF-8 sequence. `app`: frame 0x1d, without frame_type. */
void quic_frame_write_close(struct base_writer *out, bool app, uint64_t code, uint64_t frame_type, const char *reason,
                            size_t reason_len);
/* A DATAGRAM frame up to its data; `with_len` false: its data end the packet. */
void quic_frame_write_datagram_header(struct base_writer *out, uint64_t len, bool with_len);
void quic_frame_write_ack_frequency(struct base_writer *out, uint64_t sequence, uint64_t threshold, uint64_t max_delay,
                                    uint64_t reordering);
/* Name for logs: "STREAM", "ACK", ... or "unknown". */
const char *quic_frame_name(uint64_t type);

#endif
