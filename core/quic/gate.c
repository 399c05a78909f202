/* gate.c - the budgets of those who are not known yet; see gate.h (RFC 9000 sections 8.1, 21.1, 21.2).
 *
 * Two numbers say that something is wrong: half-open clients at hand, and clients that began and did not prove their
 * address, a second. The second one is a bucket from which each beginning takes a token and each proof gives it back: a
 * crowd of true clients costs nothing, however large; strangers empty it. When either runs out the engine guards: every
 * client without a token is asked for a Retry, until half of both budgets is free again.
 *
 * A prefix that holds its share of the half-open places is asked for a Retry even when the engine does not guard; one
 * that holds its share of all handshakes, or of what all connections hold while memory is scarce, is not answered.
 * While half of the places are free nobody is too many: a crowd behind one address is served as long as it is alone.
 *
 * What a turn has no time for, or the engine no place, waits in the lobby (lobby.h), from where a turn takes no more
 * than it can begin. Whoever comes while others wait goes behind them, in the lane of his network; when the lobby is
 * full he takes the place of who came last to the fullest lane, if his own holds less. A place becomes free when a
 * handshake ends, or when its client is silent for so long that it is given to the next: nobody can sit there by saying
 * a little now and then, so the wait has an end.
 *
 * A handshake takes one place; more when its client makes it hold more than others do, as it comes (quic_gate_weigh). A
 * connection has a weight all its life: one for itself, and more for what its peer has it hold (quic_gate_settle).
 *
 * A hello of two datagrams gets one answer: what follows a datagram that was turned away, within the time that
 * datagrams of one flight are apart, is turned away without a word. It would make a connection that its client knows
 * nothing of.
 *
 * The invariant that matters: a connection is counted in what its `gate` bits say, once, under the prefix it began
 * with.
 */
#include <assert.h>

#include "quic/lobby.h"
#include "quic/walk.h"

enum gate_bit { GATE_CONN = 1u, GATE_HANDSHAKE = 2u, GATE_HALF_OPEN = 4u };

/* ---- the table of prefixes ---- */

#define SHARE_ROWS 4u
#define SHARE_CELLS 1024u /* a row: with 1000 attacking prefixes an innocent one collides in all rows 1 time in 6 */
#define SHARES_SIZE (SHARE_ROWS * SHARE_CELLS * sizeof(struct quic_share))

struct quic_share {
    uint32_t held[4]; /* weight of connections, places of handshakes, of half-open ones, hellos that wait */
};

enum held { HELD_WEIGHT, HELD_HANDSHAKES, HELD_HALF_OPEN, HELD_WAITING };

static struct quic_share *share_cell(const struct quic_gate *gate, unsigned row, uint64_t prefix) {
    return &gate->shares[row * SHARE_CELLS + (prefix >> (16 * row)) % SHARE_CELLS];
}

static void shares_add(struct quic_gate *gate, uint64_t prefix, enum held what, int change) {
    for (unsigned row = 0; gate->shares && row < SHARE_ROWS; row++) {
        uint32_t *held = &share_cell(gate, row, prefix)->held[what];
        assert(change > 0 || *held >= (uint32_t)-change);
        *held += (uint32_t)change;
    }
}

static uint32_t shares_of(const struct quic_gate *gate, uint64_t prefix, enum held what) {
    uint32_t least = gate->shares ? UINT32_MAX : 0;
    for (unsigned row = 0; gate->shares && row < SHARE_ROWS; row++) {
        uint32_t held = share_cell(gate, row, prefix)->held[what];
        least = held < least ? held : least;
    }
    return least;
}

uint64_t quic_gate_prefix(const struct quic_endpoint *endpoint, const struct options *options,
                          const struct quic_addr *addr) {
    uint8_t key[1 + sizeof addr->ip] = {addr->family};
    unsigned bits = (unsigned)(addr->family == 6 ? options->prefix_v6 : options->prefix_v4);
    for (unsigned i = 0; i < sizeof addr->ip && bits; i++) {
        unsigned part = bits < 8 ? bits : 8;
        key[1 + i] = (uint8_t)(addr->ip[i] & (0xff00u >> part));
        bits -= part;
    }
    return base_siphash(endpoint->hash_secret, key, sizeof key);
}

/* What one prefix may have of `whole`; at least one. */
static uint64_t share_of(const struct options *options, uint64_t whole) {
    uint64_t part = whole / 100 * options->prefix_share + whole % 100 * options->prefix_share / 100;
    return part ? part : 1;
}

/* ---- budgets ---- */

/* Half-open clients there may be: as the option says, but all together no more than an eighth of the memory; one may
 * always try. */
static uint64_t half_open_limit(const struct quic_endpoint *endpoint, const struct options *options) {
    uint64_t limit = options->half_open_limit, memory = endpoint->mem->limit / 8 / QUIC_GATE_HALF_OPEN_COST;
    if (endpoint->mem->limit && memory < limit)
        limit = memory ? memory : 1;
    return limit;
}

/* Handshakes of proven and unproven clients there may be: in memory, half the budget. */
static uint64_t handshake_limit(const struct quic_endpoint *endpoint, const struct options *options) {
    uint64_t limit = options->max_handshakes, memory = endpoint->mem->limit / 2 / QUIC_GATE_HALF_OPEN_COST;
    if (endpoint->mem->limit && memory < limit)
        limit = memory ? memory : 1;
    return limit;
}

#define PATIENCE (250 * BASE_MS) /* a client whose handshake goes on is heard of again within that */
#define STAY BASE_SEC            /* and its handshake is over by then: what it says later wins it no more patience */

/* The unfinished handshake whose client has been silent longest, or NULL. */
static struct quic_conn *most_silent(const struct quic_gate *gate) {
    struct base_node *node = base_list_first(&gate->unfinished);
    return node ? BASE_CONTAINER(node, struct quic_conn, unfinished) : NULL;
}

/* When there is a place for one more handshake, as far as is known: 0 now. */
static base_time place_at(const struct quic_endpoint *endpoint, const struct options *options) {
    const struct quic_conn *conn = most_silent(&endpoint->gate);
    if (endpoint->gate.handshakes < handshake_limit(endpoint, options) || !conn)
        return 0;
    return base_time_add(conn->heard_at, PATIENCE);
}

static void evict(struct quic_conn *conn, base_time now) {
    struct quic_close close = {.cause = QUIC_CAUSE_HANDSHAKE_TIMEOUT};
    conn->endpoint->stats.handshakes_evicted++;
    quic_close_silent(conn, &close, now);
}

/* A place for one more handshake. When all are taken, who has been silent for long gives his up, so that true clients
 * get in between those who came to sit; his connection ends without a word. */
static bool make_room(struct quic_endpoint *endpoint, const struct options *options, base_time now) {
    if (place_at(endpoint, options) > now)
        return false;
    if (endpoint->gate.handshakes >= handshake_limit(endpoint, options))
        evict(most_silent(&endpoint->gate), now);
    return true;
}

static bool gate_guards(struct quic_endpoint *endpoint, const struct options *options, base_time now) {
    struct quic_gate *gate = &endpoint->gate;
    uint64_t limit = half_open_limit(endpoint, options);
    base_bucket_adjust(&gate->unproven, options->half_open_rate, options->half_open_limit + options->half_open_rate);
    uint64_t left = base_bucket_left(&gate->unproven, now);
    if (!gate->guarding && (gate->half_open >= limit || !left)) {
        gate->guarding = true;
        endpoint->stats.half_open_guards++;
    } else if (gate->guarding && gate->half_open <= limit / 2 && left >= gate->unproven.burst / 2 && limit) {
        gate->guarding = false;
    }
    return gate->guarding;
}

#define FEW 8u /* weight of so many connections at rest: that is nobody's share */

/* While memory is scarce a prefix that holds its share of it gets no more connections. One that is as good as alone
 * gets them until five sixths are used: the rest, up to the seven eighths beyond which nobody gets in, is for those who
 * may come from elsewhere. */
static bool takes_too_much(const struct quic_endpoint *endpoint, const struct options *options, uint64_t prefix) {
    const struct base_mem *mem = endpoint->mem;
    if (!mem->limit || mem->used <= mem->limit / 4 * 3)
        return false;
    uint64_t whole = endpoint->gate.weight, share = share_of(options, whole);
    uint64_t own = shares_of(&endpoint->gate, prefix, HELD_WEIGHT);
    if (own >= whole - (whole < FEW ? whole : FEW) && mem->used <= mem->limit / 6 * 5)
        return false;
    return own >= (share > FEW ? share : FEW);
}

/* Does a prefix that holds `own` of `held` places take more than its share of `whole`? While half of them are free
 * nobody is turned away. */
static bool is_greedy(const struct options *options, uint64_t own, uint64_t held, uint64_t whole) {
    return held >= whole / 2 && own >= share_of(options, whole);
}

/* Whoever was in the lobby has the turn; whoever comes while others are there waits behind them. */
static bool turn_has_room(const struct quic_gate *gate, const struct options *options, bool waited) {
    return gate->begun < options->handshakes_per_turn && (waited || !gate->waiting_count);
}

enum quic_gate_verdict quic_gate_judge(struct quic_endpoint *endpoint, const struct options *options, uint64_t prefix,
                                       bool proven, bool waited, base_time now) {
    struct quic_gate *gate = &endpoint->gate;
    struct engine_stats *stats = &endpoint->stats;
    bool automatic = options->address_validation == QUIC_VALIDATE_AUTO;
    uint64_t handshakes = handshake_limit(endpoint, options);
    if (takes_too_much(endpoint, options, prefix) ||
        (proven && is_greedy(options, shares_of(gate, prefix, HELD_HANDSHAKES), gate->handshakes, handshakes))) {
        stats->prefix_limited++;
        return QUIC_GATE_DROP;
    }
    if (!proven && options->address_validation == QUIC_VALIDATE_ALWAYS)
        return QUIC_GATE_RETRY;
    if (!proven && automatic && gate_guards(endpoint, options, now))
        return QUIC_GATE_RETRY;
    if (!proven && automatic &&
        is_greedy(options, shares_of(gate, prefix, HELD_HALF_OPEN), gate->half_open,
                  half_open_limit(endpoint, options))) {
        stats->prefix_limited++;
        return QUIC_GATE_RETRY;
    }
    return turn_has_room(gate, options, waited) && make_room(endpoint, options, now) ? QUIC_GATE_OPEN : QUIC_GATE_WAIT;
}

/* ---- what is counted ---- */

/* Without memory for it networks are not told apart; connections that began so stay uncounted. */
static void shares_open(struct quic_endpoint *endpoint) {
    if (!endpoint->gate.shares)
        endpoint->gate.shares = base_zalloc(endpoint->mem, SHARES_SIZE);
}

void quic_gate_enter(struct quic_conn *conn, uint64_t prefix, bool proven) {
    struct quic_endpoint *endpoint = conn->endpoint;
    struct quic_gate *gate = &endpoint->gate;
    shares_open(endpoint);
    conn->prefix = prefix;
    conn->in_shares = gate->shares != NULL;
    conn->gate = (uint8_t)(GATE_CONN | GATE_HANDSHAKE | (proven ? 0 : GATE_HALF_OPEN));
    conn->places = 1;
    gate->handshakes++;
    conn->heard_at = endpoint->now;
    base_list_push_back(&gate->unfinished, &conn->unfinished);
    gate->begun++;
    if (!proven) {
        gate->half_open++;
        base_bucket_take(&gate->unproven, 1, endpoint->now);
    }
    if (!conn->in_shares)
        return;
    conn->weight = 1;
    gate->weight++;
    shares_add(gate, prefix, HELD_WEIGHT, 1);
    shares_add(gate, prefix, HELD_HANDSHAKES, 1);
    if (!proven)
        shares_add(gate, prefix, HELD_HALF_OPEN, 1);
}

/* Takes a bit back, if it is there: how much it counted for. */
static uint32_t gate_take(struct quic_conn *conn, enum gate_bit bit, enum held what) {
    uint32_t count = bit == GATE_CONN ? conn->weight : conn->places;
    if (!(conn->gate & bit))
        return 0;
    conn->gate = (uint8_t)(conn->gate & ~(unsigned)bit);
    if (conn->in_shares)
        shares_add(&conn->endpoint->gate, conn->prefix, what, -(int)count);
    return count;
}

void quic_gate_proven(struct quic_conn *conn) {
    struct quic_gate *gate = &conn->endpoint->gate;
    uint32_t places = gate_take(conn, GATE_HALF_OPEN, HELD_HALF_OPEN);
    if (!places)
        return;
    gate->half_open -= places;
    base_bucket_give(&gate->unproven, 1);
}

/* ---- those who grow ---- */

#define SURPLUS_FREE 4096u /* packets that overtook others, a small certificate */

/* 0-RTT data are not looked at: who may send them can complete his handshake and send as much. */
static uint32_t places_of(const struct quic_conn *conn) {
    uint64_t surplus = quic_handshake_surplus(conn);
    return surplus <= SURPLUS_FREE
               ? 1
               : 1 + (uint32_t)((surplus + QUIC_GATE_HALF_OPEN_COST - 1) / QUIC_GATE_HALF_OPEN_COST);
}

/* Are there so many more places for it? The rules are those for who comes, but alone it may have what it needs. */
static bool may_grow(const struct quic_conn *conn, uint32_t more, base_time now) {
    struct quic_endpoint *endpoint = conn->endpoint;
    struct quic_gate *gate = &endpoint->gate;
    const struct options *options = &conn->config->options;
    uint64_t most = handshake_limit(endpoint, options), strangers = half_open_limit(endpoint, options);
    bool stranger = (conn->gate & GATE_HALF_OPEN) && options->address_validation == QUIC_VALIDATE_AUTO;
    if (gate->handshakes == conn->places)
        return true;
    if (is_greedy(options, shares_of(gate, conn->prefix, HELD_HANDSHAKES) + more - 1, gate->handshakes, most) ||
        (stranger &&
         is_greedy(options, shares_of(gate, conn->prefix, HELD_HALF_OPEN) + more - 1, gate->half_open, strangers))) {
        endpoint->stats.prefix_limited++;
        return false;
    }
    if (stranger && gate->half_open + more > strangers)
        return false;
    while (gate->handshakes + more > most) {
        struct quic_conn *silent = most_silent(gate);
        if (silent == conn || now - silent->heard_at < PATIENCE)
            return false;
        evict(silent, now);
    }
    return true;
}

void quic_gate_weigh(struct quic_conn *conn, base_time now) {
    struct quic_gate *gate = &conn->endpoint->gate;
    uint32_t places = places_of(conn);
    int more = (int)places - (int)conn->places;
    if (!(conn->gate & GATE_HANDSHAKE) || !more)
        return;
    if (more > 0 && !may_grow(conn, (uint32_t)more, now)) {
        evict(conn, now);
        return;
    }
    bool half_open = conn->gate & GATE_HALF_OPEN;
    conn->places = places;
    gate->handshakes += (uint32_t)more;
    gate->half_open += half_open ? (uint32_t)more : 0;
    if (!conn->in_shares)
        return;
    shares_add(gate, conn->prefix, HELD_HANDSHAKES, more);
    if (half_open)
        shares_add(gate, conn->prefix, HELD_HALF_OPEN, more);
}

/* ---- what connections hold ---- */

#define WEIGHT_MOST 4095u /* of one, 32 MiB: the sum of a cell has room for a million of them */

/* For its peer, beyond what every connection holds. What the peer has skipped on the way to an offset counts as if it
 * were there, and so do bytes that the application lends us until the peer has them. */
static uint64_t surplus_of(const struct quic_conn *conn) {
    const struct quic_streams *set = &conn->streams;
    const struct quic_datagrams *datagrams = conn->datagrams;
    uint64_t open = (uint64_t)set->kinds[0].open + set->kinds[1].open + set->kinds[2].open + set->kinds[3].open;
    uint64_t bytes = set->pools.buffered + (set->recv_flow.received - set->recv_flow.consumed);
    return bytes + open * sizeof(struct quic_stream) + (datagrams ? datagrams->in.bytes + datagrams->out.bytes : 0);
}

/* It follows at once what grows, and what shrinks when it is half: what comes and goes with every turn is not worth a
 * walk through the table. */
void quic_gate_settle(struct quic_conn *conn) {
    if (!conn->in_shares)
        return;
    uint64_t surplus = surplus_of(conn) / QUIC_GATE_CONN_COST;
    uint32_t weight = surplus < WEIGHT_MOST ? 1 + (uint32_t)surplus : WEIGHT_MOST;
    int more = (int)weight - (int)conn->weight;
    if (more <= 0 && weight * 2 > conn->weight)
        return;
    conn->weight = (uint16_t)weight;
    conn->endpoint->gate.weight += (uint64_t)(int64_t)more;
    shares_add(&conn->endpoint->gate, conn->prefix, HELD_WEIGHT, more);
}

void quic_gate_heard(struct quic_conn *conn, base_time now) {
    if (!base_node_linked(&conn->unfinished) || now - conn->created_at > STAY)
        return;
    conn->heard_at = now;
    base_list_remove(&conn->unfinished);
    base_list_push_back(&conn->endpoint->gate.unfinished, &conn->unfinished);
}

void quic_gate_leave(struct quic_conn *conn) {
    struct quic_gate *gate = &conn->endpoint->gate;
    gate->half_open -= gate_take(conn, GATE_HALF_OPEN, HELD_HALF_OPEN);
    gate->handshakes -= gate_take(conn, GATE_HANDSHAKE, HELD_HANDSHAKES);
    base_list_remove(&conn->unfinished);
}

void quic_gate_forget(struct quic_conn *conn) {
    quic_gate_leave(conn);
    conn->endpoint->gate.weight -= gate_take(conn, GATE_CONN, HELD_WEIGHT);
}

/* ---- those who are turned away ---- */

#define TURNED_AWAY 256u          /* remembered; a newer one takes an older one's place */
#define ONE_FLIGHT (20 * BASE_MS) /* datagrams of one flight come within that; what comes later was sent again */

struct quic_turned_away {
    uint64_t key;
    base_time at;
};

uint64_t quic_gate_key(const struct quic_endpoint *endpoint, const struct quic_cid *dcid,
                       const struct quic_addr *addr) {
    uint8_t key[1 + QUIC_CID_MAX + 1 + sizeof addr->ip + 2] = {dcid->len};
    memcpy(key + 1, dcid->id, dcid->len);
    uint8_t *at = key + 1 + QUIC_CID_MAX;
    *at++ = addr->family;
    memcpy(at, addr->ip, sizeof addr->ip);
    base_store_u16(at + sizeof addr->ip, addr->port);
    return base_siphash(endpoint->hash_secret, key, sizeof key);
}

void quic_gate_turn_away(struct quic_endpoint *endpoint, uint64_t key, base_time now) {
    struct quic_gate *gate = &endpoint->gate;
    if (!gate->turned_away)
        gate->turned_away = base_zalloc(endpoint->mem, TURNED_AWAY * sizeof *gate->turned_away);
    if (gate->turned_away)
        gate->turned_away[key % TURNED_AWAY] = (struct quic_turned_away){key, now};
}

bool quic_gate_was_turned_away(const struct quic_endpoint *endpoint, uint64_t key, base_time now) {
    const struct quic_turned_away *entry = endpoint->gate.turned_away;
    if (!entry)
        return false;
    entry += key % TURNED_AWAY;
    return entry->key == key && now - entry->at < ONE_FLIGHT;
}

/* ---- those who wait ---- */

#define VISITS_MOST 64u /* hellos a turn looks at: to most of them it may have to say no */

/* It waits no more. */
static void leave_lobby(struct quic_endpoint *endpoint, struct quic_hello *hello, bool has_turn) {
    quic_lobby_take(endpoint, hello, has_turn);
    shares_add(&endpoint->gate, hello->prefix, HELD_WAITING, -1);
}

static void send_off(struct quic_endpoint *endpoint, struct quic_hello *hello) {
    endpoint->stats.initials_dropped += hello->count;
    quic_hello_free(endpoint, hello);
}

bool quic_gate_wait(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                    const struct quic_hello *hello, base_time now) {
    struct quic_gate *gate = &endpoint->gate;
    const struct options *options = &datagram->socket->listener->config->options;
    shares_open(endpoint);
    if (!gate->shares || is_greedy(options, shares_of(gate, hello->prefix, HELD_WAITING), gate->waiting_count,
                                   quic_lobby_places(endpoint)))
        return false;
    for (struct quic_hello *last; (last = quic_lobby_surplus(endpoint, datagram, hello)) != NULL;) {
        leave_lobby(endpoint, last, false);
        send_off(endpoint, last);
    }
    if (!quic_lobby_add(endpoint, datagram, hello, now))
        return false;
    shares_add(gate, hello->prefix, HELD_WAITING, 1);
    endpoint->stats.initials_deferred++;
    return true;
}

base_time quic_gate_deadline(const struct quic_endpoint *endpoint) {
    const struct quic_hello *hello = quic_lobby_first(endpoint);
    if (!hello)
        return BASE_NEVER;
    const struct quic_listener *listener = hello->socket->listener;
    return listener ? place_at(endpoint, &listener->config->options) : 0;
}

/* The next that waits, if this turn can begin one more and there is a place. It is the caller's. */
static struct quic_hello *next_hello(struct quic_endpoint *endpoint, base_time now) {
    struct quic_hello *hello = quic_lobby_first(endpoint);
    const struct quic_listener *listener = hello ? hello->socket->listener : NULL;
    if (!hello || quic_gate_deadline(endpoint) > now ||
        (listener && endpoint->gate.begun >= listener->config->options.handshakes_per_turn))
        return NULL;
    leave_lobby(endpoint, hello, true);
    return hello;
}

/* Who has waited longer than a handshake may take has gone. */
static bool is_stale(const struct quic_hello *hello, base_time now) {
    const struct quic_listener *listener = hello->socket->listener;
    return !listener || now - hello->at > listener->config->options.handshake_timeout;
}

/* As if its datagrams came just now; if the first makes no connection the others are nobody's. */
static void deliver(struct quic_endpoint *endpoint, const struct quic_hello *hello, base_time now) {
    for (const struct quic_hello_part *part = hello->parts; part; part = part->next) {
        struct base_buf *buf = base_buf_get(endpoint->bufs);
        if (!buf)
            return;
        memcpy(buf->data, part->data, part->len);
        struct quic_datagram datagram = {buf,          buf->data,     part->len, hello->socket,
                                         hello->local, hello->remote, part->ecn};
        bool made = quic_accept_waited(endpoint, &datagram, hello, now);
        base_buf_unref(buf);
        if (!made)
            return;
    }
}

void quic_gate_turn(struct quic_endpoint *endpoint, base_time now) {
    struct quic_gate *gate = &endpoint->gate;
    gate->begun = 0;
    for (unsigned visits = 0; visits < VISITS_MOST; visits++) {
        struct quic_hello *hello = next_hello(endpoint, now);
        if (!hello)
            return;
        if (is_stale(hello, now)) {
            send_off(endpoint, hello);
            continue;
        }
        deliver(endpoint, hello, now);
        quic_hello_free(endpoint, hello);
    }
}

void quic_gate_init(struct quic_endpoint *endpoint) { base_list_init(&endpoint->gate.unfinished); }

void quic_gate_clear(struct quic_endpoint *endpoint) {
    struct quic_gate *gate = &endpoint->gate;
    quic_lobby_clear(endpoint);
    base_free(endpoint->mem, gate->turned_away, gate->turned_away ? TURNED_AWAY * sizeof *gate->turned_away : 0);
    base_free(endpoint->mem, gate->shares, gate->shares ? SHARES_SIZE : 0);
    gate->turned_away = NULL;
    gate->shares = NULL;
}
