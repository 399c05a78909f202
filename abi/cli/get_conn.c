/* get_conn.c - one server, one connection, one stream for each file.
 *
 * Streams are opened as the server's limit and --parallel allow; the next one when another has ended, or when the
 * server allows more. Bytes go from the library's receive buffers to the file without being copied in between.
 *
 * Invariant: `left` counts the items that are neither done nor failed; at 0 the connection is closed, and whatever is
 * left when it closes has failed.
 */
#include <stdlib.h>
#include <string.h>

#include "get.h"

#define SESSION_PATIENCE UINT64_C(1000000000) /* ns that we wait for a session when all else is done */
#define CANCELLED 0x10cu                      /* H3_REQUEST_CANCELLED, for want of codes in hq-interop (RFC 9114 8.1) */

void get_worst(struct get *get, int code) {
    if (code > get->code)
        get->code = code;
}

static void item_ended(struct get_item *item, bool failed) {
    struct get_server *server = item->server;
    struct get *get = server->get;
    item->done = !failed;
    item->failed = failed;
    if (failed) {
        get->files_failed++;
        get_worst(get, CLI_FAILED);
    } else {
        get->files_done++;
    }
    server->left--;
    get->ended = cli_now();
}

static void item_failed(struct get_item *item, const char *why) {
    cli_progress_clear(&item->server->get->progress);
    cli_error("%s: %s", item->url.target, why);
    get_file_abandon(&item->file);
    item_ended(item, true);
}

/* For failures of our own: the stream is of no more use either. */
static void item_give_up(struct get_item *item, int error) {
    struct get_server *server = item->server;
    item_failed(item, strerror(error));
    if (item->open) {
        item->open = false;
        server->in_flight--;
        weft_stream_detach(item->stream, CANCELLED);
    }
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void done_with_server(struct get_server *server) {
    const struct get *get = server->get;
    if (server->left || server->ended)
        return;
    if (get->session_path && !get->session_written && !server->idle_since)
        server->idle_since = cli_now(); /* get_server_tick closes it if none comes */
    else if (server->idle_since ? get->session_written : !(server->leaves && !get->kept.session))
        weft_conn_close(server->conn, 0, NULL);
}

void get_server_tick(struct get_server *server) {
    if (server->idle_since && !server->ended && cli_now() - server->idle_since >= SESSION_PATIENCE)
        weft_conn_close(server->conn, 0, NULL);
}

static int64_t ask(struct get_item *item) {
    weft_stream_params params = {.size = sizeof params, .user = item};
    const weft_bytes request[] = {{"GET ", 4}, {item->url.target, strlen(item->url.target)}, {"\r\n", 2}};
    int64_t result = weft_stream_open(item->server->conn, WEFT_BIDI, &params, &item->stream);
    if (result)
        return result;
    item->open = true;
    item->server->in_flight++;
    return weft_stream_writev(item->stream, request, 3, WEFT_FIN);
}

static void ask_more(struct get_server *server) {
    while (server->unasked && server->in_flight < server->get->parallel) {
        struct get_item *item = server->unasked;
        int64_t result = ask(item);
        if (result == WEFT_E_STREAM_LIMIT || result == WEFT_E_CLOSED || result == WEFT_E_STATE)
            return; /* on_streams follows, or on_closed */
        server->unasked = item->next;
        if (result < 0) {
            item_failed(item, weft_strerror((int32_t)result));
            if (item->open) {
                item->open = false;
                server->in_flight--;
                weft_stream_detach(item->stream, CANCELLED);
            }
        }
    }
    done_with_server(server);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

/* What was asked for the time when files come. It may be too early still: then the next bytes bring it up again. */
static void keep_promises(struct get_server *server) {
    struct get *get = server->get;
    if (get->common.key_update && !server->keys_new)
        server->keys_new = !weft_conn_update_keys(server->conn);
    if (get->migrate && !server->moved) {
        int32_t error = weft_conn_migrate(server->conn, get->migrate);
        server->moved = error != WEFT_E_STATE && error != WEFT_E_BLOCKED;
        if (server->moved && error) {
            cli_error("--migrate %s: %s", get->migrate, weft_strerror(error));
            get_worst(get, CLI_FAILED);
        }
    }
}

static void on_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    struct get_item *item = user;
    struct get *get = item->server->get;
    (void)stream;
    if (item->done || item->failed)
        return;
    keep_promises(item->server);
    int error = item->file.fd < 0 ? get_file_open(&item->file, get->directory) : 0;
    if (!error)
        error = get_file_write(&item->file, slices, count);
    for (uint32_t i = 0; i < count; i++) {
        item->received += slices[i].len;
        get->bytes += slices[i].len;
    }
    if (!error && !(flags & WEFT_FIN))
        return;
    if (!error)
        error = get_file_finish(&item->file, item->url.name);
    if (!error) {
        item_ended(item, false);
        done_with_server(item->server);
        return;
    }
    item_give_up(item, error);
    ask_more(item->server);
}

static void on_reset(void *user, weft_stream stream, uint64_t code) {
    static const struct {
        uint64_t code;
        const char *text;
    } texts[] = {{0x400, "the server does not understand the request"},
                 {0x403, "the server refuses it"},
                 {0x404, "not found"},
                 {0x414, "too long a path for the server"},
                 {0x500, "the server had trouble reading it"},
                 {0x503, "the server has no resources for it"}};
    struct get_item *item = user;
    char why[96];
    (void)stream;
    if (item->done || item->failed)
        return;
    snprintf(why, sizeof why, "the server broke it off (stream reset with code 0x%llx)", (unsigned long long)code);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].code == code)
            snprintf(why, sizeof why, "%s (stream reset with code 0x%llx)", texts[i].text, (unsigned long long)code);
    item_failed(item, why);
}

static void on_stream_closed(void *user, weft_stream stream) {
    struct get_item *item = user;
    struct get_server *server = item->server;
    (void)stream;
    if (!item->open)
        return;
    item->open = false;
    server->in_flight--;
    if (!server->ended)
        ask_more(server);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void on_connected(void *user, weft_conn conn) {
    struct get_server *server = user;
    weft_conn_info info = {.size = sizeof info};
    server->connected = true;
    if (!weft_conn_get_info(conn, &info)) {
        server->get->resumed += info.resumed;
        server->get->early_accepted += info.early == WEFT_EARLY_ACCEPTED;
    }
    ask_more(server);
}

static void on_streams(void *user, weft_conn conn) {
    (void)conn;
    ask_more(user);
}

static void keep(struct get *get, const weft_bytes *session, const weft_bytes *token) {
    int error = get_session_put(get->session_path, get->session_of, session, token);
    if (!error)
        return;
    cli_progress_clear(&get->progress);
    cli_error("--session %s: %s", get->session_path, strerror(error));
    get_worst(get, CLI_FAILED);
}

/* The newest is kept: tickets should be used once (RFC 8446 C.4). */
static void keep_session(struct get_server *server, const uint8_t *session, size_t len) {
    keep(server->get, &(weft_bytes){session, len}, NULL);
    server->get->session_written = true; /* or tried: no reason to wait any longer */
    done_with_server(server);
}

/* It comes with the session, also when the connection has just been closed; a later one knows more of the path (RFC
 * 9959). */
static void on_token(void *user, weft_conn conn, const uint8_t *token, size_t len) {
    struct get_server *server = user;
    (void)conn;
    if (server->get->session_path)
        keep(server->get, NULL, &(weft_bytes){token, len});
}

static void on_session(void *user, weft_conn conn, const uint8_t *session, size_t len) {
    struct get_server *server = user;
    struct get *get = server->get;
    (void)conn;
    if (get->session_path)
        keep_session(server, session, len);
    if (!server->leaves || get->kept.session)
        return;
    get->kept.session = malloc(len);
    if (!get->kept.session)
        return; /* the next one comes, or the connection ends */
    memcpy(get->kept.session, session, len);
    get->kept.session_len = len;
    done_with_server(server);
}

static void fail_the_rest(struct get_server *server, const char *why) {
    for (struct get_item *item = server->first; item; item = item->next)
        if (!item->done && !item->failed) {
            get_file_abandon(&item->file);
            item_ended(item, true);
            if (!server->get->common.quiet && why)
                cli_error("%s: %s", item->url.target, why);
        }
}

static void server_ended(struct get_server *server) {
    struct get *get = server->get;
    server->ended = true;
    if (!--get->servers_open)
        weft_engine_stop(get->engine);
    else if (server->then && !get->interrupted)
        get_server_connect(server->then);
    else if (server->then) { /* it will never begin */
        fail_the_rest(server->then, NULL);
        server_ended(server->then);
    }
}

static void on_conn_closed(void *user, weft_conn conn, const weft_close *close) {
    struct get_server *server = user;
    struct get *get = server->get;
    char why[400];
    (void)conn;
    server->ended = true;
    if (server->left && !get->interrupted) {
        int code = cli_explain_close(close, why, sizeof why);
        cli_progress_clear(&get->progress);
        cli_error("%s port %u: %s", server->first->url.host, server->first->url.port, why);
        get_worst(get, server->connected ? CLI_FAILED : code);
    }
    fail_the_rest(server, server->connected && !get->interrupted ? "not fetched, the connection is lost" : NULL);
    server_ended(server);
}

bool get_server_connect(struct get_server *server) {
    static const weft_conn_callbacks on_conn = {.size = sizeof on_conn,
                                                .on_connected = on_connected,
                                                .on_session = on_session,
                                                .on_token = on_token,
                                                .on_streams = on_streams,
                                                .on_closed = on_conn_closed};
    static const weft_stream_callbacks on_stream = {
        .size = sizeof on_stream, .on_data = on_data, .on_reset = on_reset, .on_closed = on_stream_closed};
    struct get *get = server->get;
    const struct get_url *url = &server->first->url;
    char why[512];
    bool resumes = server->waits || get->session_path;
    weft_connect_params params = {.size = sizeof params,
                                  .family = cli_client_family(&get->client),
                                  .server_name = get->client.server_name,
                                  .session = resumes ? get->kept.session : NULL,
                                  .session_len = resumes ? get->kept.session_len : 0,
                                  .token = resumes ? get->kept.token : NULL,
                                  .token_len = resumes ? get->kept.token_len : 0,
                                  .callbacks = &on_conn,
                                  .stream_callbacks = &on_stream,
                                  .user = server};
    int32_t error = weft_connect(get->engine, get->config, url->host, url->port, &params, &server->conn);
    if (!error) {
        ask_more(server); /* as early data, if the session allows for it; else when the connection is there */
        return true;
    }
    if (weft_engine_error(get->engine, why, sizeof why) <= 0)
        snprintf(why, sizeof why, "%s", weft_strerror(error));
    cli_error("%s port %u: %s", url->host, url->port, why);
    get_worst(get, CLI_NO_CONNECTION);
    fail_the_rest(server, NULL);
    server_ended(server);
    return false;
}

void get_server_interrupt(struct get_server *server) {
    if (!server->ended && server->conn.id) /* one that waits has none yet; it ends with the one before it */
        weft_conn_close(server->conn, CANCELLED, "interrupted");
}
