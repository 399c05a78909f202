/* config.c - options and TLS for the core, from a list of operations.
 *
 * The module weft_options has turned a map of options into operations in their order: {set, Name, Text} for a line of
 * the table, and one for each thing of TLS. Reading files and parsing certificates takes milliseconds, so this runs on
 * a dirty scheduler. What the core does not like is told in its words, with the operation that failed.
 */
#include "nif.h"

typedef int32_t (*operation)(weft_config config, ErlNifEnv *env, const term *arg);

#define BINARY(i, name)                           \
    ErlNifBinary name;                            \
    if (!enif_inspect_binary(env, arg[i], &name)) \
    return WEFT_E_INVALID
#define TEXT(i, name, size)                             \
    char name[size];                                    \
    if (!term_get_text(env, arg[i], name, sizeof name)) \
    return WEFT_E_INVALID
#define UINT(i, name)                       \
    unsigned name;                          \
    if (!enif_get_uint(env, arg[i], &name)) \
    return WEFT_E_INVALID

static int32_t op_set(weft_config config, ErlNifEnv *env, const term *arg) {
    TEXT(1, name, 64);
    TEXT(2, value, 64);
    return weft_config_set(config, name, value);
}
static int32_t op_alpn(weft_config config, ErlNifEnv *env, const term *arg) {
    TEXT(1, names, 1024);
    return weft_config_set_alpn(config, names);
}
static int32_t op_cert(weft_config config, ErlNifEnv *env, const term *arg) {
    UINT(1, format);
    BINARY(2, chain);
    BINARY(3, key);
    return weft_config_add_certificate(config, format, chain.data, chain.size, key.data, key.size);
}
static int32_t op_cert_files(weft_config config, ErlNifEnv *env, const term *arg) {
    TEXT(1, chain, 4096);
    TEXT(2, key, 4096);
    return weft_config_add_certificate_files(config, chain, key);
}
static int32_t op_self_signed(weft_config config, ErlNifEnv *env, const term *arg) {
    TEXT(1, names, 1024);
    UINT(2, days);
    return weft_config_self_signed(config, names, days);
}
static int32_t op_trust(weft_config config, ErlNifEnv *env, const term *arg) {
    UINT(1, format);
    BINARY(2, roots);
    return weft_config_add_trust(config, format, roots.data, roots.size);
}
static int32_t op_trust_file(weft_config config, ErlNifEnv *env, const term *arg) {
    TEXT(1, path, 4096);
    return weft_config_add_trust_file(config, path);
}
static int32_t op_system_trust(weft_config config, ErlNifEnv *env, const term *arg) {
    UINT(1, on);
    return weft_config_use_system_trust(config, on);
}
static int32_t op_verify(weft_config config, ErlNifEnv *env, const term *arg) {
    UINT(1, on);
    return weft_config_set_verify(config, on);
}
static int32_t op_pin(weft_config config, ErlNifEnv *env, const term *arg) {
    BINARY(1, pin);
    return pin.size == 32 ? weft_config_add_pin(config, pin.data) : WEFT_E_VALUE;
}
static int32_t op_keylog(weft_config config, ErlNifEnv *env, const term *arg) {
    TEXT(1, path, 4096);
    return weft_config_set_keylog_file(config, path);
}
static int32_t op_ciphers(weft_config config, ErlNifEnv *env, const term *arg) {
    TEXT(1, names, 512);
    return weft_config_set_ciphers(config, names);
}
static int32_t op_groups(weft_config config, ErlNifEnv *env, const term *arg) {
    TEXT(1, names, 512);
    return weft_config_set_groups(config, names);
}
static int32_t op_ticket_secret(weft_config config, ErlNifEnv *env, const term *arg) {
    BINARY(1, secret);
    UINT(2, seconds);
    return secret.size == 32 ? weft_config_set_ticket_secret(config, secret.data, seconds) : WEFT_E_VALUE;
}
static int32_t op_preferred(weft_config config, ErlNifEnv *env, const term *arg) {
    TEXT(1, v4, 64);
    TEXT(2, v6, 64);
    return weft_config_set_preferred_address(config, v4[0] ? v4 : NULL, v6[0] ? v6 : NULL);
}

static const struct {
    const char *name;
    int arity;
    operation run;
} operations[] = {
    {"set", 3, op_set},
    {"alpn", 2, op_alpn},
    {"cert", 4, op_cert},
    {"cert_files", 3, op_cert_files},
    {"self_signed", 3, op_self_signed},
    {"trust", 3, op_trust},
    {"trust_file", 2, op_trust_file},
    {"system_trust", 2, op_system_trust},
    {"verify", 2, op_verify},
    {"pin", 2, op_pin},
    {"keylog", 2, op_keylog},
    {"ciphers", 2, op_ciphers},
    {"groups", 2, op_groups},
    {"ticket_secret", 3, op_ticket_secret},
    {"preferred_address", 3, op_preferred},
};

static int32_t run(weft_config config, ErlNifEnv *env, term value) {
    const term *arg;
    int arity;
    char name[32];
    if (!enif_get_tuple(env, value, &arity, &arg) || arity < 2 ||
        !enif_get_atom(env, arg[0], name, sizeof name, ERL_NIF_LATIN1))
        return WEFT_E_INVALID;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (strcmp(name, operations[i].name) == 0 && arity == operations[i].arity)
            return operations[i].run(config, env, arg);
    return WEFT_E_INVALID;
}

static term fault(ErlNifEnv *env, weft_config config, int32_t error, term at) {
    char text[512];
    weft_config_error(config, text, sizeof text);
    return term_fail(env, enif_make_tuple3(env, term_error_name(env, error), at,
                                           term_text(env, text[0] ? text : weft_strerror(error))));
}

/* config_new(client | server, [Operation]) -> {ok, Config} | {error, {Name, Operation, Text}} */
NIF(nif_config_new) {
    weft_config handle;
    term head, tail = argv[1];
    (void)argc;
    bool server = enif_is_identical(argv[0], AM(server));
    int32_t error = weft_config_new(server ? WEFT_SERVER : WEFT_CLIENT, &handle);
    if (error != WEFT_OK)
        return term_error(env, error);
    while (enif_get_list_cell(env, tail, &head, &tail)) {
        error = run(handle, env, head);
        if (error == WEFT_OK)
            continue;
        term result = fault(env, handle, error, head);
        weft_config_free(handle);
        return result;
    }
    struct config *config = (struct config *)resource_new(RESOURCE_CONFIG, sizeof *config);
    if (!config) {
        weft_config_free(handle);
        return term_error(env, WEFT_E_NOMEM);
    }
    COUNT(configs, 1);
    config->handle = handle;
    term result = term_ok(env, enif_make_resource(env, config));
    enif_release_resource(config);
    return result;
}

/* config_fingerprint(Config) -> {ok, Sha256} | {error, _} */
NIF(nif_config_fingerprint) {
    struct config *config = (struct config *)resource_get(env, argv[0], RESOURCE_CONFIG);
    uint8_t sha256[32];
    (void)argc;
    if (!config)
        return enif_make_badarg(env);
    int32_t error = weft_config_fingerprint(config->handle, sha256);
    return error ? term_error(env, error) : term_ok(env, term_binary(env, sha256, sizeof sha256));
}
