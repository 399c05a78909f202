/* external.c - engines without sockets: the caller moves the datagrams.
 *
 * Knows which socket of the core a datagram belongs to when there are no sockets: a listener's by its local address,
 * else the one that client connections of the address family share. Does not know what is in it.
 *
 * The invariant that matters: the endpoint is not entered from within a turn; both calls are refused there.
 */
#include "abi.h"

/* A datagram to this address comes to a listener bound to `bound`. */
static bool is_bound_to(const struct quic_addr *bound, const struct quic_addr *local) {
    if (bound->port != local->port)
        return false;
    if (io_addr_is_any(bound))
        return bound->family == 6 || bound->family == local->family; /* [::] takes IPv4 too */
    return quic_addr_same_ip(bound, local);
}

static struct quic_socket *socket_for(struct abi_engine *engine, const struct quic_addr *local) {
    const struct base_list *list = &engine->listeners;
    for (const struct base_node *node = base_list_first(list); node; node = base_list_next(list, node)) {
        struct abi_listener *listener = BASE_CONTAINER(node, struct abi_listener, node);
        if (listener->socket && is_bound_to(&io_socket_core(listener->socket)->local, local))
            return io_socket_core(listener->socket);
    }
    struct io_socket *shared;
    return io_loop_client_socket(&engine->loop, local->family, &shared, NULL) ? NULL : io_socket_core(shared);
}

static int input_one(struct abi_engine *engine, const weft_datagram *datagram) {
    struct quic_addr local, remote;
    if ((!datagram->data && datagram->len) || !abi_addr_in(&datagram->local, &local) ||
        !abi_addr_in(&datagram->remote, &remote) || !local.family || !remote.family || datagram->ecn > 3)
        return WEFT_E_INVALID;
    if (datagram->reserved[0] || datagram->reserved[1] || datagram->reserved[2])
        return WEFT_E_UNSUPPORTED;
    struct quic_socket *socket = socket_for(engine, &local);
    if (!socket)
        return WEFT_E_NOMEM;
    const struct quic_datagram train = {.data = (uint8_t *)datagram->data,
                                        .len = datagram->len,
                                        .socket = socket,
                                        .local = local,
                                        .remote = remote,
                                        .ecn = datagram->ecn};
    return io_loop_input(&engine->loop, &train, datagram->segment ? datagram->segment : datagram->len);
}

int64_t weft_engine_input(weft_engine engine, const weft_datagram *datagrams, uint32_t count) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    if (!own->external || own->busy || own->telling)
        return WEFT_E_STATE;
    if (!datagrams && count)
        return WEFT_E_INVALID;
    for (uint32_t i = 0; i < count; i++) {
        error = input_one(own, &datagrams[i]);
        if (error == WEFT_E_NOMEM)
            return i;
        if (error)
            return i ? (int64_t)i : error;
    }
    return count;
}

int32_t weft_engine_output(weft_engine engine, weft_datagram *datagram) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    if (!own->external || own->busy || own->telling)
        return WEFT_E_STATE;
    if (!datagram || !datagram->data)
        return WEFT_E_INVALID;
    uint32_t most = datagram->segment < WEFT_TRAIN_MAX ? datagram->segment : WEFT_TRAIN_MAX;
    struct quic_train train = {.data = (uint8_t *)datagram->data, .max_segments = most ? most : 1};
    if (!io_loop_output(&own->loop, &train))
        return 0;
    datagram->len = train.len;
    datagram->segment = train.count > 1 ? train.segment : 0;
    datagram->ecn = train.ecn;
    memset(datagram->reserved, 0, sizeof datagram->reserved);
    abi_addr_out(&train.local, &datagram->local);
    abi_addr_out(&train.remote, &datagram->remote);
    if (!datagram->local.port && train.socket)
        datagram->local.port = train.socket->local.port;
    return 1;
}

_Static_assert(WEFT_TRAIN_SIZE == QUIC_TRAIN_SIZE && WEFT_TRAIN_MAX == QUIC_TRAIN_SEGMENTS,
               "a train as the core has it");
