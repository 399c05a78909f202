/* qlog.c - where the qlogs of a configuration's connections go: to a directory, to a callback, or to both.
 *
 * The core gives whole records of one connection (core/quic/qlog.h), the directory's files are io's business. Here the
 * two are joined, and the connection is named as the application knows it.
 *
 * The invariant that matters: the application's function is called on the engine's thread, between abi_enter and
 * abi_leave, so that whatever it calls is refused and not run in the midst of the core's work.
 */
#include "abi.h"

#include "io/qlog_file.h"

/* One connection's log. */
struct qlog {
    const struct abi_config *config;
    struct io_qlog_file *file; /* NULL: none */
};

static uint64_t handle_of(const struct quic_conn *core) {
    const struct abi_conn *conn = (const struct abi_conn *)core->user;
    return conn && conn->core == core ? conn->handle : 0;
}

/* Not 0: the application did not take it. */
static int32_t tell(const struct qlog *log, const struct quic_conn *core, const char *data, size_t len, bool last) {
    const struct abi_config *config = log->config;
    weft_qlog qlog = {.size = sizeof qlog,
                      .role = core->role == CRYPTO_SERVER ? WEFT_SERVER : WEFT_CLIENT,
                      .conn = {handle_of(core)},
                      .odcid = core->original_dcid.id,
                      .odcid_len = core->original_dcid.len,
                      .last = last,
                      .data = data,
                      .len = len};
    if (!config->qlog)
        return 0;
    abi_enter();
    int32_t result = config->qlog(config->qlog_user, &qlog);
    abi_leave();
    return result;
}

static void *qlog_open(const struct quic_qlog_sink *sink, const struct quic_conn *core) {
    const struct abi_config *config = BASE_CONTAINER(sink, struct abi_config, qlog_sink);
    struct qlog *log = BASE_NEW(core->endpoint->mem, struct qlog);
    if (!log)
        return NULL;
    log->config = config;
    if (config->qlog_dir) {
        char name[QUIC_QLOG_NAME];
        quic_qlog_name(core, name);
        log->file = io_qlog_file_open(config->qlog_dir, name);
    }
    if (log->file || config->qlog)
        return log;
    BASE_DELETE(core->endpoint->mem, log);
    return NULL;
}

static bool qlog_write(void *own, const struct quic_conn *core, const char *data, size_t len) {
    const struct qlog *log = (const struct qlog *)own;
    bool written = !log->file || io_qlog_file_write(log->file, data, len);
    bool told = tell(log, core, data, len, false) == 0;
    return written && told;
}

static void qlog_close(void *own, const struct quic_conn *core) {
    struct qlog *log = (struct qlog *)own;
    if (log->file)
        io_qlog_file_close(log->file);
    (void)tell(log, core, NULL, 0, true);
    BASE_DELETE(core->endpoint->mem, log);
}

/* ---- configurations ---- */

static void update(struct abi_config *config) {
    config->qlog_sink = (struct quic_qlog_sink){qlog_open, qlog_write, qlog_close};
    config->core.qlog = config->qlog || config->qlog_dir ? &config->qlog_sink : NULL;
}

int32_t weft_config_set_qlog(weft_config config, weft_qlog_cb callback, void *user) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    own->qlog = callback;
    own->qlog_user = user;
    update(own);
    return abi_config_end(own, WEFT_OK);
}

int32_t weft_config_set_qlog_dir(weft_config config, const char *path) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    struct io_qlog_dir *dir = NULL;
    error = path ? io_qlog_dir_open(path, &dir, &own->error) : WEFT_OK;
    if (error)
        return abi_config_end(own, error);
    if (own->qlog_dir)
        io_qlog_dir_close(own->qlog_dir);
    own->qlog_dir = dir;
    update(own);
    return abi_config_end(own, WEFT_OK);
}

void abi_qlog_clear(struct abi_config *config) {
    if (config->qlog_dir)
        io_qlog_dir_close(config->qlog_dir);
}
