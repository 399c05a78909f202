/* lobby.c - hellos in lanes; see lobby.h.
 *
 * Everything is O(1): a hello is found by its client's key in a map, its lane by its network's hash, the next lane by a
 * bit mask. Two networks share a lane once in 32 times; each then gets half of its turns.
 *
 * The invariant that matters: `bytes` is what all hellos hold, `held` what those of each lane do, and each hello stands
 * in its lane and in the map.
 */
#include "quic/lobby.h"

#include <assert.h>

#include "quic/endpoint.h"

#define LANES 64u           /* a bit each */
#define DATAGRAM_MOST 1500u /* longer first packets do not wait */
#define NEXT_LANE(lane) (((lane) + 1) % LANES)

struct quic_lobby {
    struct base_map hellos; /* by key: their addresses */
    struct base_list lanes[LANES];
    uint64_t occupied; /* lanes that have hellos */
    uint8_t next;      /* the lane to look at first */
    uint64_t bytes;
    uint32_t held[LANES]; /* bytes of each lane */
};

static struct quic_lobby *lobby_open(struct quic_endpoint *endpoint) {
    struct quic_gate *gate = &endpoint->gate;
    if (gate->lobby)
        return gate->lobby;
    struct quic_lobby *lobby = BASE_NEW(endpoint->mem, struct quic_lobby);
    if (!lobby)
        return NULL;
    base_map_init(&lobby->hellos, endpoint->mem, endpoint->hash_secret);
    for (unsigned i = 0; i < LANES; i++)
        base_list_init(&lobby->lanes[i]);
    return gate->lobby = lobby;
}

/* When nobody waits. */
static void lobby_shut(struct quic_endpoint *endpoint) {
    struct quic_gate *gate = &endpoint->gate;
    if (!gate->lobby || gate->waiting_count)
        return;
    base_map_clear(&gate->lobby->hellos);
    BASE_DELETE(endpoint->mem, gate->lobby);
    gate->lobby = NULL;
}

/* Those with a token have lanes of their own: strangers do not delay them by more than half. */
static uint8_t lane_of(const struct quic_hello *hello) {
    return (uint8_t)((hello->prefix >> 48) % (LANES / 2) * 2 + (hello->token != 0));
}

static uint64_t bytes_most(const struct quic_endpoint *endpoint) {
    uint64_t share = endpoint->mem->limit / 16;
    return endpoint->mem->limit && share < QUIC_LOBBY_BYTES ? share : QUIC_LOBBY_BYTES;
}

static bool has_room(const struct quic_endpoint *endpoint, const struct quic_lobby *lobby, size_t more) {
    return lobby->bytes + more <= bytes_most(endpoint);
}

#define HELLO_BYTES(len) (sizeof(struct quic_hello) + sizeof(struct quic_hello_part) + (len))

uint64_t quic_lobby_places(const struct quic_endpoint *endpoint) {
    uint64_t places = bytes_most(endpoint) / HELLO_BYTES(QUIC_MIN_INITIAL);
    return places < QUIC_LOBBY_HELLOS ? places : QUIC_LOBBY_HELLOS;
}

static void count_bytes(struct quic_lobby *lobby, const struct quic_hello *hello, size_t size) {
    lobby->bytes += size;
    lobby->held[hello->lane] += (uint32_t)size;
}

/* All that a hello holds. */
static void uncount_bytes(struct quic_lobby *lobby, const struct quic_hello *hello) {
    uint64_t size = sizeof *hello;
    for (const struct quic_hello_part *part = hello->parts; part; part = part->next)
        size += sizeof *part + part->len;
    lobby->bytes -= size;
    lobby->held[hello->lane] -= (uint32_t)size;
}

struct quic_hello *quic_lobby_surplus(const struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                                      const struct quic_hello *hello) {
    const struct quic_lobby *lobby = endpoint->gate.lobby;
    size_t size = HELLO_BYTES(datagram->len);
    if (!lobby || datagram->len > DATAGRAM_MOST ||
        (endpoint->gate.waiting_count < QUIC_LOBBY_HELLOS && has_room(endpoint, lobby, size)))
        return NULL;
    unsigned fullest = 0;
    for (unsigned lane = 1; lane < LANES; lane++)
        fullest = lobby->held[lane] > lobby->held[fullest] ? lane : fullest;
    if (lobby->held[lane_of(hello)] + size >= lobby->held[fullest])
        return NULL;
    return BASE_CONTAINER(base_list_last(&lobby->lanes[fullest]), struct quic_hello, node);
}

static bool add_part(struct quic_endpoint *endpoint, struct quic_hello *hello, const struct quic_datagram *datagram) {
    struct quic_lobby *lobby = endpoint->gate.lobby;
    size_t size = sizeof(struct quic_hello_part) + datagram->len;
    if (datagram->len > DATAGRAM_MOST || !has_room(endpoint, lobby, size))
        return false;
    struct quic_hello_part *part = base_alloc(endpoint->mem, size);
    if (!part)
        return false;
    part->next = NULL;
    part->len = (uint16_t)datagram->len;
    part->ecn = datagram->ecn;
    memcpy(part->data, datagram->data, datagram->len);
    *hello->last = part;
    hello->last = &part->next;
    hello->count++;
    count_bytes(lobby, hello, size);
    return true;
}

bool quic_lobby_join(struct quic_endpoint *endpoint, const struct quic_datagram *datagram, uint64_t key) {
    uint64_t found;
    if (!endpoint->gate.lobby || !base_map_get(&endpoint->gate.lobby->hellos, &key, sizeof key, &found))
        return false;
    struct quic_hello *hello = (struct quic_hello *)(uintptr_t)found;
    if (hello->count == QUIC_HELLO_DATAGRAMS || !add_part(endpoint, hello, datagram))
        endpoint->stats.initials_dropped++;
    return true;
}

bool quic_lobby_add(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                    const struct quic_hello *hello, base_time now) {
    struct quic_gate *gate = &endpoint->gate;
    struct quic_lobby *lobby = gate->waiting_count < QUIC_LOBBY_HELLOS ? lobby_open(endpoint) : NULL;
    struct quic_hello *own =
        lobby && has_room(endpoint, lobby, sizeof *own) ? base_alloc(endpoint->mem, sizeof *own) : NULL;
    if (!own) {
        lobby_shut(endpoint);
        return false;
    }
    *own = *hello;
    own->node = (struct base_node){0};
    own->at = now;
    own->socket = datagram->socket;
    own->local = datagram->local;
    own->remote = datagram->remote;
    own->count = 0;
    own->lane = lane_of(own);
    own->parts = NULL;
    own->last = &own->parts;
    count_bytes(lobby, own, sizeof *own);
    if (!add_part(endpoint, own, datagram) ||
        !base_map_put(&lobby->hellos, &own->key, sizeof own->key, (uint64_t)(uintptr_t)own)) {
        uncount_bytes(lobby, own);
        quic_hello_free(endpoint, own);
        lobby_shut(endpoint);
        return false;
    }
    base_list_push_back(&lobby->lanes[own->lane], &own->node);
    lobby->occupied |= 1ull << own->lane;
    gate->waiting_count++;
    return true;
}

struct quic_hello *quic_lobby_first(const struct quic_endpoint *endpoint) {
    const struct quic_lobby *lobby = endpoint->gate.lobby;
    if (!lobby)
        return NULL;
    assert(lobby->occupied);
    unsigned lane = lobby->next;
    while (!(lobby->occupied >> lane & 1))
        lane = NEXT_LANE(lane);
    return BASE_CONTAINER(base_list_first(&lobby->lanes[lane]), struct quic_hello, node);
}

void quic_lobby_take(struct quic_endpoint *endpoint, struct quic_hello *hello, bool has_turn) {
    struct quic_lobby *lobby = endpoint->gate.lobby;
    base_list_remove(&hello->node);
    base_map_remove(&lobby->hellos, &hello->key, sizeof hello->key);
    if (base_list_empty(&lobby->lanes[hello->lane]))
        lobby->occupied &= ~(1ull << hello->lane);
    if (has_turn)
        lobby->next = (uint8_t)NEXT_LANE(hello->lane);
    uncount_bytes(lobby, hello);
    endpoint->gate.waiting_count--;
    lobby_shut(endpoint);
}

void quic_hello_free(struct quic_endpoint *endpoint, struct quic_hello *hello) {
    for (struct quic_hello_part *part = hello->parts, *next; part; part = next) {
        next = part->next;
        base_free(endpoint->mem, part, sizeof *part + part->len);
    }
    BASE_DELETE(endpoint->mem, hello);
}

void quic_lobby_clear(struct quic_endpoint *endpoint) {
    for (struct quic_hello *hello; (hello = quic_lobby_first(endpoint)) != NULL;) {
        quic_lobby_take(endpoint, hello, true);
        quic_hello_free(endpoint, hello);
    }
}
