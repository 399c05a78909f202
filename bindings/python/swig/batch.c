/* batch.c - many streams in one crossing, and pairs of engines in virtual time. See glue.h.
 *
 * The invariant that matters: what was done for the first streams of a batch is reported even when a later one fails.
 */
#include <string.h>

#include "glue_impl.h"

#define MESSAGE_MOST (16u << 20) /* bytes read of a stream at a time; the rest comes with the next batch */

static bool append(PyObject *list, PyObject *item) {
    bool done = item && PyList_Append(list, item) == 0;
    Py_XDECREF(item);
    return done;
}

PyObject *batch_open(struct glue *glue, weft_conn conn, PyObject *messages) {
    PyObject *opened = PyList_New(0);
    Py_ssize_t count = PyList_Size(messages);
    if (!opened || count < 0) {
        Py_XDECREF(opened);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        weft_stream stream;
        int32_t error = weft_stream_open(conn, WEFT_BIDI, NULL, &stream);
        if (error == WEFT_E_STREAM_LIMIT || (error < 0 && i))
            break; /* the caller tries again, and hears of the error then */
        int64_t taken = error < 0 ? error : glue_write(glue, stream, PyList_GetItem(messages, i), 0, WEFT_FIN);
        if (taken == WEFT_OK || taken > 0) {
            if (append(opened, PyLong_FromUnsignedLongLong(stream.id)))
                continue;
        } else if (taken != GLUE_RAISED) {
            glue_fail((int32_t)taken, NULL);
        }
        if (error >= 0)
            weft_stream_detach(stream, 0);
        Py_DECREF(opened);
        return NULL;
    }
    return opened;
}

/* What one stream has: (stream, bytes, end), NULL without an exception when it has nothing. */
static PyObject *read_one(weft_stream stream) {
    PyObject *read = stream_read(stream, MESSAGE_MOST);
    if (!read) {
        if (!PyErr_ExceptionMatches(PyExc_MemoryError))
            PyErr_Clear(); /* gone, or read out: there is nothing */
        return NULL;
    }
    PyObject *item = NULL;
    if (read != Py_None)
        item =
            Py_BuildValue("(KOO)", (unsigned long long)stream.id, PyTuple_GetItem(read, 0), PyTuple_GetItem(read, 1));
    Py_DECREF(read);
    return item;
}

PyObject *batch_read(PyObject *streams) {
    PyObject *list = PyList_New(0);
    Py_ssize_t count = PyList_Size(streams);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        weft_stream stream = {PyLong_AsUnsignedLongLong(PyList_GetItem(streams, i))};
        PyObject *item = PyErr_Occurred() ? NULL : read_one(stream);
        if (item)
            append(list, item);
        if (PyErr_Occurred()) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return count < 0 ? NULL : list;
}

PyObject *batch_write(struct glue *glue, PyObject *replies) {
    PyObject *failed = PyList_New(0);
    Py_ssize_t count = PyList_Size(replies);
    for (Py_ssize_t i = 0; failed && i < count; i++) {
        PyObject *reply = PyList_GetItem(replies, i);
        if (!PyTuple_Check(reply) || PyTuple_Size(reply) != 2) {
            PyErr_SetString(PyExc_TypeError, "replies must be tuples (stream, bytes)");
            Py_DECREF(failed);
            return NULL;
        }
        weft_stream stream = {PyLong_AsUnsignedLongLong(PyTuple_GetItem(reply, 0))};
        int64_t taken =
            PyErr_Occurred() ? GLUE_RAISED : glue_write(glue, stream, PyTuple_GetItem(reply, 1), 0, WEFT_FIN);
        if (taken == GLUE_RAISED || (taken < 0 && !append(failed, PyLong_FromUnsignedLongLong(stream.id)))) {
            Py_DECREF(failed);
            return NULL;
        }
    }
    return count < 0 ? NULL : failed;
}

/* ---- pairs ---- */

static bool link_of(PyObject *tuple, weft_link *link) {
    unsigned long long delay, jitter, bandwidth, queue, mtu;
    unsigned int loss, duplicate, corrupt;
    if (!PyArg_ParseTuple(tuple, "IIIKKKKK", &loss, &duplicate, &corrupt, &delay, &jitter, &bandwidth, &queue, &mtu))
        return false;
    *link = (weft_link){.size = sizeof *link,
                        .loss = loss,
                        .duplicate = duplicate,
                        .corrupt = corrupt,
                        .delay = delay,
                        .jitter = jitter,
                        .bandwidth = bandwidth,
                        .queue = queue,
                        .mtu = mtu};
    return true;
}

PyObject *pair_new(uint64_t seed, uint32_t repeatable, PyObject *forth, PyObject *back) {
    weft_link links[2];
    weft_engine_params params[2];
    weft_engine engines[2];
    weft_pair pair;
    PyObject *capsules[2] = {NULL, NULL};
    struct glue *glues[2];
    if (!link_of(forth, &links[0]) || !link_of(back, &links[1]))
        return NULL;
    for (int i = 0; i < 2; i++) {
        glues[i] = glue_new(&capsules[i]);
        if (!glues[i]) {
            Py_XDECREF(capsules[0]);
            return NULL;
        }
        glue_params(glues[i], &params[i]);
    }
    weft_pair_params all = {.size = sizeof all,
                            .flags = repeatable ? WEFT_PAIR_REPEATABLE : 0,
                            .seed = seed,
                            .engines = {&params[0], &params[1]},
                            .links = {&links[0], &links[1]}};
    int32_t error = weft_pair_new(&all, &pair, engines);
    if (error < 0) {
        Py_DECREF(capsules[0]);
        Py_DECREF(capsules[1]);
        return glue_fail(error, NULL);
    }
    glues[0]->engine = engines[0];
    glues[1]->engine = engines[1];
    return Py_BuildValue("(KNN)", (unsigned long long)pair.id, capsules[0], capsules[1]);
}

PyObject *pair_set_link(weft_pair pair, uint32_t from, PyObject *tuple) {
    weft_link link;
    if (!link_of(tuple, &link))
        return NULL;
    int32_t error = weft_pair_set_link(pair, from, &link);
    if (error < 0)
        return glue_fail(error, NULL);
    Py_RETURN_NONE;
}
