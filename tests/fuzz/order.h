/* order.h - an automaton that holds what the application hears to the order weft.h promises ("What follows what").
 *
 * A test tells it what is done (a stream is opened, finished, read to its end) and hands it everything that is heard,
 * by batch or by callback. Each connection and stream has its states here, made of nothing but weft.h's words. Whatever
 * no rule allows is told to the hook, or ends the process.
 *
 * Batches were collected before any of their events was heard, so what is done from within one counts from its end
 * on. */
#ifndef ORDER_H
#define ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include <weft/weft.h>

/* What an application does that bears on the order. */
enum order_act {
    ORDER_FULL = 48, /* a write was not taken whole, or filled the buffer */
    ORDER_FINISH,    /* the end of this direction was written */
    ORDER_RESET,     /* this direction was broken off */
    ORDER_STOP,      /* the other was */
    ORDER_READ_OUT,  /* its end was read */
    ORDER_DETACH,
    ORDER_NO_SPACE, /* a datagram was refused with BLOCKED */
    ORDER_NO_STREAM /* a stream was refused with STREAM_LIMIT */
};

#define ORDER_BIT(type) (UINT64_C(1) << (type)) /* for sets of event types */

/* Forgets everything. */
void order_begin(void);
/* `wrong` hears of every breach, in words; NULL: they are printed, and the process ends. */
void order_hook(void (*wrong)(const char *text));
/* A connection that weft_connect began; a stream that weft_stream_open opened or weft_stream_find found. */
void order_connecting(weft_conn conn);
void order_opened(weft_conn conn, weft_stream stream);
void order_found(weft_conn conn, weft_stream stream);
/* A call for this stream or connection succeeded (FULL, NO_SPACE, NO_STREAM: was refused). */
void order_did(uint64_t handle, enum order_act act);
/* A token was taken, by weft_stream_write_ref or weft_datagram_send. No token twice for one object. */
void order_token(uint64_t handle, uint64_t token);
/* Its table, or one that it inherits, has no functions for these types (of a connection: for those of its streams
 * too): from now on they may happen unheard. */
void order_deaf(uint64_t handle, uint64_t types);
void order_freed(weft_engine engine);
/* A turn begins; from `seen` on the test tells of each, and makes no call from within callbacks without saying so by
 * order_called. Only then is the order within a turn judged for callbacks, too. */
void order_turn(bool seen);
void order_called(void);

/* Judges one event, heard by itself. */
void order_judge(const weft_event *event);

/* Everything that is heard: by on_events, or by these tables, whose user pointer means nothing. `then` (may be NULL)
 * is called for each event after it was judged. */
void order_then(void (*then)(const weft_event *event));
void order_on_events(void *user, const weft_event *events, uint32_t count);
/* Tables without functions for these types. They must not change while they are used. */
void order_listener_table(weft_listener_callbacks *table, uint64_t without);
void order_conn_table(weft_conn_callbacks *table, uint64_t without);
void order_stream_table(weft_stream_callbacks *table, uint64_t without);

/* Time enough has gone by: every connection of engines that live should have been told of as closed. */
void order_end(void);
/* Events judged since the process began. */
uint64_t order_count(void);

#endif
