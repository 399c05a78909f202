/* serve.h - the parts of `weft serve`: serve.c runs the server, serve_request.c reads what a client wants,
 * serve_file.c opens files beneath the root, serve_send.c sends them. */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include "cli.h"

/* ---- serve_request.c --------------------------------------------------------------------------------------------- */

#define SERVE_LINE_MAX 4096u /* longest request, line break included */

/* Why a request is refused: the application error code of our RESET_STREAM. hq-interop has none of its own, so they
 * look like what HTTP would say. */
enum serve_refusal {
    SERVE_BAD_REQUEST = 0x400, /* not "GET /path" */
    SERVE_FORBIDDEN = 0x403,   /* a path that leads out of the root, or may not be read */
    SERVE_NOT_FOUND = 0x404,   /* nothing there, or no regular file */
    SERVE_TOO_LONG = 0x414,
    SERVE_TROUBLE = 0x500, /* reading the file failed, or it changed under our hands */
    SERVE_OVERLOAD = 0x503 /* no memory */
};

/* From a request line without its line break to a path relative to the root: percent-decoded, without empty
 * components, and without "." and "..". `path` has room for SERVE_LINE_MAX bytes. 0 or enum serve_refusal. */
uint32_t serve_parse(const char *line, size_t len, char *path);

/* ---- serve_file.c ------------------------------------------------------------------------------------------------ */

/* An open file. Small ones are read at once and closed; large ones are mapped, or read piece by piece where they cannot
 * be. */
struct serve_file {
    int fd; /* -1: closed, everything is in data */
    uint64_t size;
    uint8_t *data; /* mapped or read; NULL: to be read piece by piece */
    bool mapped;
    volatile bool broken; /* the file shrank under its mapping: bytes in it are not the file's */
    struct serve_file *next_mapped, **link_mapped;
    int64_t changed_s, changed_ns; /* when it was modified, as far as we knew on opening it */
};

void serve_file_init(void); /* once, before the first file is opened */
/* Opens a regular file beneath the directory `root`. 0 or enum serve_refusal. The file must stay where it is in
 * memory until it is closed. */
uint32_t serve_file_open(struct serve_file *file, int root, const char *path, bool symlinks);
/* Whether it still is what was opened, as far as can be told. */
bool serve_file_intact(const struct serve_file *file);
void serve_file_close(struct serve_file *file);

/* ---- serve_send.c ------------------------------------------------------------------------------------------------ */

struct serve_counts {
    uint64_t requests, completed, refused, broken_off;
    uint64_t first_at, last_at; /* cli_now; 0: nothing yet */
};

struct serve_transfer;

struct serve {
    struct cli_common common;
    struct cli_server server;
    const char *root_path, *alpn, *preferred;
    bool no_symlinks, verbose;
    int root;
    weft_engine engine;
    weft_listener listener, second; /* second: at the preferred address, when its port is another */
    unsigned listening;
    struct serve_counts counts;
    uint32_t open_files, most_open_files;
    struct serve_transfer *waiting, **waiting_end; /* for their turn to open a file */
    bool closing;
};

extern const weft_stream_callbacks serve_stream_callbacks; /* their streams' user pointers begin as struct serve * */

#endif
