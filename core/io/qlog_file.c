/* qlog_file.c - the thread that writes qlogs, and its queue.
 *
 * A job is bytes for a file, or the news that no more will come. Jobs of all files stand in one line, so a file's jobs
 * are done in their order, and the file is opened with the first of them and closed with the last - by the thread:
 * opening a file can take as long as writing it.
 *
 * The invariant that matters: a file is freed by its last job, which the thread always gets: room for it is made with
 * the file.
 */
#include "io/qlog_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "tables/errors.h"

#define NAME_MOST 128u
#define NAME_TRIES 100u /* "name-2.sqlog" and so on */

struct job {
    struct base_node node;
    struct io_qlog_file *file;
    size_t len;
    bool last;
    char data[];
};

struct io_qlog_file {
    struct io_qlog_dir *dir;
    struct job *end;     /* the last job */
    _Atomic bool failed; /* nothing more can be written */
    int fd;              /* -1: not open (yet); the thread's */
    char name[NAME_MOST];
};

struct io_qlog_dir {
    int fd;
    bool running, closing;
    pthread_t thread;
    pthread_mutex_t lock; /* for everything but fd */
    pthread_cond_t wanted;
    struct base_list jobs;
    struct base_mem mem; /* its budget bounds the queue */
};

/* ---- the thread ---- */

static int file_create(const struct io_qlog_file *file) {
    char name[NAME_MOST + 16];
    snprintf(name, sizeof name, "%s.sqlog", file->name);
    for (unsigned i = 2; i < NAME_TRIES; i++) {
        int fd = openat(file->dir->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0 || errno != EEXIST)
            return fd;
        snprintf(name, sizeof name, "%s-%u.sqlog", file->name, i);
    }
    return -1;
}

static bool write_all(int fd, const char *data, size_t len) {
    while (len) {
        ssize_t done = write(fd, data, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        data += done;
        len -= (size_t)done;
    }
    return true;
}

static void do_write(struct io_qlog_file *file, const struct job *job) {
    if (atomic_load_explicit(&file->failed, memory_order_relaxed))
        return;
    if (file->fd < 0)
        file->fd = file_create(file);
    if (file->fd < 0 || !write_all(file->fd, job->data, job->len))
        atomic_store_explicit(&file->failed, true, memory_order_relaxed);
}

/* Under the lock, but for the work itself. */
static void do_job(struct io_qlog_dir *dir, struct job *job) {
    struct io_qlog_file *file = job->file;
    pthread_mutex_unlock(&dir->lock);
    if (!job->last)
        do_write(file, job);
    else if (file->fd >= 0)
        close(file->fd);
    pthread_mutex_lock(&dir->lock);
    if (job->last)
        BASE_DELETE(&dir->mem, file);
    base_free(&dir->mem, job, sizeof *job + job->len);
}

static void *run(void *user) {
    struct io_qlog_dir *dir = user;
    pthread_mutex_lock(&dir->lock);
    for (;;) {
        struct base_node *node = base_list_pop_front(&dir->jobs);
        if (node)
            do_job(dir, BASE_CONTAINER(node, struct job, node));
        else if (dir->closing)
            break;
        else
            pthread_cond_wait(&dir->wanted, &dir->lock);
    }
    pthread_mutex_unlock(&dir->lock);
    return NULL;
}

/* Under the lock. Signals are the program's own business: none comes to this thread. */
static bool start(struct io_qlog_dir *dir) {
    sigset_t all, before;
    if (dir->running)
        return true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    dir->running = pthread_create(&dir->thread, NULL, run, dir) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return dir->running;
}

/* ---- files ---- */

static void queue(struct io_qlog_dir *dir, struct job *job) {
    base_list_push_back(&dir->jobs, &job->node);
    pthread_cond_signal(&dir->wanted);
}

struct io_qlog_file *io_qlog_file_open(struct io_qlog_dir *dir, const char *name) {
    pthread_mutex_lock(&dir->lock);
    struct io_qlog_file *file = start(dir) ? BASE_NEW(&dir->mem, struct io_qlog_file) : NULL;
    struct job *end = file ? (struct job *)base_zalloc(&dir->mem, sizeof *end) : NULL;
    if (end) {
        file->dir = dir;
        file->fd = -1;
        file->end = end;
        snprintf(file->name, sizeof file->name, "%s", name);
        end->file = file;
        end->last = true;
    } else {
        base_free(&dir->mem, file, sizeof *file);
        file = NULL;
    }
    pthread_mutex_unlock(&dir->lock);
    return file;
}

bool io_qlog_file_write(struct io_qlog_file *file, const void *data, size_t len) {
    struct io_qlog_dir *dir = file->dir;
    if (atomic_load_explicit(&file->failed, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&dir->lock);
    struct job *job = (struct job *)base_alloc(&dir->mem, sizeof *job + len);
    if (job) {
        *job = (struct job){.file = file, .len = len};
        memcpy(job->data, data, len);
        queue(dir, job);
    }
    pthread_mutex_unlock(&dir->lock);
    return job != NULL;
}

void io_qlog_file_close(struct io_qlog_file *file) {
    struct io_qlog_dir *dir = file->dir;
    pthread_mutex_lock(&dir->lock);
    queue(dir, file->end);
    pthread_mutex_unlock(&dir->lock);
}

/* ---- the directory ---- */

static int fail(struct crypto_error *why, const char *path, const char *text) {
    snprintf(why->text, sizeof why->text, "%.100s: %.50s", path, text);
    return ERR_IO;
}

int io_qlog_dir_open(const char *path, struct io_qlog_dir **out, struct crypto_error *why) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(why, path, strerror(errno));
    if (faccessat(fd, ".", W_OK | X_OK, 0)) {
        int error = errno;
        close(fd);
        return fail(why, path, strerror(error));
    }
    struct base_mem mem;
    base_mem_init(&mem, IO_QLOG_QUEUE);
    struct io_qlog_dir *dir = BASE_NEW(&mem, struct io_qlog_dir);
    if (!dir) {
        close(fd);
        snprintf(why->text, sizeof why->text, "out of memory");
        return ERR_NOMEM;
    }
    dir->fd = fd;
    dir->mem = mem;
    base_list_init(&dir->jobs);
    pthread_mutex_init(&dir->lock, NULL);
    pthread_cond_init(&dir->wanted, NULL);
    *out = dir;
    return ERR_OK;
}

void io_qlog_dir_close(struct io_qlog_dir *dir) {
    pthread_mutex_lock(&dir->lock);
    dir->closing = true;
    pthread_cond_signal(&dir->wanted);
    pthread_mutex_unlock(&dir->lock);
    if (dir->running)
        pthread_join(dir->thread, NULL);
    close(dir->fd);
    pthread_mutex_destroy(&dir->lock);
    pthread_cond_destroy(&dir->wanted);
    struct base_mem mem = dir->mem;
    BASE_DELETE(&mem, dir);
}
