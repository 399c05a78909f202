/* pair.c - two engines and a network between them, in virtual time.
 *
 * Knows the two engines by their handles, the datagrams under way in the order of their arrival, and what each
 * direction does to them: loss, duplication, corruption, delay, jitter, bandwidth, largest size. Does not know what is
 * in a datagram, and uses the engines as any program would: weft_engine_input, _turn, _output, _deadline.
 *
 * A step is one instant. The clock moves to the next arrival or timer, whatever has arrived by then is put in, both
 * engines turn, the first before the second, and what they have to say is on its way. Datagrams that arrive at the
 * same time arrive in the order of sending. Each direction has dice of its own, so that a change to one leaves the
 * chances of the other as they were.
 *
 * The invariant that matters: the clock never goes back, and nothing in here asks the system for time or randomness.
 * So a run is a function of the seed, of the links, and of what the program does.
 */
#include "abi.h"

#define PAIR_START UINT64_C(1000000000)
#define PAIR_UNIX_START UINT64_C(1893456000000000000)
#define MILLION 1000000u
#define WEEK (UINT64_C(7) * 24 * 3600 * 1000000000)
#define QUEUE_USUAL UINT64_C(100000000)
#define HEADERS 28u       /* bytes of IPv4 and UDP */
#define CLIENT_PORT 5000u /* of what weft_connect makes: with external I/O the system that would choose one is us */

struct flight {
    uint64_t at, order;
    weft_datagram datagram; /* as its receiver sees it; data is ours */
    uint32_t to;
};

struct side {
    weft_engine engine;
    struct abi_pair *pair;
    uint64_t random;    /* the engine's */
    uint64_t dice;      /* of what it sends */
    weft_link link;     /* by which it sends */
    uint64_t line_free; /* when the link's bandwidth has served all before */
    weft_traffic traffic;
};

struct abi_pair {
    struct base_mem mem;
    uint64_t thread;
    uint64_t now, start, unix_start;
    bool busy, stopping, repeatable;
    struct side sides[2];
    struct flight *flights; /* a binary heap, the next to arrive first */
    uint32_t flight_count, flight_capacity;
    uint64_t flight_order;
    int32_t (*on_datagram)(void *user, uint32_t from, const weft_datagram *datagram);
    void *user;
    uint8_t train[WEFT_TRAIN_SIZE];
};

/* ---- chance ---- */

static uint64_t roll(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Rolls even when nothing hangs on it: what a link does to one datagram must not shift the chances of the next. */
static bool chance(struct side *side, uint32_t of_a_million) { return roll(&side->dice) % MILLION < of_a_million; }

static void on_random(void *user, uint8_t *out, size_t len) {
    struct side *side = (struct side *)user;
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(roll(&side->random) >> 24);
}

/* ---- time ---- */

static uint64_t on_clock(void *user) { return ((struct abi_pair *)user)->now; }

static uint64_t on_wall_clock(void *user) {
    const struct abi_pair *pair = (const struct abi_pair *)user;
    return pair->unix_start + (pair->now - pair->start);
}

static void set_now(struct abi_pair *pair, uint64_t now) {
    pair->now = base_time_max(pair->now, now);
    if (pair->repeatable)
        crypto_deterministic_time(on_wall_clock(pair) / BASE_SEC);
}

/* ---- datagrams under way ---- */

static bool arrives_before(const struct flight *a, const struct flight *b) {
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(struct flight *a, struct flight *b) {
    struct flight t = *a;
    *a = *b;
    *b = t;
}

static bool flights_reserve(struct abi_pair *pair) {
    if (pair->flight_count < pair->flight_capacity)
        return true;
    uint32_t capacity = pair->flight_capacity ? 2 * pair->flight_capacity : 64;
    void *grown = base_resize_array(&pair->mem, pair->flights, pair->flight_capacity, capacity, sizeof *pair->flights);
    if (!grown)
        return false;
    pair->flights = (struct flight *)grown;
    pair->flight_capacity = capacity;
    return true;
}

static void flights_push(struct abi_pair *pair, const struct flight *flight) {
    uint32_t i = pair->flight_count++;
    struct flight *list = pair->flights;
    list[i] = *flight;
    list[i].order = pair->flight_order++;
    for (; i && arrives_before(&list[i], &list[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&list[i], &list[(i - 1) / 2]);
}

static struct flight flights_pop(struct abi_pair *pair) {
    struct flight *list = pair->flights, first = list[0];
    list[0] = list[--pair->flight_count];
    for (uint32_t i = 0;;) {
        uint32_t least = i;
        for (uint32_t child = 2 * i + 1; child < 2 * i + 3 && child < pair->flight_count; child++)
            if (arrives_before(&list[child], &list[least]))
                least = child;
        if (least == i)
            return first;
        swap(&list[i], &list[least]);
        i = least;
    }
}

static void flight_free(struct abi_pair *pair, struct flight *flight) {
    base_free(&pair->mem, flight->datagram.data, flight->datagram.len);
}

/* ---- a link ---- */

/* When the last bit has passed the line; UINT64_MAX: the queue was full. */
static uint64_t pass_line(struct side *side, size_t len, uint64_t now) {
    const weft_link *link = &side->link;
    if (!link->bandwidth)
        return now;
    uint64_t begin = base_time_max(now, side->line_free);
    if (begin - now > (link->queue ? link->queue : QUEUE_USUAL))
        return UINT64_MAX;
    uint64_t takes = ((uint64_t)len + HEADERS) * 8 * BASE_SEC / link->bandwidth;
    side->line_free = begin + takes;
    return side->line_free;
}

/* One copy of a datagram on its way. Without memory it is lost, as networks may. */
static void send_copy(struct side *side, const weft_datagram *datagram, uint64_t at) {
    struct abi_pair *pair = side->pair;
    struct flight flight = {.datagram = *datagram, .to = side == &pair->sides[0]};
    uint64_t spread = side->link.jitter ? roll(&side->dice) % (side->link.jitter + 1) : 0;
    bool corrupt = chance(side, side->link.corrupt);
    uint64_t bit = roll(&side->dice) % (8 * (uint64_t)datagram->len);
    uint8_t *data = flights_reserve(pair) ? (uint8_t *)base_alloc(&pair->mem, datagram->len) : NULL;
    if (!data) {
        side->traffic.lost++;
        return;
    }
    memcpy(data, datagram->data, datagram->len);
    if (corrupt)
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    flight.datagram.data = data;
    flight.at = at + side->link.delay + spread;
    flights_push(pair, &flight);
}

static void send_one(struct side *side, const weft_datagram *datagram) {
    struct abi_pair *pair = side->pair;
    const weft_link *link = &side->link;
    side->traffic.sent++;
    side->traffic.bytes_sent += datagram->len;
    bool lost = chance(side, link->loss), twice = chance(side, link->duplicate);
    if (pair->on_datagram) {
        abi_enter();
        lost = pair->on_datagram(pair->user, side == &pair->sides[1], datagram) != 0 || lost;
        abi_leave();
    }
    uint64_t at = UINT64_MAX;
    if (!lost && (!link->mtu || datagram->len <= link->mtu))
        at = pass_line(side, datagram->len, pair->now);
    if (at == UINT64_MAX) {
        side->traffic.lost++;
        return;
    }
    weft_datagram seen = *datagram; /* by the other */
    seen.local = datagram->remote;
    seen.remote = datagram->local;
    send_copy(side, &seen, at);
    if (twice)
        send_copy(side, &seen, at);
}

/* ---- an instant ---- */

/* What the engine's socket is bound to, where it is bound to no address of its own. */
static void give_source(const struct side *side, weft_datagram *datagram) {
    uint8_t host = side == &side->pair->sides[0] ? 1 : 2;
    weft_addr *local = &datagram->local;
    static const weft_addr any;
    if (!local->port)
        local->port = CLIENT_PORT;
    if (local->family && memcmp(local->ip, any.ip, sizeof local->ip) != 0)
        return;
    local->family = datagram->remote.family;
    static const uint8_t v4[4] = {192, 0, 2}, v6[4] = {0x20, 0x01, 0x0d, 0xb8};
    bool is_v4 = local->family == 4;
    memcpy(local->ip, is_v4 ? v4 : v6, 4);
    local->ip[is_v4 ? 3 : 15] = host;
}

static void send_all(struct side *side) {
    weft_datagram train = {.data = side->pair->train, .segment = WEFT_TRAIN_MAX};
    while (weft_engine_output(side->engine, &train) == 1) {
        size_t each = train.segment ? train.segment : train.len, left = train.len;
        weft_datagram one = train;
        give_source(side, &one);
        one.segment = 0;
        for (uint8_t *at = side->pair->train; left; at += one.len, left -= one.len) {
            one.data = at;
            one.len = left < each ? left : each;
            send_one(side, &one);
        }
        train = (weft_datagram){.data = side->pair->train, .segment = WEFT_TRAIN_MAX};
    }
}

static void receive_all(struct abi_pair *pair) {
    while (pair->flight_count && pair->flights[0].at <= pair->now) {
        struct flight flight = flights_pop(pair);
        struct side *from = &pair->sides[!flight.to];
        if (weft_engine_input(pair->sides[flight.to].engine, &flight.datagram, 1) == 1) {
            from->traffic.delivered++;
            from->traffic.bytes_delivered += flight.datagram.len;
        } else {
            from->traffic.lost++; /* the engine is gone, or has no memory for it */
        }
        flight_free(pair, &flight);
    }
}

/* When something must happen next; UINT64_MAX: never. */
static uint64_t next_time(const struct abi_pair *pair) {
    uint64_t next = pair->flight_count ? pair->flights[0].at : UINT64_MAX, wait;
    for (int i = 0; i < 2; i++)
        if (weft_engine_deadline(pair->sides[i].engine, &wait) == WEFT_OK && wait < UINT64_MAX - pair->now)
            next = base_time_min(next, pair->now + wait);
    return next;
}

static void instant(struct abi_pair *pair, uint64_t at) {
    set_now(pair, at);
    pair->busy = true;
    receive_all(pair);
    for (int i = 0; i < 2; i++) {
        weft_engine_turn(pair->sides[i].engine);
        send_all(&pair->sides[i]);
    }
    pair->busy = false;
}

/* ---- birth and end ---- */

static int32_t link_check(const weft_link *link) {
    bool ok = link->loss <= MILLION && link->duplicate <= MILLION && link->corrupt <= MILLION && link->delay <= WEEK &&
              link->jitter <= WEEK && link->queue <= WEEK;
    return ok ? WEFT_OK : WEFT_E_VALUE;
}

static int32_t link_take(struct side *side, const weft_link *from) {
    weft_link link;
    int32_t error = abi_params(&link, from, sizeof link);
    if (!error)
        error = link_check(&link);
    if (error)
        return error;
    if (link.bandwidth != side->link.bandwidth)
        side->line_free = 0; /* what the old line still held no longer holds up the new one */
    side->link = link;
    return WEFT_OK;
}

static int32_t side_open(struct side *side, const weft_engine_params *given) {
    weft_engine_params p;
    int32_t error = abi_params(&p, given, sizeof p);
    if (error)
        return error;
    if (p.flags || p.uv_loop || p.clock || p.wall_clock || p.clock_user || p.random || p.random_user)
        return WEFT_E_INVALID;
    p.size = sizeof p;
    p.flags = WEFT_ENGINE_EXTERNAL;
    p.clock = on_clock;
    p.wall_clock = on_wall_clock;
    p.clock_user = side->pair;
    p.random = on_random;
    p.random_user = side;
    return weft_engine_new(&p, &side->engine);
}

static void pair_end(struct abi_pair *pair) {
    for (int i = 0; i < 2; i++)
        weft_engine_free(pair->sides[i].engine);
    if (pair->repeatable) {
        crypto_deterministic(NULL);
        abi_registry_repeat_no_more();
    }
    for (uint32_t i = 0; i < pair->flight_count; i++)
        flight_free(pair, &pair->flights[i]);
    base_free(&pair->mem, pair->flights, pair->flight_capacity * sizeof *pair->flights);
    struct base_mem mem = pair->mem;
    BASE_DELETE(&mem, pair);
}

static void pair_init(struct abi_pair *pair, const weft_pair_params *p) {
    uint64_t seed = p->seed;
    pair->thread = abi_thread();
    pair->now = pair->start = p->start ? p->start : PAIR_START;
    pair->unix_start = p->unix_start ? p->unix_start : PAIR_UNIX_START;
    pair->on_datagram = p->on_datagram;
    pair->user = p->user;
    for (int i = 0; i < 2; i++) {
        pair->sides[i].pair = pair;
        pair->sides[i].random = roll(&seed);
        pair->sides[i].dice = roll(&seed);
    }
}

/* The engines are there, so whether there are others can be asked. */
static int32_t pair_repeat(struct abi_pair *pair, uint64_t seed) {
    uint8_t tls_seed[32];
    struct side side = {.random = seed};
    if (!abi_registry_repeat(2))
        return WEFT_E_STATE;
    on_random(&side, tls_seed, sizeof tls_seed);
    crypto_deterministic(tls_seed);
    pair->repeatable = true;
    set_now(pair, pair->now);
    return WEFT_OK;
}

static int32_t pair_open(struct abi_pair *pair, const weft_pair_params *p) {
    int32_t error = WEFT_OK;
    for (int i = 0; i < 2 && !error; i++)
        error = link_take(&pair->sides[i], p->links[i]);
    for (int i = 0; i < 2 && !error; i++)
        error = side_open(&pair->sides[i], p->engines[i]);
    return error || !(p->flags & WEFT_PAIR_REPEATABLE) ? error : pair_repeat(pair, p->seed);
}

int32_t weft_pair_new(const weft_pair_params *params, weft_pair *pair, weft_engine engines[2]) {
    weft_pair_params p;
    int32_t error = abi_params(&p, params, sizeof p);
    if (error)
        return error;
    if (!pair || !engines || p.flags & ~(uint32_t)WEFT_PAIR_REPEATABLE)
        return WEFT_E_INVALID;
    if (abi_inside())
        return WEFT_E_STATE;
    struct base_mem mem;
    base_mem_init(&mem, 0);
    struct abi_pair *made = BASE_NEW(&mem, struct abi_pair);
    if (!made)
        return WEFT_E_NOMEM;
    made->mem = mem;
    pair_init(made, &p);
    error = pair_open(made, &p);
    uint64_t handle = error ? 0 : abi_registry_add(ABI_PAIR, made);
    if (!handle) {
        pair_end(made);
        return error ? error : WEFT_E_NOMEM;
    }
    pair->id = handle;
    engines[0] = made->sides[0].engine;
    engines[1] = made->sides[1].engine;
    return WEFT_OK;
}

/* Under the registry's lock, for the owner may be about to free it. */
static int32_t pair_admit(void *pair) {
    return ((const struct abi_pair *)pair)->thread == abi_thread() ? WEFT_OK : WEFT_E_THREAD;
}

static struct abi_pair *pair_get(weft_pair handle, int32_t *error) {
    return (struct abi_pair *)abi_registry_get(ABI_PAIR, handle.id, pair_admit, error);
}

/* The engine lives, and may not be freed now: another thread has adopted it, or it is in a turn. */
static int32_t side_hold(const struct side *side) {
    int32_t error;
    struct abi_engine *engine = abi_engine_get(side->engine, &error);
    if (!engine)
        return error == WEFT_E_GONE ? WEFT_OK : error;
    return engine->busy || engine->telling ? WEFT_E_STATE : WEFT_OK;
}

static int32_t pair_hold(const struct abi_pair *pair) {
    int32_t error = pair->busy ? WEFT_E_STATE : side_hold(&pair->sides[0]);
    return error ? error : side_hold(&pair->sides[1]);
}

int32_t weft_pair_free(weft_pair pair) {
    int32_t error;
    struct abi_pair *own = pair_get(pair, &error);
    if (!own)
        return error;
    error = pair_hold(own);
    if (error)
        return error;
    abi_registry_remove(ABI_PAIR, pair.id, &error);
    pair_end(own);
    return WEFT_OK;
}

/* ---- driving ---- */

int32_t weft_pair_step(weft_pair pair) {
    int32_t error;
    struct abi_pair *own = pair_get(pair, &error);
    if (!own)
        return error;
    error = pair_hold(own);
    if (error)
        return error;
    uint64_t next = next_time(own);
    if (next == UINT64_MAX)
        return 0;
    instant(own, next);
    own->stopping = false;
    return 1;
}

int32_t weft_pair_run(weft_pair pair, uint64_t until) {
    int32_t error;
    struct abi_pair *own = pair_get(pair, &error);
    if (!own)
        return error;
    error = pair_hold(own);
    if (error)
        return error;
    uint64_t next;
    while (!own->stopping && (next = next_time(own)) != UINT64_MAX && next <= until)
        instant(own, next);
    if (!own->stopping && until != UINT64_MAX)
        set_now(own, until);
    own->stopping = false;
    return WEFT_OK;
}

int32_t weft_pair_stop(weft_pair pair) {
    int32_t error;
    struct abi_pair *own = pair_get(pair, &error);
    if (!own)
        return error;
    own->stopping = own->busy;
    return WEFT_OK;
}

int32_t weft_pair_now(weft_pair pair, uint64_t *now) {
    int32_t error;
    struct abi_pair *own = pair_get(pair, &error);
    if (!own)
        return error;
    if (!now)
        return WEFT_E_INVALID;
    *now = own->now;
    return WEFT_OK;
}

int32_t weft_pair_set_link(weft_pair pair, uint32_t from, const weft_link *link) {
    int32_t error;
    struct abi_pair *own = pair_get(pair, &error);
    if (!own)
        return error;
    return from > 1 ? WEFT_E_INVALID : link_take(&own->sides[from], link);
}

int32_t weft_pair_traffic(weft_pair pair, uint32_t from, weft_traffic *traffic) {
    int32_t error;
    struct abi_pair *own = pair_get(pair, &error);
    if (!own)
        return error;
    return from > 1 ? WEFT_E_INVALID : abi_give(traffic, &own->sides[from].traffic, sizeof *traffic);
}
