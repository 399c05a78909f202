/* calls.c - functions of weft.h in the form that suits Python: bytes in and out, errors as exceptions. See glue.h.
 *
 * The invariant that matters: a buffer that Python lends for a call is released before the call returns, whatever
 * happens.
 */
#include <stdlib.h>
#include <string.h>

#include "glue_impl.h"

static PyObject *error_factory;

/* ---- errors ---- */

PyObject *set_error_factory(PyObject *factory) {
    PyObject *before = error_factory;
    Py_INCREF(factory);
    error_factory = factory;
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

PyObject *glue_fail(int32_t error, const char *text) {
    if (!error_factory) {
        PyErr_Format(PyExc_RuntimeError, "%s: %s", weft_error_name(error), text && *text ? text : weft_strerror(error));
        return NULL;
    }
    PyObject *made = PyObject_CallFunction(error_factory, "iz", (int)error, text && *text ? text : NULL);
    if (made)
        PyErr_SetObject((PyObject *)Py_TYPE(made), made);
    Py_XDECREF(made);
    return NULL;
}

static PyObject *none_or_fail(int32_t error) {
    if (error < 0)
        return glue_fail(error, NULL);
    Py_RETURN_NONE;
}

PyObject *glue_append(PyObject *result, PyObject *more) {
    if (!result || !more) {
        Py_XDECREF(result);
        Py_XDECREF(more);
        return NULL;
    }
    if (result == Py_None) {
        Py_DECREF(result);
        return more;
    }
    PyObject *both = PyTuple_Pack(2, result, more);
    Py_DECREF(result);
    Py_DECREF(more);
    return both;
}

/* ---- configurations ---- */

PyObject *config_error(weft_config config) {
    char text[512];
    int32_t len = weft_config_error(config, text, sizeof text);
    return PyUnicode_FromString(len < 0 ? "" : text);
}

static PyObject *chain_of(const weft_verify *verify) {
    PyObject *chain = PyList_New((Py_ssize_t)verify->count);
    for (uint32_t i = 0; chain && i < verify->count; i++) {
        PyObject *one = PyBytes_FromStringAndSize(verify->chain[i].data, (Py_ssize_t)verify->chain[i].len);
        if (one) {
            PyList_SetItem(chain, (Py_ssize_t)i, one);
        } else {
            Py_DECREF(chain);
            chain = NULL;
        }
    }
    return chain;
}

/* What a callback answered as a number; `otherwise` when it raised, which is printed, for nobody could catch it. */
static long answer_of(PyObject *callback, PyObject *result, long otherwise) {
    long answer = otherwise;
    if (result && result != Py_None)
        answer = PyLong_AsLong(result);
    else if (result)
        answer = 0;
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(callback);
        answer = otherwise;
    }
    Py_XDECREF(result);
    return answer;
}

static int32_t on_verify(void *user, const weft_verify *verify) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *callback = (PyObject *)user, *chain = chain_of(verify), *result = NULL;
    if (chain)
        result = PyObject_CallFunction(callback, "OzO", chain, verify->server_name, verify->ok ? Py_True : Py_False);
    Py_XDECREF(chain);
    long alert = answer_of(callback, result, 80); /* internal_error */
    PyGILState_Release(state);
    return alert < 0 || alert > 255 ? 80 : (int32_t)alert;
}

static int32_t on_replay(void *user, const uint8_t id[16], uint32_t seconds) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *callback = (PyObject *)user;
    PyObject *result = PyObject_CallFunction(callback, "y#I", (const char *)id, (Py_ssize_t)16, seconds);
    long first = answer_of(callback, result, 0);
    PyGILState_Release(state);
    return first == 1;
}

static void on_keylog(void *user, const char *line) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *callback = (PyObject *)user;
    PyObject *result = PyObject_CallFunction(callback, "s", line);
    if (!result)
        PyErr_WriteUnraisable(callback);
    Py_XDECREF(result);
    PyGILState_Release(state);
}

PyObject *config_set_verify_callback(weft_config config, PyObject *callback) {
    return none_or_fail(weft_config_set_verify_callback(config, callback == Py_None ? NULL : on_verify, callback));
}

PyObject *config_set_replay_callback(weft_config config, PyObject *callback) {
    return none_or_fail(weft_config_set_replay_callback(config, callback == Py_None ? NULL : on_replay, callback));
}

PyObject *config_set_keylog_callback(weft_config config, PyObject *callback) {
    return none_or_fail(weft_config_set_keylog(config, callback == Py_None ? NULL : on_keylog, callback));
}

static PyObject *option_of(const weft_option *option) {
    PyObject *choices = PyList_New(0);
    for (size_t i = 0; choices && option->choices && option->choices[i]; i++) {
        PyObject *name = PyUnicode_FromString(option->choices[i]);
        if (!name || PyList_Append(choices, name) < 0) {
            Py_XDECREF(name);
            Py_DECREF(choices);
            return NULL;
        }
        Py_DECREF(name);
    }
    if (!choices)
        return NULL;
    return Py_BuildValue("(sIKKKsN)", option->name, option->type, (unsigned long long)option->standard,
                         (unsigned long long)option->least, (unsigned long long)option->greatest, option->text,
                         choices);
}

PyObject *options(void) {
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list && i < weft_option_count(); i++) {
        weft_option option = {.size = sizeof option};
        weft_option_info(i, &option);
        PyObject *one = option_of(&option);
        if (!one || PyList_Append(list, one) < 0) {
            Py_DECREF(list);
            list = NULL;
        }
        Py_XDECREF(one);
    }
    return list;
}

/* ---- engines ---- */

static PyObject *engine_fail(const struct glue *glue, int32_t error) {
    char text[512] = "";
    weft_engine_error(glue->engine, text, sizeof text);
    return glue_fail(error, text);
}

PyObject *engine_connect(struct glue *glue, weft_config config, const char *host, uint32_t port, uint32_t family,
                         const char *server_name, PyObject *session, PyObject *token) {
    weft_connect_params params = {.size = sizeof params, .family = family, .server_name = server_name};
    char *bytes;
    Py_ssize_t len;
    weft_conn conn;
    if (session != Py_None) {
        if (PyBytes_AsStringAndSize(session, &bytes, &len) < 0)
            return NULL;
        params.session = bytes;
        params.session_len = (size_t)len;
    }
    if (token != Py_None) {
        if (PyBytes_AsStringAndSize(token, &bytes, &len) < 0)
            return NULL;
        params.token = bytes;
        params.token_len = (size_t)len;
    }
    int32_t error = weft_connect(glue->engine, config, host, (uint16_t)port, &params, &conn);
    return error < 0 ? engine_fail(glue, error) : PyLong_FromUnsignedLongLong(conn.id);
}

PyObject *engine_listen(struct glue *glue, weft_config config, const char *address, uint32_t flags) {
    weft_listen_params params = {.size = sizeof params, .flags = flags};
    weft_listener listener;
    int32_t error = weft_listen(glue->engine, config, address, &params, &listener);
    return error < 0 ? engine_fail(glue, error) : PyLong_FromUnsignedLongLong(listener.id);
}

/* ---- connections ---- */

static PyObject *copy_of(int64_t (*function)(weft_conn, void *, size_t), weft_conn conn) {
    uint8_t *room = malloc(1u << 16);
    if (!room)
        return PyErr_NoMemory();
    int64_t len = function(conn, room, 1u << 16);
    PyObject *bytes =
        len < 0 ? glue_fail((int32_t)len, NULL) : PyBytes_FromStringAndSize((char *)room, (Py_ssize_t)len);
    free(room);
    return bytes;
}

PyObject *conn_certificate(weft_conn conn) { return copy_of(weft_conn_peer_certificate, conn); }
PyObject *conn_session(weft_conn conn) { return copy_of(weft_conn_session, conn); }
PyObject *conn_token(weft_conn conn) { return copy_of(weft_conn_token, conn); }

PyObject *conn_export(weft_conn conn, const char *label, PyObject *context, uint32_t len) {
    char *bytes = NULL;
    Py_ssize_t context_len = 0;
    if (PyBytes_AsStringAndSize(context, &bytes, &context_len) < 0)
        return NULL;
    PyObject *out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (!out)
        return NULL;
    int32_t error = weft_conn_export(conn, label, bytes, (size_t)context_len, PyBytes_AsString(out), len);
    if (error < 0) {
        Py_DECREF(out);
        return glue_fail(error, NULL);
    }
    return out;
}

PyObject *conn_set_batch(weft_conn conn, uint32_t on) {
    return none_or_fail(weft_conn_set_user(conn, on ? GLUE_BATCH : NULL));
}

PyObject *conn_path_news(weft_conn conn) {
    weft_path_news news = {.size = sizeof news};
    char local[WEFT_ADDR_TEXT] = "", remote[WEFT_ADDR_TEXT] = "";
    int32_t result = weft_conn_path_news(conn, &news);
    if (result < 0)
        return glue_fail(result, NULL);
    if (!result)
        Py_RETURN_NONE;
    weft_addr_format(&news.local, local, sizeof local);
    weft_addr_format(&news.remote, remote, sizeof remote);
    return Py_BuildValue("(Iss)", news.news, local, remote);
}

PyObject *datagram_send(weft_conn conn, PyObject *data, uint64_t token) {
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    int32_t error = weft_datagram_send(conn, view.len ? view.buf : "", (size_t)view.len, token);
    PyBuffer_Release(&view);
    if (error < 0 && error != WEFT_E_BLOCKED)
        return glue_fail(error, NULL);
    return PyLong_FromLong(error == WEFT_OK);
}

/* ---- streams ---- */

PyObject *stream_open(weft_conn conn, uint32_t direction) {
    weft_stream stream = {0};
    int32_t error = weft_stream_open(conn, direction, NULL, &stream);
    if (error < 0 && error != WEFT_E_STREAM_LIMIT)
        return glue_fail(error, NULL);
    return PyLong_FromUnsignedLongLong(stream.id);
}

static int64_t available(weft_stream stream) {
    weft_stream_info info = {.size = sizeof info};
    int32_t error = weft_stream_get_info(stream, &info);
    return error < 0 ? error : (int64_t)(info.received - info.taken);
}

PyObject *stream_read(weft_stream stream, size_t limit) {
    uint32_t flags = 0;
    int64_t there = available(stream);
    if (there < 0)
        return glue_fail((int32_t)there, NULL);
    size_t len = (uint64_t)there < limit ? (size_t)there : limit;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (!bytes)
        return NULL;
    int64_t got = weft_stream_read(stream, PyBytes_AsString(bytes), len, &flags);
    if (got <= 0 && !(flags & WEFT_FIN)) {
        Py_DECREF(bytes);
        if (got < 0)
            return glue_fail((int32_t)got, NULL);
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(NO)", bytes, flags & WEFT_FIN ? Py_True : Py_False);
}

PyObject *stream_read_into(weft_stream stream, PyObject *buffer, size_t offset) {
    Py_buffer view;
    uint32_t flags = 0;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    size_t room = (size_t)view.len > offset ? (size_t)view.len - offset : 0;
    int64_t got = weft_stream_read(stream, (char *)view.buf + offset, room, &flags);
    PyBuffer_Release(&view);
    if (got < 0)
        return glue_fail((int32_t)got, NULL);
    if (!got && !(flags & WEFT_FIN))
        Py_RETURN_NONE;
    return Py_BuildValue("(LO)", (long long)got, flags & WEFT_FIN ? Py_True : Py_False);
}

static int64_t write_lent(struct glue *glue, weft_stream stream, PyObject *data, size_t offset, size_t len,
                          uint32_t flags) {
    struct loan *loan = glue_lend(glue, data);
    if (!loan)
        return WEFT_E_NOMEM;
    int64_t taken =
        weft_stream_write_ref(stream, PyBytes_AsString(data) + offset, len, (uint64_t)(uintptr_t)loan, flags);
    if (taken <= 0)
        glue_take_back(glue, loan);
    return taken;
}

int64_t glue_write(struct glue *glue, weft_stream stream, PyObject *data, size_t offset, uint32_t flags) {
    Py_buffer view;
    if (PyBytes_CheckExact(data)) {
        size_t len = (size_t)PyBytes_Size(data);
        if (len > offset && len - offset >= LEND_FROM)
            return write_lent(glue, stream, data, offset, len - offset, flags);
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return GLUE_RAISED;
    size_t len = (size_t)view.len > offset ? (size_t)view.len - offset : 0;
    int64_t taken = weft_stream_write(stream, len ? (char *)view.buf + offset : "", len, flags);
    PyBuffer_Release(&view);
    return taken;
}

PyObject *stream_write(struct glue *glue, weft_stream stream, PyObject *data, size_t offset, uint32_t flags) {
    int64_t taken = glue_write(glue, stream, data, offset, flags);
    if (taken == GLUE_RAISED)
        return NULL;
    return taken < 0 ? glue_fail((int32_t)taken, NULL) : PyLong_FromLongLong(taken);
}
