/* qlog_file.h - qlogs to files: a directory, one file a log, and one thread that writes.
 *
 * Engines must not wait for disks. What they hand over is copied into a queue of bounded size and written by a thread
 * of the directory's own, which is started when the first file is. A queue that is full takes nothing, and says so; so
 * does a file that could not be opened or written.
 *
 * Functions may be called from any thread, but those of a file only from the one it belongs to.
 */
#ifndef IO_QLOG_FILE_H
#define IO_QLOG_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "crypto/tls.h"

#define IO_QLOG_QUEUE (16u << 20) /* bytes that wait to be written, of all files */

struct io_qlog_dir;
struct io_qlog_file;

/* Files will be made in the directory at `path`. 0; ERR_IO (no such directory, or no files may be made in it),
 * ERR_NOMEM, with text. */
int io_qlog_dir_open(const char *path, struct io_qlog_dir **out, struct crypto_error *why);
/* Returns when all that was taken is written. Files are closed before. */
void io_qlog_dir_close(struct io_qlog_dir *dir);

/* A file of this name (".sqlog" is added; and a number when there is one like that already). NULL: no memory, or no
 * thread. */
struct io_qlog_file *io_qlog_file_open(struct io_qlog_dir *dir, const char *name);
/* False: not taken. */
bool io_qlog_file_write(struct io_qlog_file *file, const void *data, size_t len);
void io_qlog_file_close(struct io_qlog_file *file);

#endif
