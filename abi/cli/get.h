/* get.h - the parts of `weft get`: get.c runs it, get_url.c reads URLs, get_conn.c fetches what one server has,
 * get_file.c makes files appear whole or not at all, get_session.c keeps sessions and tokens between runs. */
#ifndef CLI_GET_H
#define CLI_GET_H

#include "cli.h"

/* ---- get_url.c --------------------------------------------------------------------------------------------------- */

struct get_url {
    char host[256];
    uint16_t port;
    char *target; /* "/path?query" as it is sent, percent-encoded */
    char *name;   /* the file to make; "" when the path has none */
};

/* "https://host:port/path", "host:port/path"; `text` that begins with a slash is a path on the server of `before`. NULL
 * and no change to argv's words, or what is wrong with it, as a static sentence. */
const char *get_url_parse(const char *text, const struct get_url *before, struct get_url *url);
/* "host:port" alone, to which paths follow. */
bool get_url_is_server(const char *text, struct get_url *url);
void get_url_free(struct get_url *url);

/* ---- get_file.c -------------------------------------------------------------------------------------------------- */

struct get_file {
    int directory, fd; /* -1: not open */
    bool temporary;    /* there is a file with temporary_name */
    char temporary_name[48];
};

/* Makes a file with a temporary name in the directory; directory -1: bytes go to stdout. 0, or errno. */
int get_file_open(struct get_file *file, int directory);
int get_file_write(struct get_file *file, const weft_slice *slices, uint32_t count);
int get_file_finish(struct get_file *file, const char *name); /* closes, and gives it its name */
void get_file_abandon(struct get_file *file);                 /* closes, and removes it; idempotent */

/* ---- get_session.c ----------------------------------------------------------------------------------------------- */

/* Of one server; NULL: none. */
struct get_kept {
    uint8_t *session, *token;
    size_t session_len, token_len;
};

/* What the file has for this server ("host:port"), to be freed; nothing, which is no error, when there is no such file.
 * The token, which is used once, is not in the file any more. NULL, or what is wrong with it. */
const char *get_session_take(const char *path, const char *server, struct get_kept *kept);
/* Puts either in the place of what was there, whole or not at all, for its owner's eyes alone; NULL: stays as it was.
 * 0, or errno. */
int get_session_put(const char *path, const char *server, const weft_bytes *session, const weft_bytes *token);
void get_kept_free(struct get_kept *kept);

/* ---- get_conn.c -------------------------------------------------------------------------------------------------- */

struct get_server;

struct get_item {
    struct get_url url;
    struct get_server *server;
    struct get_item *next; /* of the same server */
    weft_stream stream;
    struct get_file file;
    bool open, done, failed;
    uint64_t received;
};

/* A connection to a server, and what is wanted over it. */
struct get_server {
    struct get *get;
    struct get_server *next;
    struct get_server *then;       /* begins when this one has ended */
    struct get_item *first, *last; /* all */
    struct get_item *unasked;      /* the next to ask for */
    weft_conn conn;
    uint32_t in_flight, left;
    bool waits;  /* for another one's end, before it begins */
    bool leaves; /* a session, for the next to resume: it is not closed before one came */
    bool keys_new, moved;
    bool connected, ended;
    uint64_t idle_since; /* cli_now() when all files were there, but no session yet; 0: not so */
};

struct get {
    struct cli_common common;
    struct cli_client client;
    const char *output, *alpn, *migrate;
    bool each, resume, early, version_2, patient; /* the last three: as the interop runner wants it */
    const char *session_path;                     /* NULL: nothing is kept for another run */
    char session_of[272];                         /* the server */
    bool session_written;
    uint64_t parallel;
    struct cli_list words; /* from REQUESTS, when the command line had none */
    struct get_kept kept;  /* for the connection that begins next */
    weft_engine engine;
    weft_config config;
    int directory; /* -1: stdout */
    struct get_item *items;
    size_t count;
    struct get_server *servers;
    uint32_t servers_open;
    struct cli_progress progress;
    uint64_t bytes, began, ended, files_done, files_failed;
    uint64_t resumed, early_accepted; /* connections */
    bool interrupted;
    int code; /* the worst so far */
};

/* Begins the connection. False: it came to nothing, and that has been said. */
bool get_server_connect(struct get_server *server);
/* Ends the connection, and with it what is still wanted of it. */
void get_server_interrupt(struct get_server *server);
/* From time to time: a server that gives no session is not waited for any longer. */
void get_server_tick(struct get_server *server);
/* Files: how many have all their bytes, or never will. */
void get_worst(struct get *get, int code);

#endif
