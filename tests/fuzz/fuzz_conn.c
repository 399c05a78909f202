/* fuzz_conn.c - a whole connection and a peer that has the true keys and says anything.
 *
 * The first byte chooses the victim (server or client) and when the peer goes bad: in its first flight, or when the
 * handshake is over. Then come acts: a byte for what, a byte for how much. Frames of any kind in packets of any level
 * sealed with the peer's keys; true datagrams carried, changed, cut or lost; time; and what an application does on the
 * victim's side meanwhile. Whatever happens, nothing may crash, memory stays bounded, and all of it comes back.
 */
#include "peers.h"

#define MOST_ACTS 64u
#define MOST_MEMORY ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct peers peers;
static enum crypto_role victim, attacker;
static uint64_t numbers[CRYPTO_LEVELS];

/* ---- packets with true keys ---- */

static size_t write_header(struct quic_conn *conn, enum crypto_level level, struct base_writer *w,
                           uint8_t **length_at) {
    static const enum quic_packet_type types[] = {QUIC_PACKET_INITIAL, QUIC_PACKET_0RTT, QUIC_PACKET_HANDSHAKE};
    const uint8_t *start = w->pos;
    const struct quic_cid *dcid = &quic_remote_cids_of_path(&conn->remote_cids, conn->recovery.active)->cid;
    if (level == CRYPTO_APPLICATION)
        quic_header_write_short(w, dcid, 4, conn->phase.generation & 1, false);
    else
        quic_header_write_long(w, conn->version, types[level], 4, dcid, &conn->local_cids.list[0].cid, conn->token,
                               level == CRYPTO_INITIAL ? conn->token_len : 0, length_at);
    return (size_t)(w->pos - start);
}

static void say(enum crypto_level level, const uint8_t *frames, size_t len) {
    struct quic_conn *conn = peers_conn(&peers, attacker);
    uint8_t packet[1500] = {0}, *length_at = NULL;
    if (!conn || !conn->keys[level].tx || !quic_remote_cids_of_path(&conn->remote_cids, conn->recovery.active))
        return;
    struct base_writer w = base_writer_of(packet, sizeof packet);
    size_t pn_offset = write_header(conn, level, &w, &length_at);
    uint64_t number = numbers[level]++;
    base_write_u32(&w, (uint32_t)number);
    base_write_bytes(&w, frames, len);
    if (level == CRYPTO_INITIAL && (size_t)(w.pos - packet) < QUIC_MIN_INITIAL - CRYPTO_TAG_SIZE)
        quic_frame_write_padding(&w, QUIC_MIN_INITIAL - CRYPTO_TAG_SIZE - (size_t)(w.pos - packet));
    base_write_space(&w, CRYPTO_TAG_SIZE);
    peers_require(!w.bad);
    size_t total = (size_t)(w.pos - packet);
    if (length_at)
        quic_header_patch_length(length_at, total - pn_offset);
    struct crypto_seal_item item = {
        .packet = packet, .number = number, .len = (uint32_t)total, .pn_offset = (uint16_t)pn_offset, .pn_len = 4};
    peers_require(quic_keyphase_unpack(conn) && crypto_seal(conn->keys[level].tx, conn->keys[level].tx_mask, &item, 1));
    peers_input(&peers, victim, packet, total);
}

/* ---- true datagrams, changed ---- */

static void change(struct base_reader *in, bool cut) {
    struct peer *p = &peers.sides[attacker];
    if (!quic_endpoint_output(&p->endpoint, &p->train, peers.now))
        return;
    size_t at = base_read_u16(in) % p->train.len;
    if (cut)
        p->train.len = at + 1;
    else
        p->train.data[at] ^= base_read_u8(in);
    peers_input(&peers, victim, p->train.data, p->train.len);
}

/* ---- what the victim's application does ---- */

static struct quic_stream *some_stream(struct quic_conn *conn, uint8_t pick) {
    struct base_node *n = base_list_first(&conn->streams.all);
    for (; n && pick; pick--)
        n = base_list_next(&conn->streams.all, n);
    return n ? BASE_CONTAINER(n, struct quic_stream, all) : NULL;
}

static void application(uint8_t what, uint8_t pick) {
    static const uint8_t bytes[3000];
    struct quic_conn *conn = peers_conn(&peers, victim);
    if (!conn)
        return;
    struct quic_stream *s = some_stream(conn, pick % 8);
    struct quic_slice slice;
    switch (what % 12) {
    case 0: quic_streams_open(&conn->streams, pick & 1, &s); break;
    case 1:
        if (s)
            quic_stream_write(s, bytes, pick * 11u, pick & 1);
        break;
    case 2:
        while (s && quic_stream_peek(s, &slice, 1))
            if (quic_stream_consume(s, slice.len, BASE_MS, peers.now))
                break;
        break;
    case 3:
        if (s)
            quic_stream_reset(s, pick);
        break;
    case 4:
        if (s)
            quic_stream_stop(s, pick);
        break;
    case 5:
        if (s)
            quic_stream_detach(s, pick);
        break;
    case 6: quic_conn_update_keys(conn); break;
    case 7: quic_conn_ping(conn); break;
    case 8: quic_conn_datagram_send(conn, bytes, pick, 0); break;
    case 9:
        if (s)
            quic_stream_reset_at(s, pick, pick / 2u);
        break;
    case 10: {
        struct quic_datagram_view view;
        if (quic_conn_datagram_peek(conn, &view))
            quic_conn_datagram_take(conn);
        break;
    }
    default: quic_conn_close(conn, pick & 1, pick, "fuzz", 4, peers.now); break;
    }
    if (peers_conn(&peers, victim))
        quic_conn_mark_dirty(conn);
}

/* ---- acts ---- */

static void pass(uint8_t much) {
    peers.now += (base_time)much * much * BASE_MS;
    for (unsigned role = 0; role < 2; role++)
        quic_endpoint_tick(&peers.sides[role].endpoint, peers.now);
}

static void act(struct base_reader *in) {
    uint8_t what = base_read_u8(in), much = base_read_u8(in);
    switch (what % 8) {
    case 0:
    case 1:
    case 2: { /* mostly where most may be said */
        size_t left = base_reader_left(in), len = much < left ? much : left;
        const uint8_t *frames = base_read_bytes(in, len);
        if (frames && len)
            say(what & 0x80 ? (enum crypto_level)(what >> 5 & 3) : CRYPTO_APPLICATION, frames, len);
        break;
    }
    case 3: peers_carry(&peers, attacker, 1u + much % 4, true); break;
    case 4: peers_carry(&peers, victim, 1u + much % 4, what & 0x80); break;
    case 5: change(in, much & 1); break;
    case 6: pass(much); break;
    default: application(what >> 3, much); break;
    }
    peers_settle(&peers);
    peers_require(peers.sides[victim].mem.used < MOST_MEMORY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct base_reader in = base_reader_of(data, size);
    uint8_t how = base_read_u8(&in);
    victim = how & 1 ? CRYPTO_CLIENT : CRYPTO_SERVER;
    attacker = how & 1 ? CRYPTO_SERVER : CRYPTO_CLIENT;
    peers_open(&peers);
    peers_connect(&peers);
    for (unsigned i = 0; i < CRYPTO_LEVELS; i++)
        numbers[i] = 100;
    if (how & 1) /* a server speaks only when it was spoken to */
        peers_carry(&peers, CRYPTO_CLIENT, 4, true);
    for (bool more = !(how & 2); more;) { /* the whole handshake */
        more = peers_carry(&peers, CRYPTO_CLIENT, 100, true);
        more |= peers_carry(&peers, CRYPTO_SERVER, 100, true);
        peers_settle(&peers);
    }
    for (unsigned acts = 0; acts < MOST_ACTS && base_reader_left(&in) >= 2; acts++)
        act(&in);
    while (peers_carry(&peers, victim, 100, false)) /* what it makes of all that can be written */
        continue;
    peers_settle(&peers);
    peers_close(&peers);
    return 0;
}
