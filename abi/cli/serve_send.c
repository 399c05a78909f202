/* serve_send.c - one request, one file: from the first byte of a stream to its end.
 *
 * A transfer is born with its stream and freed when the stream is closed and every byte that was lent to the library
 * has come back. In between: the request line is gathered; the transfer waits for its turn when too many files are
 * open; the file's bytes are lent piece by piece (weft_stream_write_ref), as many as the stream takes; the last piece
 * carries WEFT_FIN, but only if the file is still what was opened, or a half-written file would arrive as a whole one.
 * Bytes in flight at that moment may still be of a file that is being overwritten; nobody can promise more.
 *
 * Invariant: `lent` pieces are with the library; the file stays open while there are any.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "serve.h"

#define PIECE (256u * 1024)

enum stage { GATHERING, WAITING, SENDING, ENDED };

struct serve_transfer {
    struct serve *serve;
    weft_stream stream;
    enum stage stage;
    bool opened, closed, refused, keys_new;
    uint32_t lent;
    uint64_t offset; /* what was lent so far */
    char *line;      /* the request as far as it is here; NULL: nothing */
    size_t line_len;
    struct serve_file file;
    struct serve_transfer *next, **link; /* in serve->waiting */
};

static void admit(struct serve *serve);

static void say(const struct serve_transfer *t, const char *what, const char *path) {
    char peer[WEFT_ADDR_TEXT];
    if (t->serve->common.quiet)
        return;
    fprintf(stderr, "%s %s", cli_peer(weft_stream_conn(t->stream), peer), what);
    if (path) {
        fputc(' ', stderr);
        for (; *path; path++)
            fputc((unsigned char)*path < ' ' || *path == 0x7f ? '?' : *path, stderr);
    }
    fputc('\n', stderr);
}

static void stop_waiting(struct serve_transfer *t) {
    struct serve *serve = t->serve;
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    else
        serve->waiting_end = t->link;
}

static void close_file(struct serve_transfer *t) {
    if (!t->opened)
        return;
    t->opened = false;
    serve_file_close(&t->file);
    t->serve->open_files--;
}

/* Whatever can go, goes. */
static void settle(struct serve_transfer *t) {
    struct serve *serve = t->serve;
    if (t->stage == ENDED && !t->lent)
        close_file(t);
    if (t->closed && !t->lent) {
        free(t->line);
        free(t);
    }
    admit(serve);
}

static void refuse(struct serve_transfer *t, uint32_t code, const char *path) {
    static const struct {
        uint32_t code;
        const char *text;
    } texts[] = {
        {SERVE_BAD_REQUEST, "0x400 not a request:"}, {SERVE_FORBIDDEN, "0x403 refused:"},
        {SERVE_NOT_FOUND, "0x404 not found:"},       {SERVE_TOO_LONG, "0x414 too long"},
        {SERVE_OVERLOAD, "0x503 no resources for"},
    };
    const char *text = "0x500 broken off, cannot be read or has changed:";
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].code == code)
            text = texts[i].text;
    say(t, text, path ? path : t->line);
    t->serve->counts.refused++;
    t->refused = true;
    t->stage = ENDED;
    weft_stream_reset(t->stream, code);
    weft_stream_stop(t->stream, code);
}

/* The client, or the connection, ends it before we have. */
static void break_off(struct serve_transfer *t) {
    if (t->stage == WAITING)
        stop_waiting(t);
    if (t->stage == WAITING || t->stage == SENDING)
        t->serve->counts.broken_off++;
    t->stage = ENDED;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* The next piece where it lies, or read into a buffer of its own that `token` remembers. */
static const uint8_t *piece_at(struct serve_transfer *t, size_t len, uint64_t *token) {
    *token = 0;
    if (t->file.data)
        return t->file.data + t->offset;
    uint8_t *piece = malloc(len);
    ssize_t got = 0;
    for (size_t have = 0; piece && have < len; have += (size_t)got) {
        got = pread(t->file.fd, piece + have, len - have, (off_t)(t->offset + have));
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got <= 0) {
            free(piece);
            return NULL;
        }
    }
    *token = (uint64_t)(uintptr_t)piece;
    return piece;
}

static void pump(struct serve_transfer *t) {
    while (t->stage == SENDING) {
        uint64_t left = t->file.size - t->offset, token = 0;
        size_t len = left < PIECE ? (size_t)left : PIECE;
        bool last = len == left;
        const uint8_t *piece = len ? piece_at(t, len, &token) : NULL;
        if ((len && !piece) || (last && !serve_file_intact(&t->file))) {
            free((void *)(uintptr_t)token);
            refuse(t, SERVE_TROUBLE, NULL);
            return;
        }
        int64_t taken = len ? weft_stream_write_ref(t->stream, piece, len, token, last ? WEFT_FIN : 0)
                            : weft_stream_finish(t->stream);
        if (len && taken <= 0)
            free((void *)(uintptr_t)token);
        if (len && !taken)
            return; /* full: WRITABLE follows */
        if (taken < 0) {
            if (taken == WEFT_E_NOMEM)
                refuse(t, SERVE_OVERLOAD, NULL);
            else
                break_off(t); /* the stream or the connection is closed: its event is on the way */
            return;
        }
        t->lent += len ? 1 : 0;
        t->offset += len;
        if (last) {
            t->stage = ENDED;
            t->serve->counts.completed++;
        }
    }
}

static void start(struct serve_transfer *t) {
    struct serve *serve = t->serve;
    char path[SERVE_LINE_MAX];
    uint32_t refusal = serve_parse(t->line, t->line_len, path);
    if (!refusal)
        refusal = serve_file_open(&t->file, serve->root, path, !serve->no_symlinks);
    if (refusal) {
        refuse(t, refusal, NULL);
        return;
    }
    t->opened = true;
    serve->open_files++;
    t->stage = SENDING;
    if (serve->verbose)
        say(t, "GET", path);
    pump(t);
}

/* Starts those that wait, as many as may. */
static void admit(struct serve *serve) {
    while (serve->waiting && serve->open_files < serve->most_open_files) {
        struct serve_transfer *t = serve->waiting;
        stop_waiting(t);
        start(t);
        if (t->stage == ENDED && !t->lent)
            close_file(t);
    }
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static void request_complete(struct serve_transfer *t) {
    struct serve *serve = t->serve;
    if (t->line_len && t->line[t->line_len - 1] == '\r')
        t->line[--t->line_len] = 0;
    serve->counts.requests++;
    t->stage = WAITING;
    t->link = serve->waiting_end;
    t->next = NULL;
    *serve->waiting_end = t;
    serve->waiting_end = &t->next;
}

/* Takes bytes up to the line break; true when there was one. */
static bool gather(struct serve_transfer *t, const uint8_t *data, size_t len) {
    const uint8_t *end = memchr(data, '\n', len);
    size_t count = end ? (size_t)(end - data) : len;
    if (t->line_len + count >= SERVE_LINE_MAX) {
        t->serve->counts.requests++;
        refuse(t, SERVE_TOO_LONG, "");
        return false;
    }
    char *line = realloc(t->line, t->line_len + count + 1);
    if (!line) {
        refuse(t, SERVE_OVERLOAD, "");
        return false;
    }
    memcpy(line + t->line_len, data, count);
    t->line = line;
    t->line_len += count;
    line[t->line_len] = 0;
    return end != NULL;
}

static void on_opened(void *user, weft_stream stream) {
    struct serve *serve = user;
    weft_stream_info info = {.size = sizeof info};
    if (weft_stream_get_info(stream, &info) || info.direction != WEFT_BIDI) {
        weft_stream_detach(stream, SERVE_BAD_REQUEST);
        return;
    }
    struct serve_transfer *t = calloc(1, sizeof *t);
    if (!t) {
        weft_stream_detach(stream, SERVE_OVERLOAD);
        return;
    }
    t->serve = serve;
    t->stream = stream;
    t->file.fd = -1;
    weft_stream_set_user(stream, t);
    if (!serve->counts.first_at)
        serve->counts.first_at = cli_now();
}

static void on_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    struct serve_transfer *t = user;
    (void)stream;
    bool complete = false;
    for (uint32_t i = 0; i < count && t->stage == GATHERING && !complete; i++)
        complete = gather(t, slices[i].data, slices[i].len);
    if (t->stage != GATHERING) /* what follows the line has no meaning */
        return;
    if (!complete && !(flags & WEFT_FIN))
        return;
    if (!t->line && !gather(t, (const uint8_t *)"\n", 1))
        return;
    request_complete(t);
    admit(t->serve);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void on_reset(void *user, weft_stream stream, uint64_t code) {
    struct serve_transfer *t = user;
    (void)code;
    if (t->stage == GATHERING) {
        t->stage = ENDED;
        weft_stream_reset(stream, SERVE_BAD_REQUEST);
    }
}

static void on_stopped(void *user, weft_stream stream, uint64_t code) {
    struct serve_transfer *t = user;
    (void)stream;
    (void)code;
    break_off(t);
    settle(t);
}

static void on_writable(void *user, weft_stream stream) {
    (void)stream;
    pump(user);
}

static void on_released(void *user, weft_stream stream, uint64_t token) {
    struct serve_transfer *t = user;
    if (t->serve->common.key_update && !t->keys_new) /* it may be too early still */
        t->keys_new = !weft_conn_update_keys(weft_stream_conn(stream));
    free((void *)(uintptr_t)token);
    t->lent--;
    if (t->file.broken && !t->refused) /* though the last piece is out already */
        refuse(t, SERVE_TROUBLE, NULL);
    settle(t);
}

static void on_finished(void *user, weft_stream stream) {
    struct serve_transfer *t = user;
    t->serve->counts.last_at = cli_now();
    weft_stream_stop(stream, 0); /* a client that has not ended its side has nothing more to say */
}

static void on_closed(void *user, weft_stream stream) {
    struct serve_transfer *t = user;
    (void)stream;
    break_off(t);
    t->closed = true;
    t->serve->counts.last_at = cli_now();
    settle(t);
}

const weft_stream_callbacks serve_stream_callbacks = {
    .size = sizeof serve_stream_callbacks,
    .on_opened = on_opened,
    .on_data = on_data,
    .on_reset = on_reset,
    .on_stopped = on_stopped,
    .on_writable = on_writable,
    .on_released = on_released,
    .on_finished = on_finished,
    .on_closed = on_closed,
};
