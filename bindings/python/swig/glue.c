/* glue.c - engines for Python: the turn, the list of events, and what is lent. See glue.h. */
#include "glue.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "glue_impl.h"

#define FIRST_RECORDS 64u
#define TURNS_MOST 32 /* turns that may follow each other while nothing has happened that Python must know */

static const char CAPSULE[] = "weft.engine";
static uint32_t forks; /* how often this process was made by fork() since weft was loaded */

/* ---- records: what has happened, until Python asks ---- */

static bool grow(void **block, size_t *room, size_t want, size_t unit) {
    if (want <= *room)
        return true;
    size_t more = *room ? *room : FIRST_RECORDS;
    while (more < want)
        more *= 2;
    void *larger = realloc(*block, more * unit);
    if (!larger)
        return false;
    *block = larger;
    *room = more;
    return true;
}

/* Room for `len` bytes beside the records; NULL when there is no memory. */
static uint8_t *keep(struct glue *glue, struct record *record, size_t len) {
    if (!grow((void **)&glue->bytes, &glue->bytes_room, glue->bytes_used + len, 1)) {
        glue->lost = true;
        return NULL;
    }
    record->at = glue->bytes_used;
    record->len = len;
    glue->bytes_used += len;
    return glue->bytes + record->at;
}

static struct record *record_add(struct glue *glue, uint32_t type) {
    if (!grow((void **)&glue->records, &glue->records_room, glue->count + 1, sizeof *glue->records)) {
        glue->lost = true;
        return NULL;
    }
    struct record *record = &glue->records[glue->count++];
    *record = (struct record){.type = type};
    return record;
}

/* ---- what the core calls; no Python here ---- */

/* A stream ends, and with it what nobody has read yet: a peer may close right behind its last bytes. */
static void keep_rest(struct glue *glue, const weft_event *event, struct record *record) {
    weft_stream_info info = {.size = sizeof info};
    uint32_t flags = 0;
    if (weft_stream_get_info(event->stream, &info) < 0 || info.recv_state > WEFT_RECV_ALL)
        return;
    size_t len = (size_t)(info.received - info.taken);
    uint8_t *room = keep(glue, record, len);
    if (!room && len)
        return;
    int64_t got = weft_stream_read(event->stream, room, len, &flags);
    record->len = got > 0 ? (size_t)got : 0;
    record->flags = flags & WEFT_FIN;
}

/* Streams of connections in batch mode have no object in Python, so nobody to tell most things to. */
static bool is_noise(const weft_event *event) {
    if (event->user != GLUE_BATCH || !event->stream.id)
        return false;
    return event->type == WEFT_EV_STREAM_OPENED || event->type == WEFT_EV_WRITABLE || event->type == WEFT_EV_FINISHED;
}

static void on_event(struct glue *glue, const weft_event *event) {
    if (event->type == WEFT_EV_RELEASED) {
        struct loan *loan = (struct loan *)(uintptr_t)event->token;
        loan->returned = glue->returned;
        glue->returned = loan;
        return;
    }
    if (is_noise(event))
        return;
    struct record *record = record_add(glue, event->type);
    if (!record)
        return;
    record->conn = event->conn.id;
    record->stream = event->stream.id ? event->stream.id : event->listener.id;
    record->value = event->type == WEFT_EV_STREAM_OPENED ? event->stream_id : event->code;
    record->flags = event->flags;
    record->error = event->error;
    record->cause = event->cause;
    if (event->type == WEFT_EV_DATAGRAM_OUTCOME)
        record->stream = event->token;
    if (event->type == WEFT_EV_STREAM_CLOSED) {
        keep_rest(glue, event, record);
        if (event->user == GLUE_BATCH && !record->len && !(record->flags & WEFT_FIN))
            glue->count--;
    } else if (event->len) {
        uint8_t *room = keep(glue, record, event->len);
        if (room)
            memcpy(room, event->data, event->len);
    }
}

static void on_events(void *user, const weft_event *events, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        on_event((struct glue *)user, &events[i]);
}

static void on_log(void *user, uint32_t level, const char *text) {
    struct glue *glue = (struct glue *)user;
    struct record *record = record_add(glue, GLUE_EV_LOG);
    if (!record)
        return;
    record->value = level;
    uint8_t *room = keep(glue, record, strlen(text));
    if (room)
        memcpy(room, text, record->len);
}

/* ---- what is lent ---- */

struct loan *glue_lend(struct glue *glue, PyObject *object) {
    struct loan *loan = malloc(sizeof *loan);
    if (!loan)
        return NULL;
    Py_INCREF(object);
    *loan = (struct loan){.object = object, .next = glue->loans};
    if (glue->loans)
        glue->loans->before = loan;
    glue->loans = loan;
    glue->lent++;
    return loan;
}

void glue_take_back(struct glue *glue, struct loan *loan) {
    if (loan->before)
        loan->before->next = loan->next;
    else
        glue->loans = loan->next;
    if (loan->next)
        loan->next->before = loan->before;
    glue->lent--;
    PyObject *object = loan->object;
    free(loan);
    Py_DECREF(object); /* last: it may run code */
}

static void take_back_returned(struct glue *glue) {
    while (glue->returned) {
        struct loan *loan = glue->returned;
        glue->returned = loan->returned;
        glue_take_back(glue, loan);
    }
}

/* ---- events as objects ---- */

static PyObject *data_of(const struct glue *glue, const struct record *record) {
    const char *data = (const char *)glue->bytes + record->at;
    Py_ssize_t len = (Py_ssize_t)record->len;
    switch (record->type) {
    case WEFT_EV_CONN_CLOSED:
        return Py_BuildValue("(IIiy#)", record->cause, record->flags, record->error, len ? data : "", len);
    case WEFT_EV_SESSION:
    case WEFT_EV_TOKEN: return PyBytes_FromStringAndSize(data, len);
    case WEFT_EV_DATAGRAM: return Py_BuildValue("(y#I)", len ? data : "", len, record->flags);
    case GLUE_EV_LOG: return PyUnicode_DecodeUTF8(len ? data : "", len, "replace");
    case WEFT_EV_STREAM_CLOSED:
        if (record->len || record->flags & WEFT_FIN)
            return Py_BuildValue("(y#O)", len ? data : "", len, record->flags & WEFT_FIN ? Py_True : Py_False);
        break;
    default: break;
    }
    Py_INCREF(Py_None);
    return Py_None;
}

/* The tuple takes what it is given, also NULL, which makes it NULL. */
static PyObject *tuple_of(PyObject **items, Py_ssize_t count) {
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!items[i] && tuple) {
            Py_DECREF(tuple);
            tuple = NULL;
        }
        if (tuple)
            PyTuple_SetItem(tuple, i, items[i]);
        else
            Py_XDECREF(items[i]);
    }
    return tuple;
}

static PyObject *event_of(const struct glue *glue, const struct record *record) {
    PyObject *items[] = {PyLong_FromUnsignedLong(record->type), PyLong_FromUnsignedLongLong(record->conn),
                         PyLong_FromUnsignedLongLong(record->stream), PyLong_FromUnsignedLongLong(record->value),
                         data_of(glue, record)};
    return tuple_of(items, 5);
}

static PyObject *events_of(struct glue *glue) {
    PyObject *list = PyList_New((Py_ssize_t)glue->count);
    for (size_t i = 0; list && i < glue->count; i++) {
        PyObject *event = event_of(glue, &glue->records[i]);
        if (!event) {
            Py_DECREF(list);
            return NULL; /* the records stay: they are told next time */
        }
        PyList_SetItem(list, (Py_ssize_t)i, event);
    }
    if (!list)
        return NULL;
    glue->count = 0;
    glue->bytes_used = 0;
    if (glue->bytes_room > BYTES_KEPT) {
        free(glue->bytes);
        glue->bytes = NULL;
        glue->bytes_room = 0;
    }
    return list;
}

PyObject *drain(struct glue *glue) {
    uint64_t wait = UINT64_MAX;
    take_back_returned(glue);
    if (glue->lost) {
        glue->lost = false;
        return PyErr_NoMemory();
    }
    PyObject *list = events_of(glue);
    if (!list)
        return NULL;
    if (weft_engine_deadline(glue->engine, &wait) < 0)
        wait = UINT64_MAX;
    PyObject *items[] = {list, wait > INT64_MAX ? PyLong_FromLong(-1) : PyLong_FromUnsignedLongLong(wait)};
    return tuple_of(items, 2);
}

/* ---- turning ---- */

/* While all that happens is packets - acknowledgements come, more is sent - Python need not be asked. */
static int32_t turn_until_news(const struct glue *glue) {
    int32_t result = 0;
    uint64_t wait = 0;
    for (int i = 0; i < TURNS_MOST && result >= 0 && !wait && !glue->count && !glue->returned; i++) {
        result = weft_engine_turn(glue->engine);
        if (result >= 0 && weft_engine_deadline(glue->engine, &wait) < 0)
            break;
    }
    return result;
}

PyObject *turn(struct glue *glue) {
    PyThreadState *thread = PyEval_SaveThread();
    int32_t result = turn_until_news(glue);
    PyEval_RestoreThread(thread);
    return result < 0 ? glue_fail(result, NULL) : drain(glue);
}

static void wait_for(const struct glue *glue, int timeout_ms) {
    uint64_t wait = 0;
    struct pollfd watched = {.fd = weft_engine_fd(glue->engine), .events = POLLIN};
    if (weft_engine_deadline(glue->engine, &wait) < 0 || !wait || glue->count)
        return;
    int most = wait > (uint64_t)INT32_MAX * 1000000 ? -1 : (int)((wait + 999999) / 1000000);
    if (timeout_ms >= 0 && (most < 0 || timeout_ms < most))
        most = timeout_ms;
    poll(&watched, 1, most);
}

PyObject *turn_blocking(struct glue *glue, int timeout_ms) {
    PyThreadState *thread = PyEval_SaveThread();
    int32_t result = weft_engine_turn(glue->engine);
    if (result >= 0 && !glue->count) {
        wait_for(glue, timeout_ms);
        result = turn_until_news(glue);
    }
    PyEval_RestoreThread(thread);
    if (result < 0)
        return glue_fail(result, NULL);
    return PyErr_CheckSignals() ? NULL : drain(glue);
}

/* ---- engines ---- */

static void forget(struct glue *glue) {
    glue->count = 0;
    glue->returned = NULL;
    while (glue->loans)
        glue_take_back(glue, glue->loans);
    free(glue->records);
    free(glue->bytes);
    glue->records = NULL;
    glue->bytes = NULL;
    glue->records_room = glue->bytes_room = glue->bytes_used = 0;
}

static void capsule_end(PyObject *capsule) {
    struct glue *glue = PyCapsule_GetPointer(capsule, CAPSULE);
    if (glue->engine.id && glue->forks == forks) {
        if (weft_engine_free(glue->engine) == WEFT_E_THREAD) { /* collected elsewhere: nobody else can hold it now */
            weft_engine_adopt(glue->engine);
            weft_engine_free(glue->engine);
        }
    }
    forget(glue);
    free(glue);
}

struct glue *glue_of(PyObject *capsule) {
    struct glue *glue = PyCapsule_IsValid(capsule, CAPSULE) ? PyCapsule_GetPointer(capsule, CAPSULE) : NULL;
    if (!glue) {
        PyErr_SetString(PyExc_TypeError, "an engine of weft is needed here");
        return NULL;
    }
    if (glue->forks != forks) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this engine belongs to the process that was forked; make another one here");
        return NULL;
    }
    return glue;
}

struct glue *glue_new(PyObject **capsule) {
    struct glue *glue = calloc(1, sizeof *glue);
    if (!glue) {
        PyErr_NoMemory();
        return NULL;
    }
    glue->forks = forks;
    *capsule = PyCapsule_New(glue, CAPSULE, capsule_end);
    if (!*capsule)
        free(glue);
    return *capsule ? glue : NULL;
}

void glue_params(struct glue *glue, weft_engine_params *params) {
    *params = (weft_engine_params){.size = sizeof *params,
                                   .on_events = on_events,
                                   .events_user = glue,
                                   .log = on_log,
                                   .log_user = glue,
                                   .stream_flags = WEFT_STREAM_PULL};
}

PyObject *engine_new(uint64_t memory_limit, uint32_t number, uint32_t receive_buffer, uint32_t send_buffer,
                     PyObject *fleet_secret) {
    weft_engine_params params;
    PyObject *capsule;
    char *secret = NULL;
    Py_ssize_t secret_len = 0;
    if (fleet_secret != Py_None && PyBytes_AsStringAndSize(fleet_secret, &secret, &secret_len) < 0)
        return NULL;
    if (secret && secret_len != 32) {
        PyErr_SetString(PyExc_ValueError, "fleet_secret must have 32 bytes");
        return NULL;
    }
    struct glue *glue = glue_new(&capsule);
    if (!glue)
        return NULL;
    glue_params(glue, &params);
    params.memory_limit = memory_limit;
    params.number = number;
    params.receive_buffer = receive_buffer;
    params.send_buffer = send_buffer;
    params.fleet_secret = (const uint8_t *)secret;
    int32_t error = weft_engine_new(&params, &glue->engine);
    if (error < 0) {
        Py_DECREF(capsule);
        return glue_fail(error, NULL);
    }
    return capsule;
}

PyObject *engine_free(struct glue *glue) {
    int32_t error = weft_engine_free(glue->engine); /* first: nothing reads what was lent from here on */
    if (error < 0 && error != WEFT_E_GONE)
        return glue_fail(error, NULL);
    forget(glue);
    Py_RETURN_NONE;
}

PyObject *engine_handle(struct glue *glue) { return PyLong_FromUnsignedLongLong(glue->engine.id); }

PyObject *engine_fd(struct glue *glue) {
    int32_t fd = weft_engine_fd(glue->engine);
    return fd < 0 ? glue_fail(fd, NULL) : PyLong_FromLong(fd);
}

PyObject *engine_loans(struct glue *glue) { return PyLong_FromSize_t(glue->lent); }

PyObject *set_forked(void) {
    forks++; /* engines made from now on are the child's own */
    Py_RETURN_NONE;
}

int in_main_interpreter(void) { return PyInterpreterState_GetID(PyInterpreterState_Get()) == 0; }
