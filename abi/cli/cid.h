/* cid.h - what the files of `weft cid` share: configurations and connection IDs as people write them.
 *
 *     cid.c         the command, and its four ways: decode, mint, tokens, secret
 *     cid_read.c    hexadecimal digits, files with keys, configurations, lists of IDs
 */
#ifndef CLI_CID_H
#define CLI_CID_H

#include "cli.h"

#define CID_MAX 20u
#define CID_KEY 16u    /* bytes of a load balancer's key */
#define CID_SECRET 32u /* of a fleet's secret */
#define CID_TEXT (2 * CID_MAX + 1)

struct cid_configs {
    weft_quic_lb list[7]; /* by rotation; size 0: there is none */
    bool named[7];        /* its server_id was given, not only how long it is */
    unsigned count;
};

/* Reads the words of --config: "rotation=1,server_id_len=3,..." or "@FILE" with one of those a line. CLI_GO_ON, or
 * CLI_USAGE; what is wrong has been said then, without telling keys. */
int cid_configs_read(const struct cli_list *words, struct cid_configs *configs);

/* A key of `len` bytes from a file that holds it as it is, or as hexadecimal digits. False: that has been said. */
bool cid_key_read(const char *where, const char *path, uint8_t *key, size_t len);

/* `len` characters of hexadecimal digits, colons between bytes or not, 0x before them or not. NULL, or what is
 * wrong. */
const char *cid_hex(const char *text, size_t len, uint8_t *out, size_t capacity, size_t *count);

struct cid_word {
    uint8_t id[CID_MAX];
    size_t len;          /* of the ID, bytes; 0: the word is none */
    char text[CID_TEXT]; /* the ID; or the beginning of the word, what cannot be shown as '?' */
    const char *why;     /* it is none; NULL: it is one */
    unsigned line;       /* of stdin; 0: an argument */
};

/* Calls use for each of the words; without any for those on stdin, and for those too that are no IDs. CLI_OK; CLI_USAGE
 * when an argument is no ID (said; nothing was called); CLI_FAILED when use says so of one, or stdin cannot be read. */
int cid_each(int argc, char **argv, bool (*use)(void *user, const struct cid_word *word), void *user);

#endif
