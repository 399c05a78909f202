/* qlog.c - with `sim --qlog DIR` every connection of every simulation writes a qlog, DIR/<ODCID>_<role>.sqlog (a number
 * in front where several runs make the same). tests/qlog/run reads them and compares them with the schema and with
 * themselves. */
#include <stdio.h>
#include <stdlib.h>

#include "world.h"

static const char *directory;
static unsigned opened;

static void *log_open(const struct quic_qlog_sink *sink, const struct quic_conn *conn) {
    char name[QUIC_QLOG_NAME], path[512];
    (void)sink;
    quic_qlog_name(conn, name);
    snprintf(path, sizeof path, "%s/%06u-%s.sqlog", directory, opened++, name);
    FILE *file = fopen(path, "wb");
    if (!file) {
        fprintf(stderr, "sim: cannot write %s\n", path);
        exit(3);
    }
    return file;
}

static bool log_write(void *log, const struct quic_conn *conn, const char *data, size_t len) {
    (void)conn;
    return fwrite(data, 1, len, log) == len;
}

static void log_close(void *log, const struct quic_conn *conn) {
    (void)conn;
    fclose(log);
}

const struct quic_qlog_sink *sim_qlog;

void sim_qlog_to(const char *path) {
    static const struct quic_qlog_sink sink = {log_open, log_write, log_close};
    directory = path;
    sim_qlog = &sink;
}
