/* files.c - the few files that a configuration reads or writes.
 *
 * Knows how to read a small file whole and says clearly why it cannot. Does not know what is in it.
 *
 * The invariant that matters: no more than the limit is ever read, whatever the file is or becomes meanwhile; what was
 * read is wiped before it is freed, because it may be a key.
 */
#include "abi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int32_t file_fail(struct crypto_error *why, int32_t error, const char *path, const char *text) {
    snprintf(why->text, sizeof why->text, "%.110s: %.45s", path, text);
    return error;
}

/* Fills the block from the descriptor: 0, or the error number. *len: bytes read. */
static int fill(int fd, uint8_t *data, size_t capacity, size_t *len) {
    for (*len = 0; *len < capacity;) {
        ssize_t got = read(fd, data + *len, capacity - *len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0)
            return 0;
        *len += (size_t)got;
    }
    return 0;
}

void abi_file_free(struct base_mem *mem, uint8_t *data, size_t len) {
    crypto_wipe(data, len);
    base_free(mem, data, len + 1);
}

static int32_t read_open(struct base_mem *mem, int fd, const char *path, size_t limit, uint8_t **data, size_t *len,
                         struct crypto_error *why) {
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return file_fail(why, WEFT_E_IO, path, strerror(errno));
    if (S_ISDIR(stat.st_mode))
        return file_fail(why, WEFT_E_IO, path, "is a directory");
    if (stat.st_size > 0 && (uint64_t)stat.st_size > limit)
        return file_fail(why, WEFT_E_TOO_LARGE, path, "is too large for what it should be");
    /* Of pipes and the like the size is not known beforehand. */
    size_t capacity = S_ISREG(stat.st_mode) ? (size_t)stat.st_size : limit;
    uint8_t *block = (uint8_t *)base_alloc(mem, capacity + 1);
    if (!block)
        return file_fail(why, WEFT_E_NOMEM, path, "out of memory");
    int failed = fill(fd, block, capacity, len);
    uint8_t *exact = failed ? NULL : (uint8_t *)base_alloc(mem, *len + 1);
    if (exact) {
        memcpy(exact, block, *len);
        exact[*len] = 0;
        *data = exact;
    }
    abi_file_free(mem, block, capacity);
    if (failed)
        return file_fail(why, WEFT_E_IO, path, strerror(failed));
    return exact ? WEFT_OK : file_fail(why, WEFT_E_NOMEM, path, "out of memory");
}

int32_t abi_file_read(struct base_mem *mem, const char *path, size_t limit, uint8_t **data, size_t *len,
                      struct crypto_error *why) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_fail(why, WEFT_E_IO, path, strerror(errno));
    int32_t error = read_open(mem, fd, path, limit, data, len, why);
    close(fd);
    return error;
}

/* Readable by its owner alone: key logs open what was encrypted. */
int32_t abi_file_append(const char *path, int *fd, struct crypto_error *why) {
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return *fd < 0 ? file_fail(why, WEFT_E_IO, path, strerror(errno)) : WEFT_OK;
}

const char *abi_file_system_trust(void) {
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Arch, Alpine */
        "/etc/pki/tls/certs/ca-bundle.crt",                  /* Fedora, RHEL */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* the same, newer */
        "/etc/ssl/ca-bundle.pem",                            /* openSUSE */
        "/etc/ssl/cert.pem",                                 /* BSD, macOS */
    };
    const char *named = getenv("SSL_CERT_FILE");
    if (named && *named)
        return named;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], R_OK) == 0)
            return places[i];
    return NULL;
}
