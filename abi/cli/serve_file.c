/* serve_file.c - files beneath the root, and nothing else.
 *
 * Nothing escapes: openat2 with RESOLVE_BENEATH has the kernel refuse every way out, ".." and symbolic links that lead
 * outside (and absolute ones, wherever they lead) included. Where there is no openat2, or no link is to be followed at
 * all, each component is opened by itself with O_NOFOLLOW. O_NONBLOCK keeps a FIFO from holding up the server before
 * fstat tells that it is no regular file.
 *
 * Large files are mapped, so that their bytes go from the page cache into packets without being copied on the way. The
 * price: a file that is truncated meanwhile makes reading its mapping a SIGBUS. The handler puts zeros there and marks
 * the file as broken; its sender resets the stream. This is safe in a handler, because the signal comes out of reading
 * mapped bytes, which the code below never does while it changes the list of mappings.
 *
 * Invariant: a file with `mapped` is in the list of mappings, and only such a one.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__has_include)
#if __has_include(<linux/openat2.h>)
#include <linux/openat2.h>
#endif
#endif

#include "serve.h"

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
#define SMALL (64u * 1024) /* up to here a read costs less than a mapping */

/* ---- SIGBUS ------------------------------------------------------------------------------------------------------ */

static struct serve_file *mappings;
static uintptr_t page_size;

static void on_sigbus(int signal_number, siginfo_t *info, void *context) {
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (struct serve_file *file = mappings; file; file = file->next_mapped) {
        uintptr_t start = (uintptr_t)file->data, end = start + file->size;
        if (at < start || at >= end)
            continue;
        uintptr_t page = at & ~(page_size - 1);
        void *zeros = mmap((void *)page, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (zeros == MAP_FAILED)
            break;
        file->broken = true;
        return;
    }
    signal(signal_number, SIG_DFL); /* not ours: the access is repeated, and ends the process as it should */
}

void serve_file_init(void) {
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

static void list_mapping(struct serve_file *file) {
    file->next_mapped = mappings;
    file->link_mapped = &mappings;
    if (mappings)
        mappings->link_mapped = &file->next_mapped;
    mappings = file;
}

static void unlist_mapping(struct serve_file *file) {
    *file->link_mapped = file->next_mapped;
    if (file->next_mapped)
        file->next_mapped->link_mapped = file->link_mapped;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Component by component, following no link. The path has no "..", see serve_request.c. */
static int open_walk(int root, const char *path) {
    int directory = root;
    for (;;) {
        char name[256];
        size_t len = strcspn(path, "/");
        if (len >= sizeof name) {
            errno = ENAMETOOLONG;
            break;
        }
        memcpy(name, path, len);
        name[len] = 0;
        bool last = !path[len];
        int fd =
            openat(directory, name, last ? OPEN_FLAGS | O_NOFOLLOW : O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
        int saved = errno;
        if (directory != root)
            close(directory);
        errno = saved;
        if (fd < 0 || last)
            return fd;
        directory = fd;
        path += len + 1;
    }
    if (directory != root)
        close(directory);
    return -1;
}

static int open_beneath(int root, const char *path, bool symlinks) {
#if defined(SYS_openat2) && defined(RESOLVE_BENEATH)
    static bool missing; /* an old kernel, or a sandbox that does not know it */
    if (symlinks && !missing) {
        struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
        long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
            return (int)fd;
        missing = errno == ENOSYS;
    }
#else
    (void)symlinks;
#endif
    return open_walk(root, path);
}

static uint32_t refusal_of(int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENXIO: return SERVE_NOT_FOUND;
    case EACCES:
    case EPERM:
    case ELOOP:
    case EXDEV: return SERVE_FORBIDDEN;
    case ENAMETOOLONG: return SERVE_TOO_LONG;
    case ENOMEM:
    case EMFILE:
    case ENFILE: return SERVE_OVERLOAD;
    default: return SERVE_TROUBLE;
    }
}

static uint32_t read_whole(struct serve_file *file) {
    file->data = malloc(file->size ? file->size : 1);
    if (!file->data)
        return SERVE_OVERLOAD;
    uint64_t got = 0;
    while (got < file->size) {
        ssize_t count = pread(file->fd, file->data + got, file->size - got, (off_t)got);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return SERVE_TROUBLE;
        got += (uint64_t)count;
    }
    close(file->fd);
    file->fd = -1;
    return 0;
}

static void map(struct serve_file *file) {
    if (file->size > SIZE_MAX)
        return;
    void *data = mmap(NULL, file->size, PROT_READ, MAP_SHARED, file->fd, 0);
    if (data == MAP_FAILED)
        return; /* some file systems cannot: piece by piece, then */
    madvise(data, file->size, MADV_SEQUENTIAL);
    file->data = data;
    file->mapped = true;
    list_mapping(file);
}

uint32_t serve_file_open(struct serve_file *file, int root, const char *path, bool symlinks) {
    struct stat stat;
    *file = (struct serve_file){.fd = open_beneath(root, path, symlinks)};
    if (file->fd < 0)
        return refusal_of(errno);
    uint32_t refusal = 0;
    if (fstat(file->fd, &stat))
        refusal = SERVE_TROUBLE;
    else if (!S_ISREG(stat.st_mode))
        refusal = SERVE_NOT_FOUND;
    if (!refusal) {
        file->size = (uint64_t)stat.st_size;
        file->changed_s = stat.st_mtim.tv_sec;
        file->changed_ns = stat.st_mtim.tv_nsec;
        if (file->size <= SMALL)
            refusal = read_whole(file);
        else
            map(file);
    }
    if (refusal)
        serve_file_close(file);
    return refusal;
}

bool serve_file_intact(const struct serve_file *file) {
    struct stat stat;
    if (file->broken)
        return false;
    if (file->fd < 0)
        return true; /* was read whole */
    return !fstat(file->fd, &stat) && (uint64_t)stat.st_size == file->size && stat.st_mtim.tv_sec == file->changed_s &&
           stat.st_mtim.tv_nsec == file->changed_ns;
}

void serve_file_close(struct serve_file *file) {
    if (file->mapped) {
        unlist_mapping(file);
        munmap(file->data, file->size);
    } else {
        free(file->data);
    }
    if (file->fd >= 0)
        close(file->fd);
    *file = (struct serve_file){.fd = -1};
}
