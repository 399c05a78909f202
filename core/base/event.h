/* event.h - what the application is still to hear, kept so that it cannot be lost and cannot overflow.
 *
 * An event is a bit on the object it is about; an object with bits set stands once in one first-in first-out line. So
 * raising an event allocates nothing and cannot fail, a stream that received a hundred packets in a turn is reported
 * once, and the line is never longer than the number of objects. What the event carries (the bytes, the code) is state
 * of the object, read when the event is delivered.
 *
 * Events are delivered only by the dispatcher, when no core function is on the stack. An object that goes away takes
 * its node out of the line.
 *
 * Invariant: a node is linked exactly when its bits are not 0.
 */
#ifndef BASE_EVENT_H
#define BASE_EVENT_H

#include <stdint.h>

#include "list.h"

struct base_event {
    struct base_node node;
    uint64_t handle; /* of the object, for the dispatcher */
    uint32_t bits;   /* which events; meaning is the owner's, lowest bit is delivered first */
};

struct base_events {
    struct base_list line;
    uint64_t joined; /* objects that ever joined the line */
};

static inline void base_events_init(struct base_events *events) {
    base_list_init(&events->line);
    events->joined = 0;
}

/* Sets `bits`, joining the line at its end when the node is not in it yet. Raising no bits says nothing. */
static inline void base_event_raise(struct base_events *events, struct base_event *event, uint32_t bits) {
    event->bits |= bits;
    if (event->bits && !base_node_linked(&event->node)) {
        base_list_push_back(&events->line, &event->node);
        events->joined++;
    }
}

/* Takes `bits` back. */
static inline void base_event_lower(struct base_event *event, uint32_t bits) {
    event->bits &= ~bits;
    if (!event->bits)
        base_list_remove(&event->node);
}

/* Takes back everything the node still has to say. */
static inline void base_event_cancel(struct base_event *event) {
    event->bits = 0;
    base_list_remove(&event->node);
}

/* The next object with something to say, out of the line with its bits in *bits; NULL when there is none. */
static inline struct base_event *base_events_pop(struct base_events *events, uint32_t *bits) {
    struct base_node *node = base_list_pop_front(&events->line);
    if (!node)
        return NULL;
    struct base_event *event = BASE_CONTAINER(node, struct base_event, node);
    *bits = event->bits;
    event->bits = 0;
    return event;
}

#endif
