/* checker_tls.c - the little of TLS 1.3 an observer has to read (RFC 8446 section 4): the client's random, by which the
 * key log names secrets; the suite the server chose; and both sides' transport parameters, which are the first limits.
 *
 * Reads what has come so far of a CRYPTO stream; a message that is not complete is looked at again when more has.
 */
#include "checker.h"

enum { CLIENT_HELLO = 1, SERVER_HELLO = 2, ENCRYPTED_EXTENSIONS = 8, EARLY_DATA = 42, QUIC_PARAMETERS = 57 };

static void take_params(struct checker *c, struct check_conn *conn, unsigned side, const uint8_t *data, size_t len) {
    struct check_side *s = &conn->sides[side], *peer = &conn->sides[!side];
    const char *text = NULL;
    if (quic_params_parse(data, len, side == CHECK_CLIENT ? CRYPTO_CLIENT : CRYPTO_SERVER, &s->params, &text)) {
        check_fail(c, "parameters", "side %u sent wrong transport parameters: %s", side, text ? text : "malformed");
        return;
    }
    s->params_known = true;
    if (s->params.has_preferred_address && s->cid_count == 1) { /* 5.1.1: the ID with sequence number 1 */
        s->cids[s->cid_count++] =
            (struct check_cid){.cid = s->params.preferred_address.cid, .sequence = 1, .delivered = true};
        check_id_add(c, &s->params.preferred_address.cid, conn, side);
    }
    peer->max_data = peer->max_data > s->params.initial_max_data ? peer->max_data : s->params.initial_max_data;
    if (peer->max_streams[0] < s->params.initial_max_streams_bidi)
        peer->max_streams[0] = s->params.initial_max_streams_bidi;
    if (peer->max_streams[1] < s->params.initial_max_streams_uni)
        peer->max_streams[1] = s->params.initial_max_streams_uni;
    /* streams that were used with 0-RTT knew older limits */
    for (unsigned kind = 0; kind < 4; kind++)
        for (uint64_t i = 0; i < peer->stream_capacity[kind]; i++)
            if (peer->streams[kind][i].touched) {
                peer->streams[kind][i].touched = false;
                uint64_t final_size = peer->streams[kind][i].final_size;
                check_stream_of(c, conn, !side, i << 2 | kind)->final_size = final_size;
            }
}

static void take_extensions(struct checker *c, struct check_conn *conn, unsigned side, struct base_reader *in) {
    size_t total = base_read_u16(in);
    (void)total;
    while (!in->bad && in->pos < in->end) {
        unsigned type = base_read_u16(in);
        size_t len = base_read_u16(in);
        const uint8_t *data = base_read_bytes(in, len);
        conn->early_accepted |= side == CHECK_SERVER && data && type == EARLY_DATA;
        if (data && type == QUIC_PARAMETERS)
            take_params(c, conn, side, data, len);
    }
}

static void take_client_hello(struct checker *c, struct check_conn *conn, struct base_reader *in) {
    base_read_u16(in);
    const uint8_t *random = base_read_bytes(in, 32);
    base_read_bytes(in, base_read_u8(in));
    base_read_bytes(in, base_read_u16(in));
    base_read_bytes(in, base_read_u8(in));
    if (in->bad)
        return;
    memcpy(conn->random, random, 32);
    conn->random_known = true;
    take_extensions(c, conn, CHECK_CLIENT, in);
}

static void take_server_hello(struct check_conn *conn, struct base_reader *in) {
    base_read_bytes(in, 2 + 32);
    base_read_bytes(in, base_read_u8(in));
    unsigned suite = base_read_u16(in);
    if (in->bad)
        return;
    conn->aead = suite == 0x1303 ? CRYPTO_CHACHA20_POLY1305 : suite == 0x1302 ? CRYPTO_AES_256_GCM : CRYPTO_AES_128_GCM;
    conn->aead_known = true;
}

void check_tls(struct checker *c, struct check_conn *conn, unsigned side, enum quic_space space) {
    const struct check_bytes *crypto = &conn->sides[side].crypto[space];
    struct base_reader in = base_reader_of(crypto->data, crypto->len);
    unsigned type = base_read_u8(&in);
    size_t len = (size_t)base_read_uint(&in, 3);
    const uint8_t *body = base_read_bytes(&in, len);
    if (!body)
        return;
    in = base_reader_of(body, len);
    if (side == CHECK_CLIENT && type == CLIENT_HELLO && !conn->random_known)
        take_client_hello(c, conn, &in);
    else if (side == CHECK_SERVER && type == SERVER_HELLO && !conn->aead_known)
        take_server_hello(conn, &in);
    else if (side == CHECK_SERVER && type == ENCRYPTED_EXTENSIONS && !conn->sides[side].params_known)
        take_extensions(c, conn, CHECK_SERVER, &in);
}
