/* handover.c - the mailboxes of a pool's engines (handover.h tells the whole way).
 *
 * Knows who sits where, and how much a mailbox may hold. Does not know what a datagram says, nor why the core thinks
 * that another engine should have it.
 *
 * A mailbox is a sack. Whoever puts something in holds the lock for as long as one datagram is copied; the owner holds
 * it to exchange the full sack for the empty one, and delivers at his leisure. Sacks are the owner's, out of his
 * engine's memory: he makes them, replaces a small one by a large one when there is mail, and gives them back. Where
 * the budget allows for none the seat is without a sack, and what comes is dropped.
 *
 * Who sends much gets no more than half of a mailbox: what one network holds in it is counted in a table of fixed size,
 * by a hash with a secret key, from one emptying to the next. A flood of IDs that somebody made up or has overheard
 * thus leaves room for others; forged addresses fill it all, as they fill any queue, and what it costs stays the same.
 *
 * The invariant that matters: `filling` and what belongs to it is touched under the lock alone, `reading` by the owner
 * alone, and no lock is held when the core is called or another lock is taken.
 */
#include "io/handover.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "io/loop_impl.h"

#define SHARES 64u /* cells for networks */
#define GROUP 32u  /* datagrams given to the endpoint at a time */

struct parcel { /* a datagram under way */
    base_time arrived;
    struct quic_addr bound; /* of the socket that received it: the receiver has one like it */
    struct quic_addr local, remote;
    uint32_t at, len; /* its bytes in the sack */
    uint8_t ecn;
};

struct sack {
    uint32_t capacity;    /* bytes, and room for so many parcels as count for that */
    uint32_t count, used; /* parcels, bytes */
    uint32_t weight;      /* bytes, and what small ones count for beyond theirs */
    uint32_t shares[SHARES];
    struct parcel parcels[]; /* behind them the bytes */
};

struct io_seat {
    struct quic_siblings core; /* first: what the endpoint holds */
    struct io_exchange *exchange;
    unsigned number;
    pthread_mutex_t lock;
    struct io_loop *owner; /* NULL: nobody sits here. Under the lock, but for the owner's reading */
    struct sack *filling;  /* NULL: there was no memory for one. Under the lock */
    _Atomic bool waiting;  /* there is something in `filling`: saves the owner from asking */
    /* the owner's alone: */
    bool without;         /* `filling` is NULL */
    struct sack *reading; /* NULL, or what is delivered */
    uint32_t next;        /* the first parcel of it that is not */
    bool delivering;      /* what comes in now was handed over already */
    bool must_wake;
    uint64_t wake[IO_HANDOVER_SEATS / 64]; /* bit k: seat k got something from here */
};

struct io_exchange {
    struct base_mem mem;
    uint8_t secret[16];
    unsigned count;
    struct io_seat seats[];
};

/* ---- sacks ---- */

static size_t sack_size(uint32_t capacity) {
    return sizeof(struct sack) + capacity / IO_HANDOVER_LEAST * sizeof(struct parcel) + capacity;
}

static uint8_t *sack_bytes(struct sack *sack) {
    return (uint8_t *)(sack->parcels + sack->capacity / IO_HANDOVER_LEAST);
}

static void sack_empty(struct sack *sack) {
    sack->count = sack->used = sack->weight = 0;
    memset(sack->shares, 0, sizeof sack->shares);
}

/* What this engine's sacks may hold, and no more than `most`. */
static uint32_t sack_capacity(const struct base_mem *mem, uint32_t most) {
    uint64_t part = mem->limit / IO_HANDOVER_SHARE;
    return mem->limit && part < most ? (uint32_t)part : most;
}

/* NULL where the budget has no room; that is not asked for in vain, turn after turn. */
static struct sack *sack_new(struct base_mem *mem, uint32_t most) {
    uint32_t capacity = sack_capacity(mem, most);
    if (capacity < IO_HANDOVER_LEAST || (mem->limit && mem->used + sack_size(capacity) > mem->limit))
        return NULL;
    struct sack *sack = (struct sack *)base_alloc(mem, sack_size(capacity));
    if (!sack)
        return NULL;
    sack->capacity = capacity;
    sack_empty(sack);
    return sack;
}

static void sack_free(struct base_mem *mem, struct sack *sack) {
    base_free(mem, sack, sack ? sack_size(sack->capacity) : 0);
}

/* ---- putting in ---- */

/* The network of an address, /24 or /56, as one of the cells. */
static uint32_t *share_of(const struct io_exchange *exchange, struct sack *sack, const struct quic_addr *remote) {
    uint8_t key[8] = {remote->family};
    memcpy(key + 1, remote->ip, remote->family == 4 ? 3 : 7);
    return &sack->shares[base_siphash(exchange->secret, key, sizeof key) % SHARES];
}

/* Under the lock. False: nobody sits there, there is no memory or no room. */
static bool seat_take_in(struct io_seat *seat, const struct parcel *parcel, const uint8_t *data) {
    uint32_t weight = parcel->len < IO_HANDOVER_LEAST ? IO_HANDOVER_LEAST : parcel->len;
    if (!seat->owner || !seat->filling)
        return false;
    struct sack *sack = seat->filling;
    uint32_t *share = share_of(seat->exchange, sack, &parcel->remote);
    if (weight > sack->capacity - sack->weight || *share + weight > sack->capacity / 2)
        return false;
    sack->weight += weight;
    *share += weight;
    sack->parcels[sack->count] = *parcel;
    sack->parcels[sack->count++].at = sack->used;
    memcpy(sack_bytes(sack) + sack->used, data, parcel->len);
    sack->used += parcel->len;
    atomic_store_explicit(&seat->waiting, true, memory_order_relaxed);
    return true;
}

/* What a connection's own socket received came over the listener's port all the same. */
static const struct io_socket *shared_socket(const struct quic_socket *core) {
    const struct io_socket *socket = (const struct io_socket *)(const void *)core;
    return socket->remote.family ? socket->shared : socket;
}

static bool on_hand_over(struct quic_siblings *siblings, unsigned number, const struct quic_datagram *datagram) {
    struct io_seat *own = (struct io_seat *)siblings;
    const struct io_socket *socket = shared_socket(datagram->socket);
    if (own->delivering || number >= own->exchange->count || number == own->number || !socket ||
        !socket->udp.reuse_port || datagram->len > BASE_BUF_SIZE)
        return false;
    struct quic_endpoint *endpoint = &own->owner->endpoint;
    struct io_seat *seat = &own->exchange->seats[number];
    const struct parcel parcel = {.arrived = endpoint->now,
                                  .bound = socket->udp.socket.local,
                                  .local = datagram->local,
                                  .remote = datagram->remote,
                                  .len = (uint32_t)datagram->len,
                                  .ecn = datagram->ecn};
    pthread_mutex_lock(&seat->lock);
    bool taken = seat_take_in(seat, &parcel, datagram->data);
    pthread_mutex_unlock(&seat->lock);
    if (taken) {
        endpoint->stats.datagrams_handed_over++;
        own->wake[number / 64] |= UINT64_C(1) << number % 64;
        own->must_wake = true;
    } else {
        endpoint->stats.handovers_dropped++;
    }
    return true;
}

void io_seat_wake_others(struct io_loop *loop) {
    struct io_seat *own = loop->seat;
    if (!own->must_wake)
        return;
    own->must_wake = false;
    for (unsigned number = 0; number < own->exchange->count; number++) {
        uint64_t bit = UINT64_C(1) << number % 64;
        if (!(own->wake[number / 64] & bit))
            continue;
        own->wake[number / 64] &= ~bit;
        struct io_seat *seat = &own->exchange->seats[number];
        pthread_mutex_lock(&seat->lock);
        if (seat->owner)
            io_loop_wake(seat->owner);
        pthread_mutex_unlock(&seat->lock);
    }
}

/* ---- taking out ---- */

struct delivery {
    struct io_loop *loop;
    base_time now;           /* it is */
    const struct parcel *of; /* whose address `socket` is */
    struct io_socket *socket;
    struct base_buf *buf; /* NULL: a new one is needed */
    size_t used;
    base_time at; /* when the group arrived */
    unsigned count;
    struct quic_datagram group[GROUP];
};

/* An empty sack for what comes next, as large as it may be; else the one that was read, or a small one, or none. */
static struct sack *next_sack(struct base_mem *mem, struct sack *old) {
    if (old && old->capacity >= sack_capacity(mem, IO_HANDOVER_BYTES)) {
        sack_empty(old);
        return old;
    }
    sack_free(mem, old);
    struct sack *sack = sack_new(mem, IO_HANDOVER_BYTES);
    return sack ? sack : sack_new(mem, IO_HANDOVER_FIRST);
}

/* What others have put in so far is the owner's to read; they go on with `next`. */
static void seat_exchange(struct io_seat *seat, struct sack *next) {
    pthread_mutex_lock(&seat->lock);
    struct sack *full = seat->filling;
    seat->filling = next;
    atomic_store_explicit(&seat->waiting, false, memory_order_relaxed);
    pthread_mutex_unlock(&seat->lock);
    seat->reading = full;
    seat->next = 0;
}

/* The mailbox, when there is something in it and the last one is empty. */
static bool seat_has_mail(struct io_loop *loop) {
    struct io_seat *seat = loop->seat;
    if (seat->reading && seat->next < seat->reading->count)
        return true;
    if (!seat->without && !atomic_load_explicit(&seat->waiting, memory_order_relaxed))
        return false; /* whoever sets it wakes us afterwards */
    struct sack *next = next_sack(loop->mem, seat->reading);
    seat->without = !next;
    seat_exchange(seat, next);
    return seat->reading && seat->reading->count;
}

static struct io_socket *find_socket(struct io_loop *loop, const struct quic_addr *bound) {
    for (struct base_node *node = base_list_first(&loop->sockets); node; node = base_list_next(&loop->sockets, node)) {
        struct io_socket *socket = BASE_CONTAINER(node, struct io_socket, node);
        if (socket->udp.reuse_port && !socket->remote.family && quic_addr_equal(&socket->udp.socket.local, bound))
            return socket;
    }
    return NULL;
}

/* The time goes never back for the core: not behind the end of our last turn, nor beyond now. When the owner has called
 * between turns it is now. */
static base_time arrival(const struct delivery *d, const struct parcel *parcel) {
    base_time at = parcel->arrived < d->loop->turned_at ? d->loop->turned_at : parcel->arrived;
    return base_time_min(at, d->now);
}

static void flush(struct delivery *d) {
    if (d->count)
        quic_endpoint_input(&d->loop->endpoint, d->group, d->count, d->at);
    d->count = 0;
}

/* A place for its bytes; NULL: no buffer is left. */
static uint8_t *place_for(struct delivery *d, size_t len) {
    if (d->buf && d->buf->size - d->used < len) {
        flush(d);
        base_buf_unref(d->buf);
        d->buf = NULL;
    }
    if (!d->buf) {
        d->buf = base_buf_get(&d->loop->bufs);
        d->used = 0;
    }
    if (!d->buf)
        return NULL;
    d->used += len;
    return d->buf->data + d->used - len;
}

/* False: there is no buffer for it. */
static bool deliver_one(struct delivery *d, const struct parcel *parcel, const uint8_t *bytes) {
    struct engine_stats *stats = &d->loop->endpoint.stats;
    if (!d->of || !quic_addr_equal(&d->of->bound, &parcel->bound)) {
        d->of = parcel;
        d->socket = find_socket(d->loop, &parcel->bound);
    }
    if (!d->socket) { /* it listens there no more */
        stats->handovers_dropped++;
        return true;
    }
    uint8_t *data = place_for(d, parcel->len);
    if (!data)
        return false;
    memcpy(data, bytes, parcel->len);
    stats->datagrams_taken_over++;
    base_time at = arrival(d, parcel);
    if (d->count == GROUP || (d->count && at != d->at))
        flush(d);
    d->at = d->count ? d->at : at;
    d->group[d->count++] = (struct quic_datagram){.buf = d->buf,
                                                  .data = data,
                                                  .len = parcel->len,
                                                  .socket = &d->socket->udp.socket,
                                                  .local = parcel->local,
                                                  .remote = parcel->remote,
                                                  .ecn = parcel->ecn};
    return true;
}

unsigned io_seat_deliver(struct io_loop *loop, bool *fed) {
    struct io_seat *seat = loop->seat;
    *fed = true;
    if (!seat_has_mail(loop))
        return 0;
    struct delivery d; /* 3 KiB of which little is used at first */
    d.loop = loop;
    d.now = io_loop_now(loop);
    d.of = NULL;
    d.socket = NULL;
    d.buf = NULL;
    d.used = d.count = 0;
    seat->delivering = true;
    unsigned done = 0;
    for (; done < IO_HANDOVER_BUDGET && seat->next < seat->reading->count && *fed; done++) {
        const struct parcel *parcel = &seat->reading->parcels[seat->next];
        *fed = deliver_one(&d, parcel, sack_bytes(seat->reading) + parcel->at);
        seat->next += *fed;
    }
    flush(&d);
    seat->delivering = false;
    if (d.buf)
        base_buf_unref(d.buf);
    if (seat->next < seat->reading->count || atomic_load_explicit(&seat->waiting, memory_order_relaxed))
        loop->due = true;
    return *fed ? done : done - 1;
}

/* ---- coming and going ---- */

static size_t exchange_bytes(unsigned seats) { return sizeof(struct io_exchange) + seats * sizeof(struct io_seat); }

struct io_exchange *io_exchange_new(unsigned seats, const uint8_t secret[16]) {
    struct base_mem mem;
    assert(seats <= IO_HANDOVER_SEATS);
    base_mem_init(&mem, 0);
    struct io_exchange *exchange = (struct io_exchange *)base_zalloc(&mem, exchange_bytes(seats));
    if (!exchange)
        return NULL;
    exchange->mem = mem;
    exchange->count = seats;
    memcpy(exchange->secret, secret, sizeof exchange->secret);
    for (unsigned i = 0; i < seats; i++) {
        struct io_seat *seat = &exchange->seats[i];
        seat->core.hand_over = on_hand_over;
        seat->exchange = exchange;
        seat->number = i;
        pthread_mutex_init(&seat->lock, NULL);
    }
    return exchange;
}

void io_exchange_free(struct io_exchange *exchange) {
    for (unsigned i = 0; exchange && i < exchange->count; i++) {
        assert(!exchange->seats[i].owner && !exchange->seats[i].filling);
        pthread_mutex_destroy(&exchange->seats[i].lock);
    }
    if (!exchange)
        return;
    struct base_mem mem = exchange->mem;
    base_free(&mem, exchange, exchange_bytes(exchange->count));
}

void io_exchange_join(struct io_exchange *exchange, struct io_loop *loop) {
    unsigned number = loop->endpoint.codec.engine;
    assert(number < exchange->count && !loop->seat && !loop->external);
    struct io_seat *seat = &exchange->seats[number];
    struct sack *first = sack_new(loop->mem, IO_HANDOVER_FIRST);
    pthread_mutex_lock(&seat->lock);
    assert(!seat->owner);
    seat->owner = loop;
    seat->filling = first;
    pthread_mutex_unlock(&seat->lock);
    seat->without = !first;
    loop->seat = seat;
    loop->endpoint.siblings = &seat->core;
}

void io_exchange_leave(struct io_loop *loop) {
    struct io_seat *seat = loop->seat;
    if (!seat)
        return;
    pthread_mutex_lock(&seat->lock);
    seat->owner = NULL;
    pthread_mutex_unlock(&seat->lock);
    sack_free(loop->mem, seat->reading);
    seat_exchange(seat, NULL);
    sack_free(loop->mem, seat->reading);
    seat->reading = NULL;
    loop->seat = NULL;
    loop->endpoint.siblings = NULL;
}
