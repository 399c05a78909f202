/* datagram.c - datagrams that wait for a process: a queue per connection, bounded in bytes and in number, that loses
 * its oldest when it is full, as the options datagram_receive_queue and datagram_queue_count have it. */
#include "nif.h"

static void drop_oldest(struct conn *conn) {
    struct datagram *oldest;
    if (datagram_next(conn, &oldest)) {
        nif_free(oldest);
        COUNT(datagrams_dropped, 1);
    }
}

void datagram_on_event(struct engine *engine, struct conn *conn, const weft_event *event) {
    (void)engine;
    struct datagram *datagram = (struct datagram *)nif_alloc(sizeof *datagram + event->len);
    if (!datagram || event->len > conn->datagram_limit) {
        if (datagram)
            nif_free(datagram);
        COUNT(datagrams_dropped, 1);
        return;
    }
    *datagram = (struct datagram){.len = event->len, .early = (event->flags & WEFT_ZERO_RTT) != 0};
    if (event->len)
        memcpy(datagram->data, event->data, event->len);
    while (conn->datagrams &&
           (conn->datagram_bytes + event->len > conn->datagram_limit || conn->datagram_count >= conn->datagram_most))
        drop_oldest(conn);
    if (conn->datagrams_last)
        conn->datagrams_last->next = datagram;
    else
        conn->datagrams = datagram;
    conn->datagrams_last = datagram;
    conn->datagram_bytes += datagram->len;
    conn->datagram_count++;
}

bool datagram_next(struct conn *conn, struct datagram **out) {
    struct datagram *first = conn->datagrams;
    if (!first)
        return false;
    conn->datagrams = first->next;
    if (!conn->datagrams)
        conn->datagrams_last = NULL;
    conn->datagram_bytes -= first->len;
    conn->datagram_count--;
    *out = first;
    return true;
}

void datagram_clear(struct conn *conn) {
    struct datagram *datagram;
    while (datagram_next(conn, &datagram))
        nif_free(datagram);
}

term datagram_term(ErlNifEnv *env, const struct datagram *datagram) {
    return term_binary(env, datagram->data, datagram->len);
}
