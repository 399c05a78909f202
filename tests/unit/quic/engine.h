/* engine.h - an engine for tests of endpoint and paths: memory, slots, events and an endpoint; no sockets, no clock. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdlib.h>

#include "quic/walk.h"
#include "unit.h"

#define ENGINE_START (1000 * BASE_SEC)

struct engine {
    struct base_mem mem, buf_mem; /* receive buffers come from elsewhere, so that tests can limit the rest */
    struct base_slots slots;
    struct base_events events;
    struct base_bufpool bufs;
    struct quic_endpoint endpoint;
    struct quic_config config;
    struct quic_socket socket;
    struct quic_listener listener;
    struct quic_train train;
    uint64_t seed;
    base_time now;
};

static inline void engine_fill(void *user, uint8_t *out, size_t len) {
    uint64_t *seed = (uint64_t *)user;
    for (size_t i = 0; i < len; i++) {
        *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        out[i] = (uint8_t)(*seed >> 56);
    }
}

static inline void engine_release(struct quic_config *config) { (void)config; }

static inline struct quic_addr engine_addr(uint8_t host, uint16_t port) {
    return (struct quic_addr){.family = 4, .ip = {192, 0, 2, host}, .port = port};
}

/* `role` of its connections; a server's socket has a listener. `secret` may be NULL. */
static inline void engine_open(struct engine *engine, enum crypto_role role, uint8_t number, const uint8_t *secret) {
    memset(engine, 0, sizeof *engine);
    engine->now = ENGINE_START;
    engine->seed = 12345u + number + (unsigned)role;
    base_mem_init(&engine->mem, 0);
    base_slots_init(&engine->slots, &engine->mem, 1);
    base_events_init(&engine->events);
    base_mem_init(&engine->buf_mem, 0);
    base_bufpool_init(&engine->bufs, &engine->buf_mem, 16, 0);
    struct quic_endpoint_open open = {.mem = &engine->mem,
                                      .random = {engine_fill, &engine->seed},
                                      .slots = &engine->slots,
                                      .events = &engine->events,
                                      .bufs = &engine->bufs,
                                      .engine = number,
                                      .fleet_secret = secret,
                                      .unix_ns = UINT64_C(1700000000) * BASE_SEC};
    ck_assert_int_eq(quic_endpoint_init(&engine->endpoint, &open, engine->now), 0);
    options_init(&engine->config.options);
    engine->config.role = role;
    engine->config.refs = 1;
    engine->config.release = engine_release;
    engine->listener.config = &engine->config;
    engine->listener.handle = 77;
    engine->socket.listener = role == CRYPTO_SERVER ? &engine->listener : NULL;
    engine->socket.local = engine_addr(1, role == CRYPTO_SERVER ? 443 : 5000);
    engine->train.data = malloc(QUIC_TRAIN_SIZE);
    engine->train.max_segments = 1;
}

/* Everything is given back. */
static inline void engine_close(struct engine *engine) {
    quic_endpoint_clear(&engine->endpoint);
    base_bufpool_clear(&engine->bufs);
    base_slots_clear(&engine->slots);
    ck_assert_uint_eq(engine->listener.connections, 0);
    ck_assert_uint_eq(engine->config.refs, 1);
    ck_assert_uint_eq(engine->mem.used, 0);
    ck_assert_uint_eq(engine->buf_mem.used, 0);
    free(engine->train.data);
}

/* A datagram from host:port. */
static inline void engine_input(struct engine *engine, const uint8_t *data, size_t len, struct quic_addr remote) {
    struct base_buf *buf = base_buf_get(&engine->bufs);
    memcpy(buf->data, data, len);
    struct quic_datagram datagram = {buf, buf->data, len, &engine->socket, engine->socket.local, remote, 0};
    quic_endpoint_input(&engine->endpoint, &datagram, 1, engine->now);
    base_buf_unref(buf);
}

static inline bool engine_output(struct engine *engine) {
    return quic_endpoint_output(&engine->endpoint, &engine->train, engine->now);
}

#endif
