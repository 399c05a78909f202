/* cid.c - `weft cid`: what somebody who operates a fleet behind a load balancer wants to know of connection IDs.
 *
 * An ID is read and made by the library's own functions; here are only the four ways to ask, and how the answers look.
 * With --json each answer is one line, and what is wrong with a word is a member of its line. Without it errors go to
 * stderr, so that stdout has nothing but answers.
 *
 * Invariant: neither keys nor secrets are ever printed. Reset tokens are, by the one way that says so.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>

#include "cid.h"

#define CONFIGURATIONS                                                                                                \
    "A configuration is rotation=0..6 (0 unless given), server_id_len=1..15 or server_id=HEX, nonce_len=4..18,\n"     \
    "encode_length=on (off unless given) and key=HEX or key=@FILE (in the clear unless given), with commas between\n" \
    "them, as engines have them (weft_quic_lb in weft.h). Keys belong into files: what stands on a command line\n"    \
    "others can see."

/* ---- errors ---- */

/* What is wrong with an ID, or a word that is none. Returns false. */
static bool word_refuse(bool as_json, const struct cid_word *word, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool word_refuse(bool as_json, const struct cid_word *word, const char *format, ...) {
    char text[160], line[32] = "";
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (!as_json) {
        if (word->line)
            snprintf(line, sizeof line, "line %u: ", word->line);
        cli_error("%s'%s' %s", line, word->text, text);
        return false;
    }
    struct cli_json json = cli_json_begin(stdout);
    cli_json_text(&json, word->why ? "word" : "id", word->text);
    if (word->line)
        cli_json_uint(&json, "line", word->line);
    if (!word->why)
        cli_json_uint(&json, "rotation", word->id[0] >> 5);
    cli_json_text(&json, "error", text);
    cli_json_end(&json);
    return false;
}

/* ---- decode ---- */

struct decode {
    struct cli_list words;
    bool json;
    struct cid_configs configs;
};

static void decode_show(const struct decode *decode, const struct cid_word *word, const char *server_id,
                        const char *nonce) {
    unsigned rotation = word->id[0] >> 5, says = (word->id[0] & 0x1fu) + 1;
    if (!decode->json) {
        printf("%s  rotation %u  server %s  nonce %s  length %zu, %s\n", word->text, rotation, server_id, nonce,
               word->len, says == word->len ? "as its first byte says" : "which its first byte does not say");
        return;
    }
    struct cli_json json = cli_json_begin(stdout);
    cli_json_text(&json, "id", word->text);
    cli_json_uint(&json, "rotation", rotation);
    cli_json_text(&json, "server_id", server_id);
    cli_json_text(&json, "nonce", nonce);
    cli_json_uint(&json, "length", word->len);
    cli_json_uint(&json, "length_encoded", says);
    cli_json_flag(&json, "length_matches", says == word->len);
    cli_json_end(&json);
}

static bool decode_word(void *user, const struct cid_word *word) {
    const struct decode *decode = user;
    uint8_t server_id[15], nonce[18];
    char server_text[31], nonce_text[37];
    if (word->why)
        return word_refuse(decode->json, word, "%s: a connection ID is 1 to %u bytes, two hexadecimal digits each",
                           word->why, CID_MAX);
    unsigned rotation = word->id[0] >> 5;
    const weft_quic_lb *lb = &decode->configs.list[rotation];
    if (rotation == 7)
        return word_refuse(decode->json, word, "has rotation 7: no server can be read from such IDs");
    if (!lb->size)
        return word_refuse(decode->json, word, "has rotation %u, for which there is no --config", rotation);
    unsigned wanted = 1u + lb->server_id_len + lb->nonce_len;
    if (word->len != wanted)
        return word_refuse(decode->json, word, "has %zu bytes: those of rotation %u have %u", word->len, rotation,
                           wanted);
    if (lb->encode_length && (word->id[0] & 0x1fu) + 1 != wanted)
        return word_refuse(decode->json, word, "says that it has %u bytes, and has %u: no ID of rotation %u",
                           (word->id[0] & 0x1fu) + 1, wanted, rotation);
    int32_t error = weft_quic_lb_decode(lb, word->id, word->len, server_id, nonce);
    if (error)
        return word_refuse(decode->json, word, "cannot be read: %s", weft_strerror(error));
    cli_format_hex(server_id, lb->server_id_len, server_text);
    cli_format_hex(nonce, lb->nonce_len, nonce_text);
    decode_show(decode, word, server_text, nonce_text);
    return true;
}

static int decode_main(int argc, char **argv) {
    static const struct cli_usage usage = {
        "cid decode", "[ID...]",
        "Tells which server is meant by connection IDs that a load balancer can read (QUIC-LB,\n"
        "draft-ietf-quic-load-balancers-21): the ones given, or those on stdin, in hexadecimal digits.\n"
        "\n"
        "Several configurations can be given, as they are while a fleet changes from one to another: the ID's first "
        "three\n"
        "bits say which is meant. Its next five may hold its length; any ID can be read as if a server had made it, "
        "so\n"
        "with encode_length=on those whose length does not match are refused.\n"
        "\n" CONFIGURATIONS,
        "Examples:\n"
        "    weft cid decode -c server_id_len=3,nonce_len=6,key=@lb.key 0720b1d07b359d3c5a1f\n"
        "    tshark -r capture.pcap -T fields -e quic.dcid | sort -u | weft cid decode -c @lb.conf --json\n"
        "\n"
        "Exit codes: 0 all were read, 1 some were not, 2 the command line was not understood.\n"};
    struct decode decode = {.json = false};
    const struct cli_option options[] = {
        {"config", 'c', CLI_LIST, offsetof(struct decode, words), "FIELDS",
         "a configuration, or @FILE with one on each line; may be given\nonce for each rotation"},
        {"json", 0, CLI_FLAG, offsetof(struct decode, json), NULL, "a line of JSON for each"},
        {.name = NULL}};
    const struct cli_group groups[] = {{"Options", options, &decode}, {NULL, NULL, NULL}};
    int code = cli_parse(&usage, groups, &argc, argv);
    if (code == CLI_GO_ON)
        code = cid_configs_read(&decode.words, &decode.configs);
    if (code == CLI_GO_ON)
        code = cid_each(argc, argv, decode_word, &decode);
    cli_list_free(&decode.words);
    explicit_bzero(&decode.configs, sizeof decode.configs);
    return code;
}

/* ---- mint ---- */

struct mint {
    struct cli_list words;
    bool json;
    uint64_t count;
    const char *nonce;
    struct cid_configs configs;
};

/* The next number, as the draft's counter for encrypted IDs has it. */
static void nonce_count(uint8_t *nonce, size_t len) {
    while (len-- && !++nonce[len])
        continue;
}

static bool nonce_draw(uint8_t *nonce, size_t len) {
    if (getrandom(nonce, len, 0) == (ssize_t)len)
        return true;
    cli_error("the system gives no random bytes: %s", strerror(errno));
    return false;
}

static void mint_show(const struct mint *mint, const weft_quic_lb *lb, const uint8_t *cid, size_t len,
                      const uint8_t *nonce) {
    char text[CID_TEXT], part[CID_TEXT];
    cli_format_hex(cid, len, text);
    if (!mint->json) {
        puts(text);
        return;
    }
    struct cli_json json = cli_json_begin(stdout);
    cli_json_text(&json, "id", text);
    cli_json_uint(&json, "rotation", lb->rotation);
    cli_format_hex(lb->server_id, lb->server_id_len, part);
    cli_json_text(&json, "server_id", part);
    cli_format_hex(nonce, lb->nonce_len, part);
    cli_json_text(&json, "nonce", part);
    cli_json_end(&json);
}

static int mint_run(const struct mint *mint, const weft_quic_lb *lb, uint8_t *nonce) {
    for (uint64_t i = 0; i < mint->count && !ferror(stdout); i++) {
        uint8_t cid[CID_MAX];
        int32_t len = weft_quic_lb_encode(lb, nonce, cid);
        if (len < 0) {
            cli_error("%s", weft_strerror(len));
            return CLI_FAILED;
        }
        mint_show(mint, lb, cid, (size_t)len, nonce);
        if (lb->encrypted || mint->nonce)
            nonce_count(nonce, lb->nonce_len);
        else if (!nonce_draw(nonce, lb->nonce_len))
            return CLI_FAILED;
    }
    return CLI_OK;
}

/* The only configuration there is; NULL, when that has been said. */
static const weft_quic_lb *mint_config(const struct mint *mint) {
    for (unsigned i = 0; i < 7; i++)
        if (mint->configs.list[i].size && mint->configs.count == 1 && mint->configs.named[i])
            return &mint->configs.list[i];
    cli_error(mint->configs.count == 1 ? "server_id=HEX is missing in --config: whose IDs are they to be?"
                                       : "one --config, not several: IDs are made for one server");
    return NULL;
}

static int mint_with(const struct mint *mint, int argc) {
    const weft_quic_lb *lb = mint_config(mint);
    uint8_t nonce[18];
    size_t len;
    if (!lb)
        return CLI_USAGE;
    const char *why = mint->nonce ? cid_hex(mint->nonce, strlen(mint->nonce), nonce, lb->nonce_len, &len) : NULL;
    if (argc > 1)
        cli_error("it takes no words; --count says how many");
    else if (!mint->count || mint->count > UINT64_C(1) << 32)
        cli_error("--count is 1 to %llu", 1ull << 32);
    else if (why || (mint->nonce && len != lb->nonce_len))
        cli_error("--nonce is %u bytes in hexadecimal digits, as nonce_len says", lb->nonce_len);
    else if (!mint->nonce && !nonce_draw(nonce, lb->nonce_len))
        return CLI_FAILED;
    else
        return mint_run(mint, lb, nonce);
    return CLI_USAGE;
}

static int mint_main(int argc, char **argv) {
    static const struct cli_usage usage = {
        "cid mint", "",
        "Makes connection IDs of a server, as a load balancer can read them, for trying out load balancers. (Engines "
        "make\n"
        "their own: nobody has to mint for them.)\n"
        "\n"
        "The first nonce is random; with a key the next ones count on from there, so that none comes twice, and "
        "without\n"
        "one each is random.\n"
        "\n" CONFIGURATIONS "\nHere server_id is needed.",
        "Examples:\n"
        "    weft cid mint -c rotation=1,server_id=0a0b03,nonce_len=6,encode_length=on,key=@lb.key --count 1000\n"
        "\n"
        "Exit codes: 0 done, 1 something failed, 2 the command line was not understood.\n"};
    struct mint mint = {.count = 1};
    const struct cli_option options[] = {
        {"config", 'c', CLI_LIST, offsetof(struct mint, words), "FIELDS", "the configuration, or @FILE with it"},
        {"count", 'n', CLI_COUNT, offsetof(struct mint, count), "N", "so many; 1 unless given"},
        {"nonce", 0, CLI_TEXT, offsetof(struct mint, nonce), "HEX", "begin with this one, and count on"},
        {"json", 0, CLI_FLAG, offsetof(struct mint, json), NULL, "a line of JSON for each"},
        {.name = NULL}};
    const struct cli_group groups[] = {{"Options", options, &mint}, {NULL, NULL, NULL}};
    int code = cli_parse(&usage, groups, &argc, argv);
    if (code == CLI_GO_ON)
        code = cid_configs_read(&mint.words, &mint.configs);
    if (code == CLI_GO_ON)
        code = mint_with(&mint, argc);
    cli_list_free(&mint.words);
    explicit_bzero(&mint.configs, sizeof mint.configs);
    return code;
}

/* ---- tokens ---- */

struct tokens {
    const char *secret;
    bool json;
    uint8_t key[CID_SECRET];
};

static bool token_word(void *user, const struct cid_word *word) {
    const struct tokens *tokens = user;
    uint8_t token[16];
    char text[33];
    if (word->why)
        return word_refuse(tokens->json, word, "%s: a connection ID is 1 to %u bytes, two hexadecimal digits each",
                           word->why, CID_MAX);
    int32_t error = weft_fleet_reset_token(tokens->key, word->id, word->len, token);
    if (error)
        return word_refuse(tokens->json, word, "has no token: %s", weft_strerror(error));
    cli_format_hex(token, sizeof token, text);
    if (tokens->json) {
        struct cli_json json = cli_json_begin(stdout);
        cli_json_text(&json, "id", word->text);
        cli_json_text(&json, "token", text);
        cli_json_end(&json);
    } else {
        printf("%s  %s\n", word->text, text);
    }
    return true;
}

static int tokens_main(int argc, char **argv) {
    static const struct cli_usage usage = {
        "cid tokens", "--secret FILE [ID...]",
        "Tells the stateless reset tokens (RFC 9000 10.3) that a fleet gives with connection IDs: the ones given, or "
        "those\n"
        "on stdin. A reset in a capture that ends in the ID's token came from a machine with this secret.\n"
        "\n"
        "Whoever knows the token of an ID in use, and the address of its client, can end that connection: treat them "
        "as\n"
        "secrets. To see whether machines share one secret, compare its fingerprints: `weft cid secret`.",
        "Exit codes: 0 done, 1 the secret cannot be read or some words are no IDs, 2 the command line was not "
        "understood.\n"};
    struct tokens tokens = {.secret = NULL};
    static const struct cli_option options[] = {
        {"secret", 0, CLI_TEXT, offsetof(struct tokens, secret), "FILE",
         "the fleet's secret: 32 bytes, or 64 hexadecimal digits"},
        {"json", 0, CLI_FLAG, offsetof(struct tokens, json), NULL, "a line of JSON for each"},
        {.name = NULL}};
    const struct cli_group groups[] = {{"Options", options, &tokens}, {NULL, NULL, NULL}};
    int code = cli_parse(&usage, groups, &argc, argv);
    if (code != CLI_GO_ON)
        return code;
    if (!tokens.secret) {
        cli_error("--secret FILE is missing");
        return CLI_USAGE;
    }
    if (!cid_key_read("", tokens.secret, tokens.key, CID_SECRET))
        return CLI_FAILED;
    code = cid_each(argc, argv, token_word, &tokens);
    explicit_bzero(tokens.key, sizeof tokens.key);
    return code;
}

/* ---- secret ---- */

static bool secret_show(const char *path, bool as_json) {
    uint8_t key[CID_SECRET], fingerprint[16];
    char text[33];
    if (!cid_key_read("", path, key, sizeof key))
        return false;
    int32_t error = weft_fleet_reset_token(key, NULL, 0, fingerprint);
    explicit_bzero(key, sizeof key);
    if (error) {
        cli_error("%s: %s", path, weft_strerror(error));
        return false;
    }
    cli_format_hex(fingerprint, sizeof fingerprint, text);
    if (as_json) {
        struct cli_json json = cli_json_begin(stdout);
        cli_json_text(&json, "file", path);
        cli_json_text(&json, "fingerprint", text);
        cli_json_end(&json);
    } else {
        printf("%s  %s\n", text, path);
    }
    return true;
}

static int secret_main(int argc, char **argv) {
    static const struct cli_usage usage = {
        "cid secret", "FILE...",
        "Tells a fingerprint of a fleet's secret (32 bytes, or 64 hexadecimal digits): machines that share the secret "
        "show\n"
        "the same, and nobody can tell the secret, or anything that is made with it, from that.",
        "Examples:\n"
        "    for host in a b c; do ssh $host weft cid secret /etc/weft/fleet.secret; done\n"
        "\n"
        "Exit codes: 0 done, 1 a file cannot be read or holds no secret, 2 the command line was not understood.\n"};
    bool json = false, good = true;
    static const struct cli_option options[] = {{"json", 0, CLI_FLAG, 0, NULL, "a line of JSON for each"},
                                                {.name = NULL}};
    const struct cli_group groups[] = {{"Options", options, &json}, {NULL, NULL, NULL}};
    int code = cli_parse(&usage, groups, &argc, argv);
    if (code != CLI_GO_ON)
        return code;
    if (argc < 2) {
        cli_error("which file? See weft cid secret --help");
        return CLI_USAGE;
    }
    for (int i = 1; i < argc; i++)
        good = secret_show(argv[i], json) && good;
    return good ? CLI_OK : CLI_FAILED;
}

/* ---- which of them ---- */

/* What was printed must have arrived. */
static int cid_end(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    cli_error("stdout: %s", strerror(errno));
    return CLI_FAILED;
}

int cid_main(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } ways[] = {{"decode", decode_main}, {"mint", mint_main}, {"tokens", tokens_main}, {"secret", secret_main}};
    static const struct cli_usage usage = {
        "cid", "decode | mint | tokens | secret ...",
        "For those who operate a fleet behind a load balancer that reads connection IDs (QUIC-LB).\n"
        "\n"
        "    weft cid decode [ID...]    which server they mean\n"
        "    weft cid mint              makes some, for trying out a load balancer\n"
        "    weft cid tokens [ID...]    the stateless reset tokens that belong to them\n"
        "    weft cid secret FILE...    whether machines share one secret\n"
        "\n"
        "`weft cid decode --help` and so on have the rest.",
        "Exit codes: as for the four.\n"};
    static const struct cli_group none[] = {{NULL, NULL, NULL}};
    for (size_t i = 0; argc > 1 && i < sizeof ways / sizeof ways[0]; i++)
        if (!strcmp(argv[1], ways[i].name))
            return cid_end(ways[i].run(argc - 1, argv + 1));
    int code = cli_parse(&usage, none, &argc, argv);
    if (code != CLI_GO_ON)
        return code;
    cli_error("decode, mint, tokens or secret? `weft cid --help` tells");
    return CLI_USAGE;
}
