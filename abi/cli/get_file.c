/* get_file.c - files that appear whole or not at all.
 *
 * Bytes go to a file with a temporary name in the same directory, and rename, which is atomic there, gives it its own
 * when the last byte has come. Whatever else happens removes it: an error, an interruption, a server that goes away.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "get.h"

#define TRIES 100u

int get_file_open(struct get_file *file, int directory) {
    static uint32_t serial;
    *file = (struct get_file){.directory = directory, .fd = STDOUT_FILENO};
    if (directory < 0)
        return 0;
    for (uint32_t i = 0; i < TRIES; i++) {
        snprintf(file->temporary_name, sizeof file->temporary_name, ".weft-%ld-%u-%08llx", (long)getpid(), serial++,
                 (unsigned long long)(cli_now() & 0xffffffffu));
        file->fd = openat(directory, file->temporary_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->fd >= 0) {
            file->temporary = true;
            return 0;
        }
        if (errno != EEXIST)
            break;
    }
    return errno;
}

int get_file_write(struct get_file *file, const weft_slice *slices, uint32_t count) {
    struct iovec pieces[64];
    size_t skip = 0; /* of the first slice, after a short write */
    while (count) {
        int used = 0;
        for (uint32_t i = 0; i < count && used < 64; i++, used++) {
            size_t from = i ? 0 : skip;
            pieces[used] = (struct iovec){(void *)(uintptr_t)(slices[i].data + from), slices[i].len - from};
        }
        ssize_t written = writev(file->fd, pieces, used);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return errno;
        }
        skip += (size_t)written;
        while (count && skip >= slices->len) {
            skip -= slices->len;
            slices++;
            count--;
        }
    }
    return 0;
}

int get_file_finish(struct get_file *file, const char *name) {
    if (file->directory < 0)
        return 0;
    int error = close(file->fd) ? errno : 0; /* some file systems tell only now that they are full */
    file->fd = -1;
    if (!error && renameat(file->directory, file->temporary_name, file->directory, name))
        error = errno;
    if (!error)
        file->temporary = false;
    get_file_abandon(file);
    return error;
}

void get_file_abandon(struct get_file *file) {
    if (file->directory < 0)
        return;
    if (file->fd >= 0)
        close(file->fd);
    if (file->temporary)
        unlinkat(file->directory, file->temporary_name, 0);
    *file = (struct get_file){.directory = -1, .fd = -1};
}
