/* setup.c - from options to configurations: TLS, names, limits; and listening, which servers do alike.
 *
 * Order: the command's own wishes (presets), then --set, so the user has the last word. Every refusal of the library is
 * passed on in its own words, which name what is allowed.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define DEFAULT_NAMES "localhost,127.0.0.1,::1"
#define CERTIFICATE_DAYS 30
#define DEFAULT_PORT 4433

const struct cli_option cli_common_options[] = {
    {"json", 0, CLI_FLAG, offsetof(struct cli_common, json), NULL, "the summary as one line of JSON on stdout"},
    {"quiet", 'q', CLI_FLAG, offsetof(struct cli_common, quiet), NULL, "say nothing but errors and what was asked for"},
    {"ciphers", 0, CLI_TEXT, offsetof(struct cli_common, ciphers), "LIST",
     "TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384,\nTLS_CHACHA20_POLY1305_SHA256: those wanted, colons between "
     "them"},
    {"groups", 0, CLI_TEXT, offsetof(struct cli_common, groups), "LIST",
     "X25519MLKEM768, X25519, P-256, P-384, P-521: the key\nexchanges wanted, the first most, colons between them"},
    {"set", 0, CLI_LIST, offsetof(struct cli_common, set), "NAME=VALUE",
     "set an option of the library (`weft options` lists them);\nmay be given several times"},
    {"qlog", 0, CLI_TEXT, offsetof(struct cli_common, qlog), "DIR",
     "write what each connection does to a file in this directory\n(`weft qlog` draws it); $QLOGDIR unless given"},
    {.name = NULL},
};

const struct cli_option cli_client_options[] = {
    {"ca", 0, CLI_LIST, offsetof(struct cli_client, ca), "FILE",
     "trust the certificate authorities in this PEM file, instead\nof the system's; may be given several times"},
    {"pin", 0, CLI_LIST, offsetof(struct cli_client, pins), "SHA256",
     "accept exactly the server whose certificate has this\nfingerprint, whoever signed it; may be given several "
     "times"},
    {"insecure", 0, CLI_FLAG, offsetof(struct cli_client, insecure), NULL,
     "accept every certificate: whoever is in between reads along"},
    {"server-name", 0, CLI_TEXT, offsetof(struct cli_client, server_name), "NAME",
     "ask for this name, and verify it, instead of the host's"},
    {"ipv4", '4', CLI_FLAG, offsetof(struct cli_client, ipv4), NULL, "use IPv4 only"},
    {"ipv6", '6', CLI_FLAG, offsetof(struct cli_client, ipv6), NULL, "use IPv6 only"},
    {.name = NULL},
};

const struct cli_option cli_server_options[] = {
    {"listen", 'l', CLI_TEXT, offsetof(struct cli_server, listen), "ADDR:PORT",
     "where to listen: [::]:4433 (IPv4 too) unless given;\nport 0: the system chooses one"},
    {"cert", 0, CLI_TEXT, offsetof(struct cli_server, certificate), "FILE",
     "certificate chain, PEM, the server's own first. Without it a\nkey and a certificate are made up, and forgotten "
     "at the end"},
    {"key", 0, CLI_TEXT, offsetof(struct cli_server, key), "FILE", "its private key, PEM"},
    {"names", 0, CLI_TEXT, offsetof(struct cli_server, names), "LIST",
     "names and addresses in the certificate that is made up:\n" DEFAULT_NAMES " unless given"},
    {"ipv4", '4', CLI_FLAG, offsetof(struct cli_server, ipv4), NULL, "without --listen: 0.0.0.0:4433"},
    {"ipv6", '6', CLI_FLAG, offsetof(struct cli_server, ipv6), NULL, "IPv6 only: [::] takes no IPv4"},
    {.name = NULL},
};

/* The library's own words for its last refusal of this configuration. */
static const char *config_words(weft_config config, int32_t error, char *text, size_t capacity) {
    if (weft_config_error(config, text, capacity) <= 0)
        snprintf(text, capacity, "%s", weft_strerror(error));
    return text;
}

static int refuse(weft_config *config, int32_t error, const char *what) {
    char words[512];
    cli_error("%s: %s", what, config_words(*config, error, words, sizeof words));
    weft_config_free(*config);
    *config = (weft_config){0};
    return CLI_USAGE;
}

static int32_t set_option(weft_config config, const char *assignment) {
    char name[128];
    const char *equals = strchr(assignment, '=');
    size_t len = equals ? (size_t)(equals - assignment) : strlen(assignment);
    if (len >= sizeof name)
        return WEFT_E_OPTION;
    memcpy(name, assignment, len);
    name[len] = 0;
    return weft_config_set(config, name, equals ? equals + 1 : "");
}

/* What goes on is written where the options, or else the environment, want it; an empty word is none. */
static int set_logs(const struct cli_common *common, weft_config *config) {
    const char *keylog = getenv("SSLKEYLOGFILE"), *qlog = common->qlog ? common->qlog : getenv("QLOGDIR");
    int32_t error = keylog && *keylog ? weft_config_set_keylog_file(*config, keylog) : 0;
    if (error)
        return refuse(config, error, "SSLKEYLOGFILE");
    error = qlog && *qlog ? weft_config_set_qlog_dir(*config, qlog) : 0;
    return error ? refuse(config, error, common->qlog ? "--qlog" : "QLOGDIR") : CLI_GO_ON;
}

/* What clients and servers have alike. */
static int make_config(uint32_t role, const struct cli_common *common, const char *alpn,
                       const struct cli_preset *presets, weft_config *config) {
    int32_t error = weft_config_new(role, config);
    if (error) {
        cli_error("%s", weft_strerror(error));
        return CLI_FAILED;
    }
    error = weft_config_set_alpn(*config, alpn);
    if (error)
        return refuse(config, error, "--alpn");
    for (; presets && presets->option; presets++) {
        error = weft_config_set_uint(*config, presets->option, presets->value);
        if (error)
            return refuse(config, error, presets->option);
    }
    for (size_t i = 0; i < common->set.count; i++) {
        error = set_option(*config, common->set.items[i]);
        if (error)
            return refuse(config, error, "--set");
    }
    error = common->ciphers ? weft_config_set_ciphers(*config, common->ciphers) : 0;
    if (error)
        return refuse(config, error, "--ciphers");
    error = common->groups ? weft_config_set_groups(*config, common->groups) : 0;
    if (error)
        return refuse(config, error, "--groups");
    return set_logs(common, config);
}

int cli_client_config(const struct cli_client *client, const struct cli_common *common, const char *alpn,
                      const struct cli_preset *presets, weft_config *config) {
    if (client->insecure && (client->ca.count || client->pins.count)) {
        cli_error("--insecure accepts every certificate: --ca and --pin make no sense beside it");
        return CLI_USAGE;
    }
    if (client->ipv4 && client->ipv6) {
        cli_error("-4 and -6 exclude each other; without them both are tried");
        return CLI_USAGE;
    }
    int code = make_config(WEFT_CLIENT, common, alpn, presets, config);
    int32_t error = 0;
    for (size_t i = 0; code == CLI_GO_ON && i < client->ca.count; i++) {
        error = weft_config_add_trust_file(*config, client->ca.items[i]);
        if (error)
            code = refuse(config, error, "--ca");
    }
    for (size_t i = 0; code == CLI_GO_ON && i < client->pins.count; i++) {
        uint8_t sha256[32];
        if (!cli_parse_sha256(client->pins.items[i], sha256)) {
            cli_error("--pin wants the 64 hexadecimal digits of a SHA-256, not '%s'", client->pins.items[i]);
            weft_config_free(*config);
            return CLI_USAGE;
        }
        error = weft_config_add_pin(*config, sha256);
        if (error)
            code = refuse(config, error, "--pin");
    }
    if (code == CLI_GO_ON && client->insecure) {
        error = weft_config_set_verify(*config, 0);
        if (error)
            code = refuse(config, error, "--insecure");
    }
    return code;
}

int cli_server_config(const struct cli_server *server, const struct cli_common *common, const char *alpn,
                      const struct cli_preset *presets, weft_config *config) {
    if (!server->certificate != !server->key) {
        cli_error("--cert and --key belong together");
        return CLI_USAGE;
    }
    if (server->certificate && server->names) {
        cli_error("--names are for a certificate that is made up, --cert is one");
        return CLI_USAGE;
    }
    int code = make_config(WEFT_SERVER, common, alpn, presets, config);
    if (code != CLI_GO_ON)
        return code;
    int32_t error;
    if (server->certificate) {
        error = weft_config_add_certificate_files(*config, server->certificate, server->key);
        return error ? refuse(config, error, "--cert, --key") : CLI_GO_ON;
    }
    error = weft_config_self_signed(*config, server->names ? server->names : DEFAULT_NAMES, CERTIFICATE_DAYS);
    return error ? refuse(config, error, "--names") : CLI_GO_ON;
}

static int32_t listen_at(const struct cli_server *server, weft_engine engine, weft_config config,
                         const weft_listen_params *params, weft_listener *listener) {
    char any4[32], any6[32];
    snprintf(any4, sizeof any4, "0.0.0.0:%d", DEFAULT_PORT);
    snprintf(any6, sizeof any6, "[::]:%d", DEFAULT_PORT);
    if (server->listen)
        return weft_listen(engine, config, server->listen, params, listener);
    if (server->ipv4)
        return weft_listen(engine, config, any4, params, listener);
    int32_t error = weft_listen(engine, config, any6, params, listener);
    /* A machine without IPv6 still has IPv4; when nobody said what to listen on, that will do. */
    if (error && !server->ipv6)
        error = weft_listen(engine, config, any4, params, listener);
    return error;
}

int cli_server_listen(const struct cli_server *server, weft_engine engine, weft_config config,
                      weft_listen_params *params, weft_listener *listener) {
    uint8_t fingerprint[32];
    char text[512], hex[65];
    weft_addr address;
    if (server->ipv4 && server->ipv6) {
        cli_error("-4 and -6 exclude each other");
        return CLI_USAGE;
    }
    if (server->ipv6)
        params->flags |= WEFT_LISTEN_V6_ONLY;
    int32_t error = listen_at(server, engine, config, params, listener);
    if (error) {
        if (weft_engine_error(engine, text, sizeof text) <= 0)
            snprintf(text, sizeof text, "%s", weft_strerror(error));
        cli_error("cannot listen on %s: %s", server->listen ? server->listen : "port 4433", text);
        return server->listen && weft_addr_parse(server->listen, 0, &address) ? CLI_USAGE : CLI_FAILED;
    }
    if (weft_listener_address(*listener, &address) || weft_addr_format(&address, text, sizeof text) < 0 ||
        weft_config_fingerprint(config, fingerprint)) {
        cli_error("the listener does not know its address or certificate");
        return CLI_FAILED;
    }
    cli_format_hex(fingerprint, sizeof fingerprint, hex);
    printf("listening on %s\nfingerprint sha256:%s\n", text, hex);
    fflush(stdout);
    return CLI_GO_ON;
}

uint32_t cli_client_family(const struct cli_client *client) { return client->ipv4 ? 4 : client->ipv6 ? 6 : 0; }

void cli_common_free(struct cli_common *common) { cli_list_free(&common->set); }

void cli_client_free(struct cli_client *client) {
    cli_list_free(&client->ca);
    cli_list_free(&client->pins);
}
