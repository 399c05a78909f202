/* chaos.c - see chaos.h. Codes follow from the stream's ID, so whoever hears one knows whether it is right: reset 1000
 * + id, stop 2000 + id; a stop is answered by a reset with the stop's code (RFC 9000 3.5).
 */
#include "chaos.h"

#include <stdlib.h>

#include "transfer.h"

struct part { /* one side of a stream */
    uint64_t written, taken, want;
    bool finished, reset, stopped, ended, heard_reset, heard_stop;
};

static struct chaos_side *side_of(struct sim_node *node) { return &((struct chaos *)node->user)->sides[node->index]; }

static struct part *part_of(struct sim_node *node, struct quic_stream *s) {
    if (!s->user) {
        struct part *part = calloc(1, sizeof *part);
        part->want = sim_roll(&node->dice) % 4 ? sim_roll(&node->dice) % 3000 : sim_roll(&node->dice) % 200000;
        s->user = part;
        side_of(node)->opened++;
    }
    return s->user;
}

static bool is_own(const struct sim_node *node, const struct quic_stream *s) { return (s->id & 1) == node->index; }
static bool can_send(const struct sim_node *node, const struct quic_stream *s) {
    return !(s->id & 2) || is_own(node, s);
}
static bool can_read(const struct sim_node *node, const struct quic_stream *s) {
    return !(s->id & 2) || !is_own(node, s);
}
static uint8_t byte_at(uint64_t id, unsigned sender, uint64_t offset) { return transfer_byte(id * 2 + sender, offset); }

static void chaos_write(struct sim_node *node, struct quic_stream *s) {
    struct part *part = part_of(node, s);
    uint8_t block[8192];
    if (!can_send(node, s) || part->finished || part->reset || part->heard_stop)
        return;
    size_t len = (size_t)(sim_roll(&node->dice) % sizeof block);
    if (len > part->want - part->written)
        len = (size_t)(part->want - part->written);
    for (size_t i = 0; i < len; i++)
        block[i] = byte_at(s->id, node->index, part->written + i);
    bool fin = part->written + len == part->want;
    int64_t taken = quic_stream_write(s, block, len, fin);
    if (taken < 0)
        return;
    part->written += (uint64_t)taken;
    part->finished = fin && (size_t)taken == len;
}

static void chaos_read(struct sim_node *node, struct quic_stream *s, uint64_t most) {
    struct part *part = part_of(node, s);
    struct quic_slice slice;
    while (most && !part->stopped && quic_stream_peek(s, &slice, 1)) {
        size_t len = slice.len < most ? slice.len : (size_t)most;
        for (size_t i = 0; i < len; i++)
            if (slice.data[i] != byte_at(s->id, !node->index, part->taken + i)) {
                sim_fail(node->world, "stream %llu: wrong byte at %llu", (unsigned long long)s->id,
                         (unsigned long long)(part->taken + i));
                return;
            }
        part->taken += len;
        side_of(node)->received += len;
        most -= len;
        int result = quic_stream_consume(s, len, 20 * BASE_MS, node->world->now);
        if (result)
            sim_fail(node->world, "consume: %d", result);
    }
    if (most && !part->ended && !part->stopped && can_read(node, s) && quic_stream_recv_at_end(&s->recv)) {
        quic_stream_consume(s, 0, 20 * BASE_MS, node->world->now);
        part->ended = true;
        side_of(node)->ends++;
    }
}

/* One random act on a random stream. */
static void chaos_act(struct sim_node *node) {
    struct chaos_side *side = side_of(node);
    struct sim_dice *dice = &node->dice;
    struct quic_streams *set = &side->conn->streams;
    struct quic_stream *s = NULL;
    unsigned pick = (unsigned)(sim_roll(dice) % 16), what = (unsigned)(sim_roll(dice) % 24);
    for (struct base_node *n = base_list_first(&set->all); n && pick; n = base_list_next(&set->all, n), pick--)
        s = BASE_CONTAINER(n, struct quic_stream, all);
    if (!s || what < 4) {
        if (quic_streams_open(set, what % 2, &s) == ERR_OK)
            chaos_write(node, s);
        return;
    }
    struct part *part = part_of(node, s);
    if (what < 12) {
        chaos_write(node, s);
    } else if (what == 12 && can_send(node, s) && !part->heard_stop) {
        if (quic_stream_reset(s, 1000 + s->id) == ERR_OK)
            part->reset = true;
    } else if (what == 13 && can_read(node, s)) {
        if (quic_stream_stop(s, 2000 + s->id) == ERR_OK)
            part->stopped = true;
    } else if (what == 14) {
        quic_stream_priority(s, (uint8_t)(sim_roll(dice) % 8), sim_roll(dice) % 2);
    } else if (what == 15) {
        quic_stream_pause(s, true);
        chaos_read(node, s, 10);
        quic_stream_pause(s, false);
    } else if (what == 16 && side->key_updates) {
        quic_conn_update_keys(side->conn);
    } else if (what == 17) {
        quic_conn_ping(side->conn);
    } else {
        chaos_read(node, s, sim_roll(dice) % 5000);
    }
}

/* No more acts: everything is brought to its end. */
static void chaos_wind_up(struct sim_node *node, struct quic_stream *s) {
    struct part *part = part_of(node, s);
    part->want = part->written < part->want ? part->want : part->written;
    for (uint64_t before = UINT64_MAX; !part->finished && before != part->written;) {
        before = part->written;
        chaos_write(node, s);
    }
    chaos_read(node, s, UINT64_MAX);
}

static void on_timer(struct sim_node *node) {
    struct chaos_side *side = side_of(node);
    if (!side->conn || side->conn_closed)
        return;
    if (side->acts) {
        side->acts--;
        chaos_act(node);
        node->wake = node->world->now + 1 + sim_roll(&node->dice) % side->pause;
        return;
    }
    struct base_list *all = &side->conn->streams.all;
    for (struct base_node *n = base_list_first(all), *next; n; n = next) {
        next = base_list_next(all, n);
        chaos_wind_up(node, BASE_CONTAINER(n, struct quic_stream, all));
    }
    node->wake = base_list_empty(all) ? BASE_NEVER : node->world->now + 5 * BASE_MS;
}

static void on_conn(struct sim_node *node, struct quic_conn *conn, uint32_t bits) {
    struct chaos_side *side = side_of(node);
    side->conn = conn;
    if (bits & QUIC_CONN_EV_CONNECTED) {
        side->connected = true;
        node->wake = node->world->now;
    }
}

static void on_closed(struct sim_node *node, struct quic_conn *conn) {
    struct chaos_side *side = side_of(node);
    if (side->conn_closed)
        sim_fail(node->world, "CLOSED twice");
    side->conn_closed = true;
    side->close = conn->close;
    side->conn = NULL;
}

static void on_stream(struct sim_node *node, struct quic_stream *s, uint32_t bits) {
    struct chaos_side *side = side_of(node);
    struct part *part = part_of(node, s);
    bool over = s->set->closed;
    if ((bits & QUIC_STREAM_EV_OPENED) && is_own(node, s))
        sim_fail(node->world, "OPENED for our own stream");
    if (bits & QUIC_STREAM_EV_RESET) {
        uint64_t code = s->recv.reset_code;
        if (code != 1000 + s->id && !(part->stopped && code == 2000 + s->id))
            sim_fail(node->world, "stream %llu: reset with code %llu", (unsigned long long)s->id,
                     (unsigned long long)code);
        if (part->heard_reset || part->ended)
            sim_fail(node->world, "stream %llu: RESET twice or after the end", (unsigned long long)s->id);
        part->heard_reset = true;
        side->resets++;
    }
    if (bits & QUIC_STREAM_EV_STOPPED) {
        if (s->stop_code_received != 2000 + s->id)
            sim_fail(node->world, "stream %llu: stopped with code %llu", (unsigned long long)s->id,
                     (unsigned long long)s->stop_code_received);
        part->heard_stop = true;
        side->stops++;
    }
    if ((bits & QUIC_STREAM_EV_FINISHED) && !part->finished)
        sim_fail(node->world, "stream %llu: FINISHED though it is not", (unsigned long long)s->id);
    if (!over && (bits & QUIC_STREAM_EV_WRITABLE) && side->conn)
        chaos_write(node, s);
    if (!over && (bits & QUIC_STREAM_EV_READABLE) && side->conn && !side->acts)
        chaos_read(node, s, UINT64_MAX);
    if (bits & QUIC_STREAM_EV_CLOSED) {
        side->closed++;
        free(s->user);
        s->user = NULL;
    } else if (!side->acts && side->conn && node->wake == BASE_NEVER) {
        node->wake = node->world->now + BASE_MS;
    }
}

bool chaos_done(const struct chaos *chaos) {
    for (unsigned i = 0; i < 2; i++) {
        const struct chaos_side *side = &chaos->sides[i];
        if (side->conn_closed)
            continue;
        if (!side->connected || side->acts || side->opened != side->closed)
            return false;
    }
    return true;
}

const struct sim_app chaos_app = {on_conn, on_closed, on_stream, on_timer};
