/* get_session.c - a session that outlives the command: a file with what weft_conn_session gives.
 *
 * Who has a session can read what is sent with it as early data (RFC 8446 2.3, E.6), so the file is its owner's alone
 * from its first moment on. It is written beside the old one and takes its place by rename: whoever reads meanwhile finds
 * the old one or the new one, and never half of it.
 *
 * Knows nothing of what is in a session: a wrong one is refused by weft_connect.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "get.h"

#define SESSION_MOST (1u << 20) /* with a long chain of the peer's certificates */

static int read_all(int fd, uint8_t **session, size_t *len) {
    struct stat stat;
    if (fstat(fd, &stat))
        return errno;
    if (!S_ISREG(stat.st_mode))
        return S_ISDIR(stat.st_mode) ? EISDIR : EINVAL;
    if (stat.st_size > SESSION_MOST)
        return EFBIG;
    uint8_t *block = malloc((size_t)stat.st_size + 1);
    if (!block)
        return ENOMEM;
    size_t have = 0;
    while (have < (size_t)stat.st_size) {
        ssize_t got = read(fd, block + have, (size_t)stat.st_size - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int error = errno;
            free(block);
            return error;
        }
        if (!got)
            break;
        have += (size_t)got;
    }
    if (!have) { /* as `touch` leaves it */
        free(block);
        return 0;
    }
    *session = block;
    *len = have;
    return 0;
}

int get_session_read(const char *path, uint8_t **session, size_t *len) {
    *session = NULL;
    *len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO without writer would not let us go on */
    if (fd < 0)
        return errno == ENOENT ? 0 : errno;
    int error = read_all(fd, session, len);
    close(fd);
    return error;
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

int get_session_write(const char *path, const uint8_t *session, size_t len) {
    size_t room = strlen(path) + sizeof ".XXXXXX";
    char *temporary = malloc(room);
    if (!temporary)
        return ENOMEM;
    snprintf(temporary, room, "%s.XXXXXX", path);
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 (POSIX) */
    int error = fd < 0 ? errno : write_all(fd, session, len);
    if (fd >= 0 && close(fd) && !error)
        error = errno;
    if (!error && rename(temporary, path))
        error = errno;
    if (error && fd >= 0)
        unlink(temporary);
    free(temporary);
    return error;
}
