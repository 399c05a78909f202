/* weft.i - the module weft._core: functions of weft.h, by way of api.i, and those of glue.h.
 *
 * api.i is made from weft.h by scripts/python_tables.py: the prototypes whose arguments a typemap below knows, and the
 * constants. structs.i, made likewise, turns the structs that such functions fill in into dicts.
 *
 * Handles are integers. Bytes are whatever has the buffer protocol, read where they lie. A result below 0 is an exception,
 * 0 is None, a count is an int.
 */
%module(package="weft") _core

%{
#include "glue_impl.h"
%}

%include <stdint.i>
%include <exception.i>

%define HANDLE(type)
%typemap(in) type {
    $1.id = PyLong_AsUnsignedLongLong($input);
    if (PyErr_Occurred())
        SWIG_fail;
}
%typemap(out) type { $result = PyLong_FromUnsignedLongLong($1.id); }
%typemap(in, numinputs=0) type * (type made) {
    made.id = 0;
    $1 = &made;
}
%typemap(argout) type * { $result = glue_append($result, PyLong_FromUnsignedLongLong($1->id)); }
%enddef
HANDLE(weft_config)
HANDLE(weft_engine)
HANDLE(weft_listener)
HANDLE(weft_conn)
HANDLE(weft_stream)
HANDLE(weft_pair)

%typemap(in) struct glue * {
    $1 = glue_of($input);
    if (!$1)
        SWIG_fail;
}

/* 1 or 0, there is such a path or not: its `use` tells the same. */
%typemap(out) int32_t weft_conn_get_path_stats {
    if ($1 < 0) {
        glue_fail($1, NULL);
        SWIG_fail;
    }
    Py_INCREF(Py_None);
    $result = Py_None;
}
%typemap(out) int32_t {
    if ($1 < 0) {
        glue_fail($1, NULL);
        SWIG_fail;
    }
    if ($1 > 0) {
        $result = PyLong_FromLong($1);
    } else {
        Py_INCREF(Py_None);
        $result = Py_None;
    }
}

%typemap(in) uint64_t {
    $1 = PyLong_AsUnsignedLongLong($input);
    if (PyErr_Occurred())
        SWIG_fail;
}

%typemap(in, numinputs=0) uint64_t *OUT (uint64_t made = 0) { $1 = &made; }
%typemap(argout) uint64_t *OUT { $result = glue_append($result, PyLong_FromUnsignedLongLong(*$1)); }
%typemap(in, numinputs=0) uint32_t *OUT (uint32_t made = 0) { $1 = &made; }
%typemap(argout) uint32_t *OUT { $result = glue_append($result, PyLong_FromUnsignedLong(*$1)); }

/* Bytes in. */
%typemap(in, numinputs=1) (const void *BYTES, size_t LEN) (Py_buffer view, int held = 0) {
    if (PyObject_GetBuffer($input, &view, PyBUF_SIMPLE) < 0)
        SWIG_fail;
    held = 1;
    $1 = view.buf;
    $2 = (size_t)view.len;
}
%typemap(freearg) (const void *BYTES, size_t LEN) {
    if (held$argnum)
        PyBuffer_Release(&view$argnum);
}
%typemap(in) const uint8_t *SECRET (Py_buffer view, int held = 0) {
    if (PyObject_GetBuffer($input, &view, PyBUF_SIMPLE) < 0)
        SWIG_fail;
    held = 1;
    if (view.len != 32) {
        PyErr_SetString(PyExc_ValueError, "32 bytes are needed here");
        SWIG_fail;
    }
    $1 = (uint8_t *)view.buf;
}
%typemap(freearg) const uint8_t *SECRET {
    if (held$argnum)
        PyBuffer_Release(&view$argnum);
}
%typemap(in, numinputs=0) uint8_t *DIGEST (uint8_t made[32]) { $1 = made; }
%typemap(argout) uint8_t *DIGEST { $result = glue_append($result, PyBytes_FromStringAndSize((char *)$1, 32)); }

%include "structs.i"
%include "api.i"

PyObject *set_error_factory(PyObject *factory);
PyObject *set_forked(void);
int in_main_interpreter(void);
PyObject *engine_new(uint64_t memory_limit, uint32_t number, uint32_t receive_buffer, uint32_t send_buffer,
                     PyObject *fleet_secret);
PyObject *engine_free(struct glue *glue);
PyObject *engine_handle(struct glue *glue);
PyObject *turn(struct glue *glue);
PyObject *turn_blocking(struct glue *glue, int timeout_ms);
PyObject *drain(struct glue *glue);
PyObject *engine_fd(struct glue *glue);
PyObject *engine_loans(struct glue *glue);
PyObject *engine_connect(struct glue *glue, weft_config config, const char *host, uint32_t port, uint32_t family,
                         const char *server_name, PyObject *session, PyObject *token);
PyObject *engine_listen(struct glue *glue, weft_config config, const char *address, uint32_t flags);
PyObject *config_error(weft_config config);
PyObject *config_set_verify_callback(weft_config config, PyObject *callback);
PyObject *config_set_replay_callback(weft_config config, PyObject *callback);
PyObject *config_set_keylog_callback(weft_config config, PyObject *callback);
PyObject *options(void);
PyObject *conn_certificate(weft_conn conn);
PyObject *conn_session(weft_conn conn);
PyObject *conn_token(weft_conn conn);
PyObject *conn_export(weft_conn conn, const char *label, PyObject *context, uint32_t len);
PyObject *conn_set_batch(weft_conn conn, uint32_t on);
PyObject *conn_path_news(weft_conn conn);
PyObject *datagram_send(weft_conn conn, PyObject *data, uint64_t token);
PyObject *stream_open(weft_conn conn, uint32_t direction);
PyObject *stream_read(weft_stream stream, size_t limit);
PyObject *stream_read_into(weft_stream stream, PyObject *buffer, size_t offset);
PyObject *stream_write(struct glue *glue, weft_stream stream, PyObject *data, size_t offset, uint32_t flags);
PyObject *batch_open(struct glue *glue, weft_conn conn, PyObject *messages);
PyObject *batch_read(PyObject *streams);
PyObject *batch_write(struct glue *glue, PyObject *replies);
PyObject *pair_new(uint64_t seed, uint32_t repeatable, PyObject *forth, PyObject *back);
PyObject *pair_set_link(weft_pair pair, uint32_t from, PyObject *link);
