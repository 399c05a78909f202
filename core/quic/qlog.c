/* qlog.c - the life of a connection's log: its header, its buffer, and the way to the sink.
 *
 * Knows records as bytes between a record separator and a line feed; what is in them is the other files' business.
 * Every record finds QUIC_QLOG_ROOM bytes of room, so what a writer has to cut it cuts knowingly; one that runs out of
 * it all the same is taken back and counted.
 *
 * Invariant: buffer[0, len) is whole records, and the header is the first of them until it has reached the sink.
 * draft-ietf-quic-qlog-main-schema sections 4, 5, 7, 11.2; RFC 7464.
 */
#include "quic/qlog.h"

#include "quic/conn.h"

static const char *role_name(const struct quic_conn *conn) { return conn->role == CRYPTO_CLIENT ? "client" : "server"; }

void quic_qlog_name(const struct quic_conn *conn, char name[QUIC_QLOG_NAME]) {
    static const char digits[] = "0123456789abcdef";
    char *at = name;
    for (unsigned i = 0; i < conn->original_dcid.len; i++) {
        *at++ = digits[conn->original_dcid.id[i] >> 4];
        *at++ = digits[conn->original_dcid.id[i] & 15];
    }
    *at++ = '_';
    memcpy(at, role_name(conn), sizeof "client");
}

/* ---- the buffer ---- */

static void drop(struct quic_conn *conn, uint32_t records) { conn->stats.qlog_dropped += records; }

/* What waits goes to the sink. The header is kept until it has got there: without it the rest could not be read. */
static void hand_over(struct quic_conn *conn) {
    struct quic_qlog *qlog = conn->qlog;
    if (!qlog->len)
        return;
    bool taken = qlog->sink->write(qlog->log, conn, qlog->buffer, qlog->len);
    bool header = !taken && qlog->header_len;
    if (!taken)
        drop(conn, qlog->records - header);
    qlog->header_len = header ? qlog->header_len : 0;
    qlog->len = qlog->header_len;
    qlog->records = header;
}

void quic_qlog_flush(struct quic_conn *conn) {
    struct quic_qlog *qlog = conn->qlog;
    hand_over(conn);
    if (qlog->len)
        return;
    base_free(conn->endpoint->mem, qlog->buffer, QUIC_QLOG_BUFFER);
    qlog->buffer = NULL;
}

/* Room for a record. */
static bool make_room(struct quic_conn *conn) {
    struct quic_qlog *qlog = conn->qlog;
    if (qlog->len > QUIC_QLOG_BUFFER - QUIC_QLOG_ROOM)
        hand_over(conn);
    if (!qlog->buffer)
        qlog->buffer = base_alloc(conn->endpoint->mem, QUIC_QLOG_BUFFER);
    if (qlog->buffer)
        return true;
    drop(conn, 1);
    return false;
}

/* ---- records ---- */

static struct qlog_json *record_open(struct quic_conn *conn) {
    struct quic_qlog *qlog = conn->qlog;
    if (!make_room(conn))
        return NULL;
    qlog->json = qlog_json_of(qlog->buffer + qlog->len, QUIC_QLOG_BUFFER - qlog->len);
    qlog_json_raw(&qlog->json, "\x1e", 1);
    qlog_json_open(&qlog->json, NULL, '{');
    return &qlog->json;
}

static void record_close(struct quic_conn *conn) {
    struct quic_qlog *qlog = conn->qlog;
    qlog_json_close(&qlog->json, '}');
    qlog_json_raw(&qlog->json, "\n", 1);
    if (qlog->json.bad) {
        drop(conn, 1);
        return;
    }
    if (!qlog->records)
        qlog->oldest = conn->endpoint->now;
    qlog->len = (size_t)(qlog->json.at - qlog->buffer);
    qlog->records++;
}

struct qlog_json *quic_qlog_record(struct quic_conn *conn, const char *name, unsigned path) {
    struct quic_qlog *qlog = conn->qlog;
    struct qlog_json *json = record_open(conn);
    if (!json)
        return NULL;
    base_time now = conn->endpoint->now;
    qlog_json_ms(json, "time", now > qlog->start ? now - qlog->start : 0);
    qlog_json_text(json, "name", name);
    if (path < QUIC_PATHS && qlog->told.tuple[path]) {
        char text[20], *at = text + sizeof text; /* the first path's is "", which need not be said */
        for (uint64_t id = qlog->told.tuple[path]; id; id /= 10)
            *--at = (char)('0' + id % 10);
        qlog_json_bytes(json, "tuple", at, (size_t)(text + sizeof text - at));
    }
    qlog_json_open(json, "data", '{');
    return json;
}

void quic_qlog_record_end(struct quic_conn *conn) {
    struct quic_qlog *qlog = conn->qlog;
    qlog_json_close(&qlog->json, '}');
    record_close(conn);
    if (qlog->len > QUIC_QLOG_BUFFER - QUIC_QLOG_ROOM || conn->endpoint->now - qlog->oldest >= QUIC_QLOG_AGE)
        hand_over(conn);
}

/* ---- the header ---- */

static void two_digits(char *to, unsigned value) {
    to[0] = (char)('0' + value / 10 % 10);
    to[1] = (char)('0' + value % 10);
}

/* RFC 3339, in UTC. Days are turned into a date by counting years from March on, so that leap days come last. */
static void wall_clock(uint64_t unix_ns, char text[25]) {
    uint64_t ms = unix_ns / BASE_MS, seconds = ms / 1000, days = seconds / 86400 + 719468;
    uint64_t era = days / 146097, day_of_era = days % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (unsigned)((5 * day_of_year + 2) / 153),
             month = from_march < 10 ? from_march + 3 : from_march - 9;
    unsigned day = (unsigned)(day_of_year - (153 * from_march + 2) / 5 + 1), second = (unsigned)(seconds % 86400);
    uint64_t year = year_of_era + era * 400 + (month <= 2);
    memcpy(text, "0000-00-00T00:00:00.000Z", 25);
    two_digits(text, (unsigned)(year / 100));
    two_digits(text + 2, (unsigned)(year % 100));
    two_digits(text + 5, month);
    two_digits(text + 8, day);
    two_digits(text + 11, second / 3600);
    two_digits(text + 14, second / 60 % 60);
    two_digits(text + 17, second % 60);
    text[20] = (char)('0' + ms % 1000 / 100);
    two_digits(text + 21, (unsigned)(ms % 100));
}

static void write_header(struct quic_conn *conn) {
    char clock[25];
    struct qlog_json *json = record_open(conn);
    if (!json)
        return;
    wall_clock(quic_endpoint_unix(conn->endpoint, conn->endpoint->now), clock);
    qlog_json_text(json, "file_schema", "urn:ietf:params:qlog:file:sequential");
    qlog_json_text(json, "serialization_format", "application/qlog+json-seq");
    qlog_json_text(json, "title", conn->role == CRYPTO_CLIENT ? "weft client" : "weft server");
    qlog_json_open(json, "trace", '{');
    qlog_json_open(json, "event_schemas", '[');
    qlog_json_text(json, NULL, "urn:ietf:params:qlog:events:quic-13");
    qlog_json_close(json, ']');
    qlog_json_open(json, "vantage_point", '{');
    qlog_json_text(json, "name", "weft");
    qlog_json_text(json, "type", role_name(conn));
    qlog_json_close(json, '}');
    qlog_json_open(json, "common_fields", '{');
    qlog_json_hex(json, "group_id", conn->original_dcid.id, conn->original_dcid.len);
    qlog_json_text(json, "time_format", "relative_to_epoch");
    qlog_json_open(json, "reference_time", '{');
    qlog_json_text(json, "clock_type", "monotonic");
    qlog_json_text(json, "epoch", "unknown");
    qlog_json_text(json, "wall_clock_time", clock);
    qlog_json_close(json, '}');
    qlog_json_close(json, '}');
    qlog_json_close(json, '}');
    record_close(conn);
    conn->qlog->header_len = conn->qlog->len;
}

/* ---- life ---- */

static bool is_chosen(struct quic_conn *conn) {
    uint64_t share = conn->config->options.qlog_one_in;
    return share <= 1 || base_random_u64(&conn->endpoint->random) % share == 0;
}

/* Memory first: a log that is opened has its header at least. */
void quic_qlog_begin(struct quic_conn *conn) {
    const struct quic_qlog_sink *sink = conn->config->qlog;
    struct base_mem *mem = conn->endpoint->mem;
    if (!sink || !is_chosen(conn))
        return;
    struct quic_qlog *qlog = BASE_NEW(mem, struct quic_qlog);
    char *buffer = qlog ? base_alloc(mem, QUIC_QLOG_BUFFER) : NULL;
    void *log = buffer ? sink->open(sink, conn) : NULL;
    if (!log) {
        base_free(mem, buffer, QUIC_QLOG_BUFFER);
        base_free(mem, qlog, sizeof *qlog);
        drop(conn, 1);
        return;
    }
    qlog->sink = sink;
    qlog->log = log;
    qlog->buffer = buffer;
    qlog->start = conn->endpoint->now;
    qlog->told.timer = BASE_NEVER;
    conn->qlog = qlog;
    write_header(conn);
    quic_qlog_opening(conn);
}

void quic_qlog_end(struct quic_conn *conn) {
    struct quic_qlog *qlog = conn->qlog;
    if (conn->state >= QUIC_CONN_CLOSING)
        quic_qlog_connection_state(conn, "closed");
    hand_over(conn);
    if (qlog->records) /* the header, that found no way */
        drop(conn, qlog->records);
    qlog->sink->close(qlog->log, conn);
    base_free(conn->endpoint->mem, qlog->buffer, QUIC_QLOG_BUFFER);
    BASE_DELETE(conn->endpoint->mem, qlog);
    conn->qlog = NULL;
}
