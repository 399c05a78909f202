/* glue_impl.h - what glue.c, calls.c and batch.c share. */
#ifndef WEFT_PYTHON_GLUE_IMPL_H
#define WEFT_PYTHON_GLUE_IMPL_H

#include "glue.h"

#define BYTES_KEPT (256u << 10) /* of memory for the bytes of events, from one turn to the next */
#define LEND_FROM (16u << 10)   /* bytes objects this large are lent to the core; smaller ones are copied faster */
#define GLUE_BATCH ((void *)1)  /* the user pointer of connections in batch mode, and so of their streams */

/* An event as it waits for Python. */
struct record {
    uint32_t type, flags, cause;
    int32_t error;
    uint64_t conn, stream, value;
    size_t at, len; /* in glue.bytes */
};

/* An object that the core reads from, until RELEASED comes with its address as token. */
struct loan {
    PyObject *object;
    struct loan *next, *before; /* all of the engine's */
    struct loan *returned;      /* those that came back, until the GIL is held */
};

struct glue {
    weft_engine engine;
    struct record *records;
    size_t count, records_room;
    uint8_t *bytes;
    size_t bytes_used, bytes_room;
    struct loan *loans, *returned;
    size_t lent;
    bool lost;      /* there was no memory for an event */
    uint32_t forks; /* in which process it was made */
};

struct glue *glue_of(PyObject *capsule);
struct glue *glue_new(PyObject **capsule);
void glue_params(struct glue *glue, weft_engine_params *params);
struct loan *glue_lend(struct glue *glue, PyObject *object);
void glue_take_back(struct glue *glue, struct loan *loan);

/* Writes bytes from `offset` on: how many were taken, or a WEFT_E_*, or GLUE_RAISED. */
#define GLUE_RAISED INT64_MIN
int64_t glue_write(struct glue *glue, weft_stream stream, PyObject *data, size_t offset, uint32_t flags);

#endif
