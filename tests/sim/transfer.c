/* transfer.c - see transfer.h. One struct transfer is shared by the client and the server node (node->user): the
 * simulation is one process. Per stream, user points to a struct that counts both directions. */
#include "transfer.h"

#include <stdlib.h>

struct side {
    uint64_t asked; /* server: bytes to send back, from the first 8 bytes; client: bytes to write */
    uint64_t written, taken;
    uint8_t head[8];
    bool known, ended;
};

uint8_t transfer_byte(uint64_t stream, uint64_t offset) {
    uint64_t x = (stream + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (offset >> 3) * UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 29;
    return (uint8_t)(x >> (8 * (offset & 7)));
}

bool transfer_done(const struct transfer *t) { return t->finished == t->streams; }

static struct side *side_of(struct quic_stream *stream) {
    if (!stream->user)
        stream->user = calloc(1, sizeof(struct side));
    return stream->user;
}

/* Writes as much of [written, asked) as is taken. The client's first 8 bytes are the length it wants back. */
static void side_write(struct sim_node *node, struct quic_stream *stream, struct side *side, const uint8_t *head) {
    uint8_t block[4096];
    while (!side->ended) {
        size_t len = 0;
        for (; len < sizeof block && side->written + len < side->asked; len++) {
            uint64_t at = side->written + len;
            block[len] = head && at < 8 ? head[at] : transfer_byte(stream->id, at);
        }
        bool fin = side->written + len == side->asked;
        int64_t taken = quic_stream_write(stream, block, len, fin);
        if (taken < 0) {
            if (taken != ERR_STREAM_CLOSED && taken != ERR_NOMEM && !(taken == ERR_CLOSED && node->world->hostile))
                sim_fail(node->world, "write on stream %llu: %lld", (unsigned long long)stream->id, (long long)taken);
            return;
        }
        side->written += (uint64_t)taken;
        if ((size_t)taken < len)
            return;
        side->ended = fin;
    }
}

/* Takes what is there and checks it. True at the end of the stream. */
static bool side_read(struct sim_node *node, struct quic_stream *stream, struct side *side, bool has_head,
                      uint64_t sip) {
    struct quic_slice slice;
    struct quic_conn *conn = quic_conn_of(&node->slots, stream->set->conn_handle);
    const base_time rtt = conn ? quic_path_active(conn)->control.rtt.smoothed : 0;
    uint64_t most = sip ? sip : UINT64_MAX;
    while (most && quic_stream_peek(stream, &slice, 1)) {
        if (slice.len > most)
            slice.len = (size_t)most;
        most -= slice.len;
        for (size_t i = 0; i < slice.len; i++) {
            uint64_t at = side->taken + i;
            if (has_head && at < 8)
                side->head[at] = slice.data[i];
            else if (slice.data[i] != transfer_byte(stream->id, at))
                sim_fail(node->world, "stream %llu: wrong byte at %llu", (unsigned long long)stream->id,
                         (unsigned long long)at);
        }
        side->taken += slice.len;
        quic_stream_consume(stream, slice.len, rtt, node->world->now);
    }
    bool end = quic_stream_recv_at_end(&stream->recv);
    if (end)
        quic_stream_consume(stream, 0, rtt, node->world->now);
    return end;
}

/* ---- client ---- */

/* A client node with many connections gives each a transfer of its own. */
static struct transfer *client_transfer(struct sim_node *node, const struct quic_conn *conn) {
    return conn && conn->user ? conn->user : node->user;
}

static struct transfer *stream_transfer(struct sim_node *node, const struct quic_stream *stream) {
    return client_transfer(node, quic_conn_of(&node->slots, stream->set->conn_handle));
}

static void client_open(struct sim_node *node, struct transfer *t) {
    while (t->opened < t->streams) {
        struct quic_stream *stream;
        int result = quic_streams_open(&t->client->streams, false, &stream);
        if (result) {
            if (result != ERR_STREAM_LIMIT && result != ERR_CLOSED && result != ERR_NOMEM)
                sim_fail(node->world, "open: %d", result);
            return;
        }
        t->opened++;
        struct side *side = side_of(stream);
        side->asked = 8 + t->upload;
        base_store_uint(side->head, t->download, 8);
        uint8_t head[8];
        memcpy(head, side->head, 8);
        side_write(node, stream, side, head);
    }
}

static void client_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    struct transfer *t = client_transfer(node, conn);
    t->client = conn;
    if (bits & QUIC_CONN_EV_CONNECTED) {
        t->connected = true;
        t->connected_at = node->world->now;
    }
    if (bits & (QUIC_CONN_EV_CONNECTED | QUIC_CONN_EV_STREAMS))
        client_open(node, t);
}

static bool reader_stopped(const struct sim_node *node, const struct transfer *t) {
    base_time now = node->world->now;
    return t->reader_stops_at && now >= t->reader_stops_at && now < t->reader_stops_at + t->reader_stops_for;
}

static void client_read(struct sim_node *node, struct quic_stream *stream) {
    struct transfer *t = stream_transfer(node, stream);
    struct side *side = side_of(stream);
    if (reader_stopped(node, t)) {
        node->wake = t->reader_stops_at + t->reader_stops_for;
        return;
    }
    uint64_t before = side->taken;
    bool end = side_read(node, stream, side, false, t->sip);
    if (t->sip && !end)
        node->wake = base_time_min(node->wake, node->world->now + 100 * BASE_US);
    t->received += side->taken - before;
    if (!end || side->known)
        return;
    side->known = true;
    if (side->taken != t->download)
        sim_fail(node->world, "stream %llu: %llu bytes came back, not %llu", (unsigned long long)stream->id,
                 (unsigned long long)side->taken, (unsigned long long)t->download);
    if (++t->finished == t->streams) {
        t->done_at = node->world->now;
        if (t->close_when_done && t->client)
            quic_conn_close(t->client, true, 0, "done", 4, node->world->now);
    }
}

static void client_stream(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    struct side *side = side_of(stream);
    if (bits & QUIC_STREAM_EV_WRITABLE) {
        uint8_t head[8];
        base_store_uint(head, stream_transfer(node, stream)->download, 8);
        side_write(node, stream, side, head);
    }
    if (bits & QUIC_STREAM_EV_READABLE)
        client_read(node, stream);
    if (bits & QUIC_STREAM_EV_CLOSED) {
        free(stream->user);
        stream->user = NULL;
    }
}

void transfer_more(struct sim_node *client, struct transfer *t) { client_open(client, t); }

static void client_timer(struct sim_node *node) {
    struct transfer *t = node->user;
    if (!t->client)
        return;
    struct base_node *at = base_list_first(&t->client->streams.all);
    while (at) {
        struct quic_stream *stream = BASE_CONTAINER(at, struct quic_stream, all);
        at = base_list_next(&t->client->streams.all, at);
        client_read(node, stream);
    }
}

static void client_closed(struct sim_node *node, struct quic_conn *conn) {
    struct transfer *t = client_transfer(node, conn);
    t->client_closed = true;
    t->client_close = conn->close;
    t->client_stats = conn->stats;
    t->client = NULL;
}

/* ---- server ---- */

static void server_stream(struct sim_node *node, struct quic_stream *stream, uint32_t bits) {
    struct side *side = side_of(stream);
    if (bits & QUIC_STREAM_EV_READABLE) {
        bool end = side_read(node, stream, side, true, 0);
        bool eager = ((const struct transfer *)node->user)->eager;
        if (side->taken >= 8 && !side->known) {
            side->known = true;
            for (unsigned i = 0; i < 8; i++)
                side->asked = side->asked << 8 | side->head[i];
        }
        if ((end || eager) && side->known)
            side_write(node, stream, side, NULL);
    }
    if ((bits & QUIC_STREAM_EV_WRITABLE) && side->known)
        side_write(node, stream, side, NULL);
    if (bits & QUIC_STREAM_EV_CLOSED) {
        free(stream->user);
        stream->user = NULL;
    }
}

static void server_closed(struct sim_node *node, struct quic_conn *conn) {
    struct transfer *t = node->user;
    t->server_closed = true;
    t->server_close = conn->close;
    t->server_stats = conn->stats;
}

const struct sim_app transfer_client_app = {client_conn, client_closed, client_stream, client_timer};
const struct sim_app transfer_server_app = {NULL, server_closed, server_stream, NULL};
