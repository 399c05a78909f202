/* glue.h - what weft.h alone cannot say to Python, and what must be fast.
 *
 * An engine for Python is a `struct glue`, which Python holds in a capsule. It has three duties:
 *
 *   - to collect the events of a turn, without the GIL, and to give them to Python as one list afterwards: one
 *     crossing a turn, and no Python code on the core's stack;
 *   - to hold what is lent to the core (bytes objects that are being sent) until the core gives it back;
 *   - to turn results into objects and errors into exceptions.
 *
 * It knows weft.h and the stable ABI of Python 3.11, and nothing of asyncio, of classes, or of who waits for what.
 *
 * The invariant that matters: whatever the core calls while it turns touches no Python object. Reference counts change
 * only in drain() and in functions that Python has called.
 */
#ifndef WEFT_PYTHON_GLUE_H
#define WEFT_PYTHON_GLUE_H

#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>
#include <stdbool.h>

#include "weft/weft.h"

struct glue;

#define GLUE_EV_LOG 256u /* beside enum weft_event_type: a line of the log; value: enum weft_log_level */

/* ---- errors ---- */

/* factory(code, text or None) makes the exception for an error; set once, by weft.errors. */
PyObject *set_error_factory(PyObject *factory);
/* Raises it. Returns NULL, so that functions can end with it. */
PyObject *glue_fail(int32_t error, const char *text);
/* In a process that was forked, what came from the parent must not be touched: its sockets are the parent's too. */
PyObject *set_forked(void);
/* 1: this is the main interpreter. */
int in_main_interpreter(void);

/* ---- engines ---- */

/* A new engine: engine_new(memory_limit, number, receive_buffer, send_buffer, fleet_secret or None). */
PyObject *engine_new(uint64_t memory_limit, uint32_t number, uint32_t receive_buffer, uint32_t send_buffer,
                     PyObject *fleet_secret);
/* Ends it and all its objects; the capsule stays, and every function gives GONE for it. */
PyObject *engine_free(struct glue *glue);
/* The handle, for functions of weft.h. */
PyObject *engine_handle(struct glue *glue);
/* Turns the engine without the GIL: (events, nanoseconds until the next turn is due or -1). An event is
 * (type, conn, stream, value, data). */
PyObject *turn(struct glue *glue);
/* The same, waiting for up to so many milliseconds (-1: without end) until there is something to do. */
PyObject *turn_blocking(struct glue *glue, int timeout_ms);
/* What was collected since the last turn, without turning: for engines that a pair turns. */
PyObject *drain(struct glue *glue);
/* The descriptor that is readable when a turn is due. */
PyObject *engine_fd(struct glue *glue);
/* Bytes objects that are lent to the core now. */
PyObject *engine_loans(struct glue *glue);

PyObject *engine_connect(struct glue *glue, weft_config config, const char *host, uint32_t port, uint32_t family,
                         const char *server_name, PyObject *session, PyObject *token);
PyObject *engine_listen(struct glue *glue, weft_config config, const char *address, uint32_t flags);

/* ---- configurations ---- */

PyObject *config_error(weft_config config);
/* callback(chain: list[bytes], server_name: str | None, ok: bool) -> int, an alert or 0. The caller keeps it alive. */
PyObject *config_set_verify_callback(weft_config config, PyObject *callback);
/* callback(id: bytes, seconds: int) -> bool. The caller keeps it alive. */
PyObject *config_set_replay_callback(weft_config config, PyObject *callback);
/* callback(line: str). The caller keeps it alive. */
PyObject *config_set_keylog_callback(weft_config config, PyObject *callback);
/* All options, as (name, type, standard, least, greatest, text, choices). */
PyObject *options(void);

/* ---- connections ---- */

PyObject *conn_certificate(weft_conn conn);
PyObject *conn_session(weft_conn conn);
PyObject *conn_token(weft_conn conn);
PyObject *conn_export(weft_conn conn, const char *label, PyObject *context, uint32_t len);
/* In batch mode only READABLE, RESET, STOPPED and what is left at the end is told of the connection's streams. */
PyObject *conn_set_batch(weft_conn conn, uint32_t on);
/* The oldest news of paths, or None. */
PyObject *conn_path_news(weft_conn conn);
/* A datagram. 1: taken; 0: the queue is full, DATAGRAM_ROOM follows. */
PyObject *datagram_send(weft_conn conn, PyObject *data, uint64_t token);

/* ---- streams ---- */

/* The handle; 0: the peer allows no more now, STREAMS follows. */
PyObject *stream_open(weft_conn conn, uint32_t direction);
/* (bytes, is it the end), at most `limit` bytes of what is there; None: nothing is there now. */
PyObject *stream_read(weft_stream stream, size_t limit);
/* The same into a writable buffer, from `offset` on: (count, is it the end), or None. */
PyObject *stream_read_into(weft_stream stream, PyObject *buffer, size_t offset);
/* Writes data[offset:]; how many bytes were taken. Large bytes objects are lent, others copied. */
PyObject *stream_write(struct glue *glue, weft_stream stream, PyObject *data, size_t offset, uint32_t flags);

/* ---- many streams in one crossing ---- */

/* Opens a bidirectional stream for each of `messages`, writes it and the end: their handles, fewer when the peer allows
 * no more now. */
PyObject *batch_open(struct glue *glue, weft_conn conn, PyObject *messages);
/* Reads all that each of the streams has: a list of (stream, bytes, is it the end); those with nothing, or gone, are
 * left out. */
PyObject *batch_read(PyObject *streams);
/* For each (stream, bytes): writes it and the end. A list of the streams that did not take it, being gone or closed. */
PyObject *batch_write(struct glue *glue, PyObject *replies);

/* ---- pairs ---- */

/* (pair, first engine, second engine): two engines on a network in memory. Links are (loss, duplicate, corrupt, delay,
 * jitter, bandwidth, queue, mtu), in the units of weft_link. */
PyObject *pair_new(uint64_t seed, uint32_t repeatable, PyObject *forth, PyObject *back);
PyObject *pair_set_link(weft_pair pair, uint32_t from, PyObject *link);

/* For generated typemaps: `more` (stolen) joins what a function returns. */
PyObject *glue_append(PyObject *result, PyObject *more);

#endif
