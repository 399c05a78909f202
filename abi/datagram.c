/* datagram.c - datagrams of the application (RFC 9221), beside a connection's streams.
 *
 * Sending and what may be sent are calls of the core; whoever calls them needs a connection that has one. What arrives,
 * and what became of what was sent, waits in the core until the dispatcher comes to the connection (deliver.c).
 *
 * The invariant that matters: received datagrams that nobody was told of have the connection in the line of events, or
 * there is nobody to tell.
 */
#include "abi.h"

int32_t weft_datagram_send(weft_conn conn, const void *data, size_t len, uint64_t token) {
    int32_t error;
    struct abi_conn *own = abi_conn_with_core(conn, &error);
    if (!own)
        return error;
    if (!data && len)
        return WEFT_E_INVALID;
    error = quic_conn_datagram_send(own->core, (const uint8_t *)data, len, token);
    abi_touch(own->engine); /* also when it was refused: others may have been dropped */
    return error;
}

int32_t weft_datagram_max(weft_conn conn) {
    int32_t error;
    struct abi_conn *own = abi_conn_with_core(conn, &error);
    if (!own)
        return error;
    error = quic_conn_datagram_ready(own->core);
    return error ? error : (int32_t)quic_conn_datagram_max(own->core);
}

void abi_datagrams_again(struct abi_conn *conn) {
    struct quic_datagram_view view;
    if (!conn->core || !quic_conn_datagram_peek(conn->core, &view))
        return;
    base_event_raise(&conn->engine->loop.events, &conn->core->event, QUIC_CONN_EV_DATAGRAM);
    abi_touch(conn->engine);
}
