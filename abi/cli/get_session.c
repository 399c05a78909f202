/* get_session.c - what outlives the command: a file with a session (what on_session gives) and a token (on_token).
 *
 *     "weft" 1                      of a file with fields; one without is a session alone, as there were before tokens
 *     kind, length (4), bytes       'N' the server, as "host:port", 'S' the session, 'T' the token
 *
 * Who has a session can read what is sent with it as early data (RFC 8446 2.3, E.6), so the file is its owner's alone
 * from its first moment on. It is written beside the old one and takes its place by rename: whoever reads meanwhile
 * finds the old one or the new one, and never half of it.
 *
 * A token is good for one connection (RFC 9000 8.1.3: two with the same one could be linked), and at the server that
 * gave it: who takes it takes it out of the file first. Several commands may share a file. Whoever changes it has a
 * lock on it from the moment he reads it until what he makes of it has its name; a lock is good while the file still
 * has that name. Where the file system has no locks, two that come at the same moment may get the same token.
 *
 * Knows nothing of what is in a session or a token: a wrong session is refused by weft_connect, a wrong token is none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "get.h"

#define SESSION_MOST (1u << 20) /* with a long chain of the peer's certificates */
#define FIELD_HEAD 5u

static const uint8_t magic[5] = {'w', 'e', 'f', 't', 1}; /* no session begins so: it begins with a version of QUIC */

/* A file as it was read. */
struct kept_file {
    uint8_t *block; /* NULL: there is none, or nothing in it */
    size_t len;
    weft_bytes server, session, token; /* in `block`, or elsewhere; len 0: none */
};

/* ---- bytes ---- */

static int read_all(int fd, struct kept_file *file) {
    struct stat stat;
    if (fstat(fd, &stat))
        return errno;
    if (!S_ISREG(stat.st_mode))
        return S_ISDIR(stat.st_mode) ? EISDIR : EINVAL;
    if (stat.st_size > SESSION_MOST)
        return EFBIG;
    file->block = malloc((size_t)stat.st_size + 1);
    if (!file->block)
        return ENOMEM;
    while (file->len < (size_t)stat.st_size) {
        ssize_t got = read(fd, file->block + file->len, (size_t)stat.st_size - file->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (!got)
            break;
        file->len += (size_t)got;
    }
    return 0;
}

static int write_all(int fd, const uint8_t *bytes, size_t len) {
    while (len) {
        ssize_t written = write(fd, bytes, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno;
        bytes += written;
        len -= (size_t)written;
    }
    return 0;
}

static int write_bytes(int fd, const weft_bytes *bytes) { return write_all(fd, bytes->data, bytes->len); }

static int write_field(int fd, uint8_t kind, const weft_bytes *bytes) {
    const uint8_t head[FIELD_HEAD] = {kind, (uint8_t)(bytes->len >> 24), (uint8_t)(bytes->len >> 16),
                                      (uint8_t)(bytes->len >> 8), (uint8_t)bytes->len};
    if (!bytes->len)
        return 0;
    int error = write_all(fd, head, sizeof head);
    return error ? error : write_bytes(fd, bytes);
}

/* ---- the form ---- */

/* False: it is of a later version, or cut off. */
static bool parse(struct kept_file *file) {
    const uint8_t *at = file->block;
    size_t left = file->len;
    if (left < sizeof magic - 1 || memcmp(at, magic, sizeof magic - 1) != 0) {
        file->session = (weft_bytes){at, left};
        return true;
    }
    if (left < sizeof magic || at[sizeof magic - 1] != magic[sizeof magic - 1])
        return false;
    for (at += sizeof magic, left -= sizeof magic; left;) {
        if (left < FIELD_HEAD)
            return false;
        size_t len = (size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | at[4];
        weft_bytes *field = at[0] == 'N'   ? &file->server
                            : at[0] == 'S' ? &file->session
                            : at[0] == 'T' ? &file->token
                                           : NULL;
        if (!field || len > left - FIELD_HEAD)
            return false;
        *field = (weft_bytes){at + FIELD_HEAD, len};
        at += FIELD_HEAD + len;
        left -= FIELD_HEAD + len;
    }
    return true;
}

static bool is_of(const struct kept_file *file, const char *server) {
    return file->server.len == strlen(server) && !strncasecmp(file->server.data, server, file->server.len);
}

/* ---- the file ---- */

/* The file that has this name, under a lock. -1: there is none, or it cannot be; errno. */
static int open_locked(const char *path) {
    for (;;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO without writer would not let us go on */
        struct stat own, named;
        if (fd < 0)
            return -1;
        while (flock(fd, LOCK_EX) && errno == EINTR) {
        }
        if (fstat(fd, &own) || (!stat(path, &named) && named.st_dev == own.st_dev && named.st_ino == own.st_ino))
            return fd;
        close(fd); /* another one has taken its place meanwhile, or none */
    }
}

/* In the place of what was there, whole or not at all. 0, or errno. */
static int replace(const char *path, const struct kept_file *with) {
    const weft_bytes head = {magic, sizeof magic};
    size_t room = strlen(path) + sizeof ".XXXXXX";
    char *temporary = malloc(room);
    if (!temporary)
        return ENOMEM;
    snprintf(temporary, room, "%s.XXXXXX", path);
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 (POSIX) */
    int error = fd < 0 ? errno : write_bytes(fd, &head);
    error = error ? error : write_field(fd, 'N', &with->server);
    error = error ? error : write_field(fd, 'S', &with->session);
    error = error ? error : write_field(fd, 'T', &with->token);
    if (fd >= 0 && close(fd) && !error)
        error = errno;
    if (!error && rename(temporary, path))
        error = errno;
    if (error && fd >= 0)
        unlink(temporary);
    free(temporary);
    return error;
}

static bool copy(uint8_t **to, size_t *to_len, const weft_bytes *from) {
    *to = from->len ? malloc(from->len) : NULL;
    if (!*to)
        return !from->len;
    memcpy(*to, from->data, from->len);
    *to_len = from->len;
    return true;
}

/* The token is left where it is when it cannot be taken out of there. 0, or errno. */
static int take(const char *path, const char *server, struct kept_file *file, struct get_kept *kept) {
    weft_bytes token = {0};
    if (file->token.len && is_of(file, server)) {
        struct kept_file rest = *file;
        rest.token.len = 0;
        if (!replace(path, &rest))
            token = file->token;
    }
    bool copied = copy(&kept->session, &kept->session_len, &file->session);
    return copy(&kept->token, &kept->token_len, &token) && copied ? 0 : ENOMEM;
}

const char *get_session_take(const char *path, const char *server, struct get_kept *kept) {
    struct kept_file file = {0};
    *kept = (struct get_kept){0};
    int fd = open_locked(path);
    if (fd < 0)
        return errno == ENOENT ? NULL : strerror(errno);
    int error = read_all(fd, &file);
    bool known = error || parse(&file);
    if (!error && known)
        error = take(path, server, &file, kept);
    close(fd);
    free(file.block);
    return !known ? "not a file of sessions, or one of a later version" : error ? strerror(error) : NULL;
}

int get_session_put(const char *path, const char *server, const weft_bytes *session, const weft_bytes *token) {
    struct kept_file file = {0};
    int fd = open_locked(path); /* none: the first that comes */
    if (fd >= 0 && (read_all(fd, &file) || !parse(&file) || (file.server.len && !is_of(&file, server))))
        file.session.len = file.token.len = 0;
    file.server = (weft_bytes){server, strlen(server)};
    if (session)
        file.session = *session;
    if (token)
        file.token = *token;
    int error = replace(path, &file);
    if (fd >= 0)
        close(fd);
    free(file.block);
    return error;
}

void get_kept_free(struct get_kept *kept) {
    free(kept->session);
    free(kept->token);
    *kept = (struct get_kept){0};
}
