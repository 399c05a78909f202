/* qlog_packet.c - packets and datagrams, as they go and come (draft-ietf-quic-qlog-quic-events sections 5 and 12.10).
 *
 * A packet is read a second time, from its plaintext: the header's fields and, through qlog_frame.c, every frame. So
 * what is told is what is on the wire, for what we send as for what we receive, and no other code has to be careful to
 * tell it.
 *
 * Invariant: each packet number of a space is told as sent at most once, before anything that may be told of its fate.
 */
#include "quic/conn.h"
#include "quic/qlog.h"
#include "quic/walk.h"

#define QLOG_DATAGRAMS 64u /* of one record */

static const char *type_name(unsigned type) {
    static const char *const names[] = {
        [QUIC_PACKET_INITIAL] = "initial",
        [QUIC_PACKET_0RTT] = "0RTT",
        [QUIC_PACKET_HANDSHAKE] = "handshake",
        [QUIC_PACKET_RETRY] = "retry",
        [QUIC_PACKET_VERSION_NEGOTIATION] = "version_negotiation",
        [QUIC_PACKET_1RTT] = "1RTT",
    };
    return type < sizeof names / sizeof *names ? names[type] : "unknown";
}

static enum quic_packet_type type_of_level(enum crypto_level level) {
    static const enum quic_packet_type types[CRYPTO_LEVELS] = {QUIC_PACKET_INITIAL, QUIC_PACKET_0RTT,
                                                               QUIC_PACKET_HANDSHAKE, QUIC_PACKET_1RTT};
    return types[level];
}

static void write_length(struct qlog_json *json, size_t len) {
    qlog_json_open(json, "raw", '{');
    qlog_json_uint(json, "length", len);
    qlog_json_close(json, '}');
}

static void write_token(struct qlog_json *json, const char *type, uint64_t len) {
    qlog_json_open(json, "token", '{');
    if (type)
        qlog_json_text(json, "type", type);
    write_length(json, (size_t)len);
    qlog_json_close(json, '}');
}

static void write_cid(struct qlog_json *json, const char *len_name, const char *name, const uint8_t *id, size_t len) {
    qlog_json_uint(json, len_name, len);
    qlog_json_hex(json, name, id, len);
}

/* ---- headers ---- */

static void long_header(const struct quic_conn *conn, struct qlog_json *json, const struct quic_qlog_packet *packet) {
    struct base_reader in = base_reader_of(packet->start + 1, packet->pn_offset - 1u);
    uint32_t version = base_read_u32(&in);
    size_t dcil = base_read_u8(&in);
    const uint8_t *dcid = base_read_bytes(&in, dcil);
    size_t scil = base_read_u8(&in);
    const uint8_t *scid = base_read_bytes(&in, scil);
    uint64_t token = packet->level == CRYPTO_INITIAL ? base_read_varint(&in) : 0;
    if (in.bad)
        return;
    if (token)
        write_token(json, conn->retried ? "retry" : NULL, token);
    qlog_json_uint(json, "length", packet->pn_len + packet->payload + CRYPTO_TAG_SIZE);
    qlog_json_hex32(json, "version", version);
    write_cid(json, "scil", "scid", scid, scil);
    write_cid(json, "dcil", "dcid", dcid, dcil);
}

/* The first byte has the lowest bit of the key's generation; a packet of the other phase is of the one before. */
static uint64_t key_phase(const struct quic_conn *conn, uint8_t first) {
    uint64_t generation = conn->phase.generation;
    bool same = ((first >> 2 & 1) == (generation & 1)) || !generation;
    return same ? generation : generation - 1;
}

static void write_header(const struct quic_conn *conn, struct qlog_json *json, const struct quic_qlog_packet *packet) {
    qlog_json_open(json, "header", '{');
    qlog_json_text(json, "packet_type", type_name(type_of_level(packet->level)));
    qlog_json_uint(json, "packet_number", packet->number);
    qlog_json_uint(json, "packet_number_length", packet->pn_len);
    if (packet->level == CRYPTO_APPLICATION) {
        qlog_json_uint(json, "key_phase", key_phase(conn, packet->first));
        qlog_json_flag(json, "spin_bit", (packet->first & 0x20) != 0);
    } else {
        long_header(conn, json, packet);
    }
    qlog_json_close(json, '}');
}

/* Of a packet that is told of by its type alone. */
static void write_type(struct qlog_json *json, unsigned type) {
    qlog_json_open(json, "header", '{');
    qlog_json_text(json, "packet_type", type_name(type));
    qlog_json_close(json, '}');
}

/* ---- packets with protection ---- */

static void write_packet(struct quic_conn *conn, struct qlog_json *json, const struct quic_qlog_packet *packet,
                         uint64_t exponent) {
    size_t head = (size_t)packet->pn_offset + packet->pn_len;
    write_header(conn, json, packet);
    qlog_json_open(json, "raw", '{');
    qlog_json_uint(json, "length", head + packet->payload + CRYPTO_TAG_SIZE);
    qlog_json_uint(json, "payload_length", packet->payload);
    qlog_json_close(json, '}');
    quic_qlog_frames(json, packet->start + head, packet->payload, packet->level == CRYPTO_APPLICATION ? exponent : 0);
}

void quic_qlog_packet_sent(struct quic_conn *conn, const struct quic_qlog_packet *packet) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:packet_sent", packet->path);
    if (!json)
        return;
    write_packet(conn, json, packet, conn->config->options.ack_delay_exponent);
    if (packet->mtu_probe)
        qlog_json_flag(json, "is_mtu_probe_packet", true);
    if (packet->level != CRYPTO_EARLY && conn->recovery.probes[quic_space_of(packet->level)])
        qlog_json_text(json, "trigger", "pto_probe");
    quic_qlog_record_end(conn);
}

/* The IDs of ours that the peer uses: told when it changes over. */
static void note_local_cid(struct quic_conn *conn, const struct quic_qlog_packet *packet) {
    struct quic_cid *told = &conn->qlog->told.local, now = {.len = conn->endpoint->cid_len};
    memcpy(now.id, packet->start + 1, now.len);
    if (packet->level != CRYPTO_APPLICATION || quic_cid_equal(told, &now))
        return;
    struct qlog_json *json = quic_qlog_record(conn, "quic:connection_id_updated", packet->path);
    if (!json)
        return;
    qlog_json_text(json, "initiator", "remote");
    if (told->len)
        qlog_json_hex(json, "old", told->id, told->len);
    qlog_json_hex(json, "new", now.id, now.len);
    quic_qlog_record_end(conn);
    *told = now;
}

void quic_qlog_packet_received(struct quic_conn *conn, const struct quic_qlog_packet *packet) {
    note_local_cid(conn, packet);
    struct qlog_json *json = quic_qlog_record(conn, "quic:packet_received", packet->path);
    if (!json)
        return;
    write_packet(conn, json, packet, conn->peer_params.ack_delay_exponent);
    quic_qlog_record_end(conn);
}

/* ---- packets without ---- */

void quic_qlog_unprotected(struct quic_conn *conn, const struct quic_header *header) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:packet_received", conn->recovery.active);
    bool retry = header->type == QUIC_PACKET_RETRY;
    if (!json)
        return;
    qlog_json_open(json, "header", '{');
    qlog_json_text(json, "packet_type", type_name(header->type));
    if (retry)
        write_token(json, "retry", header->token_len);
    qlog_json_hex32(json, "version", header->version);
    write_cid(json, "scil", "scid", header->scid.id, header->scid.len);
    write_cid(json, "dcil", "dcid", header->dcid.id, header->dcid.len);
    qlog_json_close(json, '}');
    size_t count = retry ? 0 : quic_header_version_count(header);
    if (count)
        qlog_json_open(json, "supported_versions", '[');
    for (size_t i = 0; i < count && i < QLOG_DATAGRAMS; i++)
        qlog_json_hex32(json, NULL, quic_header_version_at(header, i));
    if (count)
        qlog_json_close(json, ']');
    write_length(json, header->packet_len);
    quic_qlog_record_end(conn);
}

void quic_qlog_dropped(struct quic_conn *conn, unsigned type, size_t len, enum quic_qlog_drop why) {
    static const char *const triggers[] = {
        [QUIC_QLOG_DROP_REJECTED] = "rejected",
        [QUIC_QLOG_DROP_UNSUPPORTED] = "unsupported",
        [QUIC_QLOG_DROP_INVALID] = "invalid",
        [QUIC_QLOG_DROP_DUPLICATE] = "duplicate",
        [QUIC_QLOG_DROP_DECRYPTION] = "decryption_failure",
        [QUIC_QLOG_DROP_KEY] = "key_unavailable",
    };
    struct qlog_json *json = quic_qlog_record(conn, "quic:packet_dropped", QUIC_PATHS);
    if (!json)
        return;
    write_type(json, type);
    write_length(json, len);
    qlog_json_text(json, "trigger", triggers[why]);
    quic_qlog_record_end(conn);
}

void quic_qlog_buffered(struct quic_conn *conn, enum crypto_level level, size_t len) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:packet_buffered", QUIC_PATHS);
    if (!json)
        return;
    write_type(json, type_of_level(level));
    write_length(json, len);
    qlog_json_text(json, "trigger", "keys_unavailable");
    quic_qlog_record_end(conn);
}

/* ---- losses ---- */

/* Of the packets of the application space those sent before 1-RTT keys were there went as 0-RTT. */
static enum quic_packet_type type_in_space(const struct quic_conn *conn, enum quic_space space) {
    if (space != QUIC_APPLICATION)
        return space == QUIC_INITIAL ? QUIC_PACKET_INITIAL : QUIC_PACKET_HANDSHAKE;
    return conn->keys[CRYPTO_APPLICATION].tx ? QUIC_PACKET_1RTT : QUIC_PACKET_0RTT;
}

void quic_qlog_lost(struct quic_conn *conn, enum quic_space space, uint64_t number,
                    const struct quic_sent_packet *packet) {
    bool gone =
        packet->path < QUIC_PATHS && packet->era != conn->recovery.eras[packet->path]; /* its path is another one now */
    struct qlog_json *json = quic_qlog_record(conn, "quic:packet_lost", gone ? QUIC_PATHS : packet->path);
    bool reordered = conn->recovery.spaces[space].largest_acked - number >= QUIC_PACKET_THRESHOLD;
    if (!json)
        return;
    qlog_json_open(json, "header", '{');
    qlog_json_text(json, "packet_type", type_name(type_in_space(conn, space)));
    qlog_json_uint(json, "packet_number", number);
    qlog_json_close(json, '}');
    if (packet->mtu_probe)
        qlog_json_flag(json, "is_mtu_probe_packet", true);
    qlog_json_text(json, "trigger", reordered ? "reordering_threshold" : "time_threshold");
    quic_qlog_record_end(conn);
}

/* ---- datagrams ---- */

static const char *ecn_name(uint8_t ecn) {
    static const char *const names[] = {
        [QUIC_NOT_ECT] = "Not-ECT", [QUIC_ECT1] = "ECT(1)", [QUIC_ECT0] = "ECT(0)", [QUIC_CE] = "CE"};
    return names[ecn & 3];
}

static void one_length(struct qlog_json *json, size_t len) {
    qlog_json_open(json, NULL, '{');
    qlog_json_uint(json, "length", len);
    qlog_json_close(json, '}');
}

void quic_qlog_datagrams_sent(struct quic_conn *conn, const struct quic_train *train) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:udp_datagrams_sent", QUIC_PATHS);
    if (!json)
        return;
    qlog_json_uint(json, "count", train->count);
    qlog_json_open(json, "raw", '[');
    for (uint32_t i = 0; i < train->count; i++)
        one_length(json, i + 1 < train->count ? train->segment : train->len - (size_t)i * train->segment);
    qlog_json_close(json, ']');
    if (train->ecn != conn->qlog->told.ecn_sent) { /* not told: as in the record before */
        qlog_json_open(json, "ecn", '[');
        for (uint32_t i = 0; i < train->count; i++)
            qlog_json_text(json, NULL, ecn_name(train->ecn));
        qlog_json_close(json, ']');
        conn->qlog->told.ecn_sent = train->ecn;
    }
    quic_qlog_record_end(conn);
}

static void datagrams_received(struct quic_conn *conn, const struct quic_datagram *datagrams, size_t count) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:udp_datagrams_received", QUIC_PATHS);
    uint8_t *told = &conn->qlog->told.ecn_received;
    bool changed = false;
    if (!json)
        return;
    qlog_json_uint(json, "count", count);
    qlog_json_open(json, "raw", '[');
    for (size_t i = 0; i < count; i++) {
        one_length(json, datagrams[i].len);
        changed |= datagrams[i].ecn != *told;
    }
    qlog_json_close(json, ']');
    if (changed) {
        qlog_json_open(json, "ecn", '[');
        for (size_t i = 0; i < count; i++)
            qlog_json_text(json, NULL, ecn_name(datagrams[i].ecn));
        qlog_json_close(json, ']');
        *told = datagrams[count - 1].ecn;
    }
    quic_qlog_record_end(conn);
}

void quic_qlog_datagrams_received(struct quic_conn *conn, const struct quic_datagram *datagrams, size_t count) {
    for (size_t i = 0; i < count; i += QLOG_DATAGRAMS)
        datagrams_received(conn, datagrams + i, count - i < QLOG_DATAGRAMS ? count - i : QLOG_DATAGRAMS);
}
