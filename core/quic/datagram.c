/* datagram.c - unreliable datagrams of the application (RFC 9221).
 *
 * Knows two queues of whole datagrams, how one becomes a DATAGRAM frame, and who is still to hear what. Does not know
 * when something may be sent (tx_packet.c), nor what else goes into the packet (tx_frame.c).
 *
 * What was sent is not kept. A datagram that somebody asked about leaves a ticket behind, which its frame record names
 * together with the datagram's sequence number: the first final fate frees the ticket, and a record that comes back
 * later - acknowledged after it was given up, say - finds another sequence number there. So each token hears one end,
 * whatever packets do.
 *
 * The invariant that matters: note_count + owed <= capacity; hence noting what happened never fails. RFC 9221 sections
 * 3, 4 and 5.
 */
#include "quic/datagram.h"

#include <assert.h>

#include "quic/conn.h"
#include "tables/errors.h"

#define SMALL_ROOM (256u - sizeof(struct quic_datagram_item))
#define LARGE_ROOM (1600u - sizeof(struct quic_datagram_item))
#define COPY_BELOW 256u /* bytes that are cheaper to copy than to refer to */
#define NO_TICKET UINT32_MAX
#define FIRST_TICKETS 16u

struct quic_datagram_item {
    struct quic_datagram_item *next;
    const uint8_t *data;
    struct base_buf *buf; /* of a slice: one reference is held */
    uint64_t sequence;
    uint32_t len, capacity; /* capacity: size of bytes[] */
    uint32_t ticket;        /* NO_TICKET: nobody asked */
    bool early;
    uint8_t bytes[];
};

static void pool_open(struct quic_pool *pool, size_t room, uint32_t keep) {
    *pool = (struct quic_pool){.size = sizeof(struct quic_datagram_item) + room, .keep = keep};
}

void quic_datagrams_init(struct quic_datagrams *set, struct base_mem *mem, struct base_events *events,
                         struct base_event *event, struct conn_stats *stats, const struct options *options) {
    *set = (struct quic_datagrams){
        .mem = mem, .events = events, .event = event, .stats = stats, .options = options, .free_ticket = NO_TICKET};
    pool_open(&set->slices, 0, 64);
    pool_open(&set->small, SMALL_ROOM, 64);
    pool_open(&set->large, LARGE_ROOM, 32);
}

/* ---- items and queues ---- */

static struct quic_pool *pool_of(struct quic_datagrams *set, size_t capacity) {
    return capacity == 0            ? &set->slices
           : capacity == SMALL_ROOM ? &set->small
           : capacity == LARGE_ROOM ? &set->large
                                    : NULL;
}

static struct quic_datagram_item *item_new(struct quic_datagrams *set, size_t capacity) {
    if (capacity > 0)
        capacity = capacity <= SMALL_ROOM ? SMALL_ROOM : capacity <= LARGE_ROOM ? LARGE_ROOM : capacity;
    struct quic_pool *pool = pool_of(set, capacity);
    struct quic_datagram_item *item =
        pool ? quic_pool_get(pool, set->mem) : base_alloc(set->mem, sizeof(struct quic_datagram_item) + capacity);
    if (item)
        *item = (struct quic_datagram_item){.capacity = (uint32_t)capacity, .ticket = NO_TICKET};
    return item;
}

static struct quic_datagram_item *item_copy(struct quic_datagrams *set, const uint8_t *data, size_t len) {
    struct quic_datagram_item *item = item_new(set, len ? len : 1);
    if (!item)
        return NULL;
    if (len)
        memcpy(item->bytes, data, len);
    item->data = item->bytes;
    item->len = (uint32_t)len;
    return item;
}

static void item_free(struct quic_datagrams *set, struct quic_datagram_item *item) {
    if (item->buf)
        base_buf_unref(item->buf);
    struct quic_pool *pool = pool_of(set, item->capacity);
    if (pool)
        quic_pool_put(pool, set->mem, item);
    else
        base_free(set->mem, item, sizeof *item + item->capacity);
}

static void queue_push(struct quic_datagram_queue *queue, struct quic_datagram_item *item) {
    if (queue->last)
        queue->last->next = item;
    else
        queue->first = item;
    queue->last = item;
    queue->bytes += item->len;
    queue->count++;
}

static struct quic_datagram_item *queue_pop(struct quic_datagram_queue *queue) {
    struct quic_datagram_item *item = queue->first;
    queue->first = item->next;
    if (!queue->first)
        queue->last = NULL;
    queue->bytes -= item->len;
    queue->count--;
    return item;
}

/* One more of `len` bytes stays within the limits. An empty queue takes any size. */
static bool queue_has_room(const struct quic_datagrams *set, const struct quic_datagram_queue *queue, uint64_t most,
                           size_t len) {
    return queue->count == 0 || (queue->count < set->options->datagram_queue_count && queue->bytes + len <= most);
}

/* ---- tickets and notes ---- */

static void note(struct quic_datagrams *set, uint64_t token, enum quic_datagram_fate fate) {
    assert(set->owed > 0 && set->note_count < set->capacity);
    set->owed--;
    uint32_t at = (set->note_first + set->note_count++) & (set->capacity - 1);
    set->notes[at] = (struct quic_datagram_note){token, (uint8_t)fate};
    base_event_raise(set->events, set->event, QUIC_CONN_EV_DATAGRAM_STATE);
}

/* The ticket's final answer. */
static void ticket_end(struct quic_datagrams *set, uint32_t index, enum quic_datagram_fate fate) {
    struct quic_datagram_ticket *ticket = &set->tickets[index];
    note(set, ticket->token, fate);
    *ticket = (struct quic_datagram_ticket){.next = set->free_ticket};
    set->free_ticket = index;
    set->live--;
}

/* Twice the tickets, and room for notes likewise. The ring is straightened on the way. */
static bool tickets_grow(struct quic_datagrams *set) {
    uint32_t from = set->capacity, to = from ? 2 * from : FIRST_TICKETS;
    struct quic_datagram_note *notes = base_alloc(set->mem, to * sizeof *notes);
    if (!notes)
        return false;
    struct quic_datagram_ticket *tickets = base_resize_array(set->mem, set->tickets, from, to, sizeof *tickets);
    if (!tickets) {
        base_free(set->mem, notes, to * sizeof *notes);
        return false;
    }
    for (uint32_t i = 0; i < set->note_count; i++)
        notes[i] = set->notes[(set->note_first + i) & (from - 1)];
    base_free(set->mem, set->notes, from * sizeof *notes);
    for (uint32_t i = to; i-- > from;) {
        tickets[i] = (struct quic_datagram_ticket){.next = set->free_ticket};
        set->free_ticket = i;
    }
    set->notes = notes;
    set->tickets = tickets;
    set->capacity = to;
    set->note_first = 0;
    return true;
}

/* Room for a token's two answers. 0, ERR_BLOCKED or ERR_NOMEM. */
static int tickets_reserve(struct quic_datagrams *set) {
    while (set->note_count + set->owed + 2 > set->capacity) {
        if (set->capacity >= 2 * QUIC_DATAGRAM_TICKETS)
            return ERR_BLOCKED;
        if (!tickets_grow(set))
            return ERR_NOMEM;
    }
    return 0;
}

static uint32_t ticket_take(struct quic_datagrams *set, uint64_t token, uint64_t sequence) {
    uint32_t index = set->free_ticket;
    assert(index != NO_TICKET); /* a live ticket owes a note at least, so there are fewer than capacity */
    set->free_ticket = set->tickets[index].next;
    set->tickets[index] = (struct quic_datagram_ticket){.token = token, .sequence = sequence, .next = NO_TICKET};
    set->live++;
    set->owed += 2;
    return index;
}

/* Half of what was too much is gone: whoever was refused may go on. */
static void tell_room(struct quic_datagrams *set) {
    const struct options *o = set->options;
    bool half = set->out.count <= o->datagram_queue_count / 2 && set->out.bytes <= o->datagram_send_queue / 2;
    if (!set->refused || set->closed || (!half && o->datagram_drop == QUIC_DATAGRAM_NEWEST))
        return; /* a queue that drops its oldest refuses nothing */
    if (set->note_count + set->owed > QUIC_DATAGRAM_TICKETS)
        return;
    set->refused = false;
    base_event_raise(set->events, set->event, QUIC_CONN_EV_DATAGRAM_ROOM);
}

size_t quic_datagrams_notes(struct quic_datagrams *set, struct quic_datagram_note *notes, size_t max) {
    size_t count = 0;
    while (count < max && set->note_count) {
        notes[count++] = set->notes[set->note_first];
        set->note_first = (set->note_first + 1) & (set->capacity - 1);
        set->note_count--;
    }
    tell_room(set);
    return count;
}

/* ---- out ---- */

/* A queued datagram will not be sent. */
static void drop_queued(struct quic_datagrams *set) {
    struct quic_datagram_item *item = queue_pop(&set->out);
    set->stats->datagram_frames_dropped++;
    if (item->ticket != NO_TICKET) {
        set->owed--; /* it does not hear SENT */
        ticket_end(set, item->ticket, QUIC_DATAGRAM_DROPPED);
    }
    item_free(set, item);
}

static int refuse(struct quic_datagrams *set, int error) {
    set->refused |= error == ERR_BLOCKED;
    return error;
}

int quic_datagrams_send(struct quic_datagrams *set, const uint8_t *data, size_t len, size_t max, uint64_t token) {
    const uint64_t most = set->options->datagram_send_queue;
    if (set->closed)
        return ERR_CLOSED;
    if (len > max)
        return ERR_TOO_LARGE;
    bool full = !queue_has_room(set, &set->out, most, len);
    if (full && set->options->datagram_drop == QUIC_DATAGRAM_NEWEST)
        return refuse(set, ERR_BLOCKED);
    int error = token ? tickets_reserve(set) : 0;
    if (error)
        return refuse(set, error);
    struct quic_datagram_item *item = item_copy(set, data, len);
    if (!item)
        return ERR_NOMEM;
    while (!queue_has_room(set, &set->out, most, len))
        drop_queued(set);
    item->sequence = ++set->sequence;
    if (token)
        item->ticket = ticket_take(set, token, item->sequence);
    queue_push(&set->out, item);
    return 0;
}

/* The frame into `room` bytes: with its length if that fits; else, PADDING before it, up to the end of the packet.
 * False: it does not fit. */
static bool tx_frame(struct base_writer *out, const struct quic_datagram_item *item) {
    size_t room = base_writer_left(out);
    if (room < 1 + (size_t)item->len)
        return false;
    bool with_len = 1 + base_varint_size(item->len) + item->len <= room;
    if (!with_len)
        quic_frame_write_padding(out, room - 1 - item->len);
    quic_frame_write_datagram_header(out, item->len, with_len);
    base_write_bytes(out, item->data, item->len);
    assert(!out->bad);
    return true;
}

/* The oldest datagram into the packet. False: no room for it, or for its record. */
static bool tx_one(struct quic_datagrams *set, struct base_writer *out, struct quic_sent *log) {
    struct quic_datagram_item *item = set->out.first;
    struct base_writer trial = *out;
    if (!tx_frame(&trial, item))
        return false;
    const struct quic_sent_frame record = {
        .kind = QUIC_FRAME_DATAGRAM, .extra = item->ticket, .ref = item->sequence, .value = log->next};
    if (item->ticket != NO_TICKET && !quic_sent_frame(log, &record))
        return false;
    *out = trial;
    queue_pop(&set->out);
    set->stats->datagram_frames_sent++;
    if (item->ticket != NO_TICKET)
        note(set, set->tickets[item->ticket].token, QUIC_DATAGRAM_SENT);
    item_free(set, item);
    return true;
}

bool quic_datagrams_tx(struct quic_datagrams *set, struct base_writer *out, struct quic_sent *log, size_t max) {
    bool wrote = false;
    while (set->out.first) {
        if (set->out.first->len > max)
            drop_queued(set);
        else if (tx_one(set, out, log))
            wrote = true;
        else
            break;
    }
    tell_room(set);
    return wrote;
}

void quic_datagrams_on_fate(struct quic_datagrams *set, const struct quic_sent_frame *frame, bool acked) {
    if (set->closed || set->tickets[frame->extra].sequence != frame->ref)
        return;
    set->stats->datagram_frames_lost += !acked;
    ticket_end(set, frame->extra, acked ? QUIC_DATAGRAM_ACKED : QUIC_DATAGRAM_LOST);
    tell_room(set);
}

/* ---- in ---- */

static void drop_received(struct quic_datagrams *set) {
    set->stats->datagram_frames_dropped++;
    item_free(set, queue_pop(&set->in));
}

int quic_datagrams_rx(struct quic_datagrams *set, const struct quic_frame *frame, struct base_buf *buf, bool early) {
    const uint8_t *data = frame->u.datagram.data;
    const size_t len = (size_t)frame->u.datagram.len;
    const uint64_t most = set->options->datagram_receive_queue;
    if (set->closed)
        return 0;
    set->stats->datagram_frames_received++;
    if (!queue_has_room(set, &set->in, most, len) && set->options->datagram_drop == QUIC_DATAGRAM_NEWEST) {
        set->stats->datagram_frames_dropped++;
        return 0;
    }
    struct quic_datagram_item *item;
    if (!buf || len < COPY_BELOW) {
        item = item_copy(set, data, len);
    } else if ((item = item_new(set, 0)) != NULL) {
        item->data = data;
        item->len = (uint32_t)len;
        item->buf = base_buf_ref(buf);
    }
    if (!item)
        return QUIC_RX_DROP;
    while (!queue_has_room(set, &set->in, most, len))
        drop_received(set);
    item->early = early;
    queue_push(&set->in, item);
    set->sparse = true;
    base_event_raise(set->events, set->event, QUIC_CONN_EV_DATAGRAM);
    return 0;
}

bool quic_datagrams_peek(const struct quic_datagrams *set, struct quic_datagram_view *view) {
    const struct quic_datagram_item *item = set->in.first;
    if (item)
        *view =
            (struct quic_datagram_view){.data = item->data, .len = item->len, .buf = item->buf, .early = item->early};
    return item != NULL;
}

void quic_datagrams_take(struct quic_datagrams *set) {
    item_free(set, queue_pop(&set->in));
    set->sparse = true;
}

/* The slices of one buffer behind `*at`, which stand together: copied if they are less than half of it. Returns where
 * to go on; NULL: out of memory. */
static struct quic_datagram_item **compact_run(struct quic_datagrams *set, struct quic_datagram_item **at) {
    struct base_buf *buf = (*at)->buf;
    struct quic_datagram_item *end = *at;
    uint64_t total = 0;
    for (; end && end->buf == buf; end = end->next)
        total += end->len;
    bool copy = buf && total < buf->size / 2;
    for (; *at != end; at = &(*at)->next) {
        struct quic_datagram_item *old = *at, *fresh = copy ? item_copy(set, old->data, old->len) : old;
        if (!fresh)
            return NULL;
        if (fresh == old)
            continue;
        fresh->early = old->early;
        fresh->next = old->next;
        *at = fresh;
        if (set->in.last == old)
            set->in.last = fresh;
        item_free(set, old);
    }
    return at;
}

void quic_datagrams_compact(struct quic_datagrams *set) {
    if (!set->sparse)
        return;
    struct quic_datagram_item **at = &set->in.first;
    while (at && *at)
        at = compact_run(set, at);
    set->sparse = at == NULL;
}

/* ---- end ---- */

void quic_datagrams_close(struct quic_datagrams *set) {
    if (set->closed)
        return;
    while (set->out.first)
        drop_queued(set);
    for (uint32_t i = 0; i < set->capacity && set->live; i++)
        if (set->tickets[i].sequence)
            ticket_end(set, i, QUIC_DATAGRAM_LOST);
    assert(set->live == 0 && set->owed == 0);
    set->closed = true;
}

static void pool_drain(struct quic_pool *pool, struct base_mem *mem) {
    while (pool->count)
        base_free(mem, quic_pool_get(pool, mem), pool->size);
}

void quic_datagrams_clear(struct quic_datagrams *set) {
    while (set->out.first)
        item_free(set, queue_pop(&set->out));
    while (set->in.first)
        item_free(set, queue_pop(&set->in));
    pool_drain(&set->slices, set->mem);
    pool_drain(&set->small, set->mem);
    pool_drain(&set->large, set->mem);
    base_free(set->mem, set->tickets, set->capacity * sizeof *set->tickets);
    base_free(set->mem, set->notes, set->capacity * sizeof *set->notes);
}

/* ---- of a connection ---- */

/* The largest DATAGRAM frame the peer takes; 0: none. */
static uint64_t conn_frame_limit(const struct quic_conn *conn) {
    if (conn->peer_params_known)
        return conn->peer_params.max_datagram_frame_size;
    return conn->remembered ? conn->remembered->max_datagram_frame_size : 0;
}

/* What the packet around a datagram takes at most: header, packet number, the frame's type, tag. */
static size_t conn_packet_overhead(const struct quic_conn *conn) {
    const struct quic_remote_cid *remote =
        quic_remote_cids_of_path((struct quic_remote_cids *)&conn->remote_cids, conn->recovery.active);
    size_t dcid_len = remote ? remote->cid.len : QUIC_CID_MAX, overhead = 1 + dcid_len + 4 + 1 + CRYPTO_TAG_SIZE;
    if (!conn->keys[CRYPTO_APPLICATION].tx)
        overhead += 4u + 1 + 1 + (size_t)conn->endpoint->cid_len + 2; /* 0-RTT: version, IDs' lengths, ours, Length */
    return overhead;
}

size_t quic_conn_datagram_max(const struct quic_conn *conn) {
    uint64_t limit = conn_frame_limit(conn);
    if (limit < 2 || conn->state >= QUIC_CONN_CLOSING)
        return 0;
    uint64_t most = limit - 2; /* the limit is the frame's: type and, since it may not end the packet, length count */
    if (most > 63)
        most = limit - 3 > 63 ? limit - 3 : 63;
    if (most > 16383)
        most = limit - 5 > 16383 ? limit - 5 : 16383;
    size_t room = conn->paths[conn->recovery.active]->mtu - conn_packet_overhead(conn);
    return most < room ? (size_t)most : room;
}

/* Made at first use; NULL: out of memory. */
static struct quic_datagrams *conn_datagrams(struct quic_conn *conn) {
    struct base_mem *mem = conn->endpoint->mem;
    if (!conn->datagrams && (conn->datagrams = BASE_NEW(mem, struct quic_datagrams)) != NULL)
        quic_datagrams_init(conn->datagrams, mem, conn->endpoint->events, &conn->event, &conn->stats,
                            &conn->config->options);
    return conn->datagrams;
}

int quic_conn_datagram_ready(const struct quic_conn *conn) {
    if (conn->state >= QUIC_CONN_CLOSING)
        return ERR_CLOSED;
    if (!conn->peer_params_known && !conn->remembered)
        return ERR_STATE;
    return conn_frame_limit(conn) < 2 ? ERR_UNSUPPORTED : 0; /* no frame is shorter than type and length */
}

int quic_conn_datagram_send(struct quic_conn *conn, const uint8_t *data, size_t len, uint64_t token) {
    int error = quic_conn_datagram_ready(conn);
    if (error)
        return error;
    struct quic_datagrams *set = conn_datagrams(conn);
    error = set ? quic_datagrams_send(set, data, len, quic_conn_datagram_max(conn), token) : ERR_NOMEM;
    if (!error)
        quic_conn_mark_dirty(conn);
    return error;
}

bool quic_conn_datagram_peek(const struct quic_conn *conn, struct quic_datagram_view *view) {
    return conn->datagrams && quic_datagrams_peek(conn->datagrams, view);
}

void quic_conn_datagram_take(struct quic_conn *conn) { quic_datagrams_take(conn->datagrams); }

size_t quic_conn_datagram_notes(struct quic_conn *conn, struct quic_datagram_note *notes, size_t max) {
    return conn->datagrams ? quic_datagrams_notes(conn->datagrams, notes, max) : 0;
}

int quic_conn_datagram_rx(struct quic_conn *conn, const struct quic_frame *frame, struct base_buf *buf, bool early) {
    if (frame->u.datagram.size > conn->config->options.max_datagram_frame_size)
        return QUIC_PROTOCOL_VIOLATION; /* 0, not negotiated, is below any frame (RFC 9221 section 3) */
    struct quic_datagrams *set = conn_datagrams(conn);
    return set ? quic_datagrams_rx(set, frame, buf, early) : QUIC_RX_DROP;
}

void quic_conn_datagram_fate(struct quic_conn *conn, const struct quic_sent_frame *frame, bool acked) {
    const struct quic_sent_packet *packet = quic_sent_at(&conn->recovery.spaces[QUIC_APPLICATION], frame->value);
    if (!acked && packet && packet->state == QUIC_SENT_OUTSTANDING)
        return; /* a PTO hands out what to say again: it is still in flight */
    quic_datagrams_on_fate(conn->datagrams, frame, acked);
}

void quic_conn_datagram_lost_packet(struct quic_conn *conn, const struct quic_sent_packet *packet) {
    struct quic_sent *log = &conn->recovery.spaces[QUIC_APPLICATION];
    for (unsigned i = 0; i < packet->frame_count; i++) {
        const struct quic_sent_frame *frame = quic_sent_frame_at(log, packet, i);
        if (frame->kind == QUIC_FRAME_DATAGRAM)
            quic_datagrams_on_fate(conn->datagrams, frame, false);
    }
}
