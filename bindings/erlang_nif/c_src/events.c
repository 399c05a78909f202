/* events.c - what the core has to tell, in batches, and messages to processes.
 *
 * A batch holds what a turn has brought. Each event finds its object through the core's user pointer as it is now, not
 * through the one the event was made with: of a connection that was accepted earlier in the same batch the event still
 * has the listener's.
 *
 * Messages are built in one environment that is used again and again, and copied from there: a message made by
 * enif_send is one block of the right size, one that is moved is two, and somebody has to free each on another thread.
 * What is large in a message is a binary, which is not copied.
 */
#include "nif.h"

bool events_send(struct engine *engine, const ErlNifPid *to, term message) {
    bool there = enif_send(NULL, to, NULL, message) != 0;
    enif_clear_env(engine->env);
    engine->messages++;
    return there;
}

typedef void (*handler)(struct engine *engine, const weft_event *event);

static void on_released(struct engine *engine, const weft_event *event) {
    (void)engine;
    stream_send_on_released(event->token);
}

static const handler handlers[] = {
    [WEFT_EV_ACCEPTED] = conn_accepted,
    [WEFT_EV_CONNECTED] = conn_on_event,
    [WEFT_EV_CONFIRMED] = conn_on_event,
    [WEFT_EV_SESSION] = conn_on_event,
    [WEFT_EV_TOKEN] = conn_on_event,
    [WEFT_EV_PATH] = conn_on_event,
    [WEFT_EV_STREAMS] = conn_on_event,
    [WEFT_EV_CONN_CLOSED] = conn_on_event,
    [WEFT_EV_DATAGRAM] = conn_on_event,
    [WEFT_EV_DATAGRAM_OUTCOME] = conn_on_event,
    [WEFT_EV_DATAGRAM_ROOM] = conn_on_event,
    [WEFT_EV_PATH_NEWS] = conn_on_event,
    [WEFT_EV_STREAM_OPENED] = conn_stream_opened,
    [WEFT_EV_READABLE] = stream_on_event,
    [WEFT_EV_RESET] = stream_on_event,
    [WEFT_EV_STOPPED] = stream_on_event,
    [WEFT_EV_WRITABLE] = stream_on_event,
    [WEFT_EV_RELEASED] = on_released,
    [WEFT_EV_FINISHED] = stream_on_event,
    [WEFT_EV_STREAM_CLOSED] = stream_on_event,
    [WEFT_EV_LISTENER_CLOSED] = listener_on_closed,
};

void events_on_batch(void *user, const weft_event *events, uint32_t count) {
    struct engine *engine = (struct engine *)user;
    engine->batches++;
    for (uint32_t i = 0; i < count; i++)
        if (events[i].type < sizeof handlers / sizeof *handlers && handlers[events[i].type])
            handlers[events[i].type](engine, &events[i]);
}
