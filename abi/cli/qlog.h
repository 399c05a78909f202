/* qlog.h - what the files of `weft qlog` share: a connection as a handful of curves.
 *
 *     qlog.c       the command                 qlog_read.c  files to curves: our qlogs and those of others
 *     qlog_svg.c   curves to a picture         json_read.c  JSON
 */
#ifndef CLI_QLOG_H
#define CLI_QLOG_H

#include "cli.h"
#include "json_read.h"

struct qlog_curve { /* values over time, in the order of time */
    double *time, *value;
    size_t count, capacity;
};

enum qlog_curve_name {
    QLOG_WINDOW = 0, /* bytes */
    QLOG_FLIGHT,
    QLOG_SMOOTHED, /* ms */
    QLOG_LATEST,
    QLOG_LEAST,
    QLOG_SENT, /* bytes of streams so far */
    QLOG_ACKED,
    QLOG_RECEIVED,
    QLOG_LOST, /* packets so far */
    QLOG_CURVES
};

struct qlog_trace {
    struct qlog_curve curves[QLOG_CURVES];
    char title[128], role[16], group[64], closed[160];
    double start, end; /* ms; what is told lies between */
    uint64_t events, packets_sent, packets_received, damaged;
    bool seen; /* an event has come */
    bool out_of_memory;
};

/* Reads the `wanted`th trace (from 1) of a file ("-": stdin). How many traces there are; 0 with `why`: it cannot be
 * read, or is no qlog. What came before an error is in the trace, and why[0] is not 0 then. */
unsigned qlog_read(const char *path, unsigned wanted, struct qlog_trace *trace, char *why, size_t capacity);
/* The same from a function: bytes; 0: the end; negative: it cannot be read, errno says why. */
unsigned qlog_read_from(long (*read_some)(void *user, void *data, size_t len), void *user, unsigned wanted,
                        struct qlog_trace *trace, char *why, size_t capacity);
void qlog_trace_free(struct qlog_trace *trace);

enum qlog_theme { QLOG_AUTO = 0, QLOG_LIGHT, QLOG_DARK };
void qlog_svg(const struct qlog_trace *trace, enum qlog_theme theme, FILE *out);

#endif
