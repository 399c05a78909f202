/* term.c - between C and Erlang terms: atoms, errors, addresses, modes, the reason of a close, handles.
 *
 * Errors have the names of the table in core/tables/errors.def in small letters: {error, stream_limit}. Two of them
 * are one thing for Erlang: what is gone, and what was never there, is {error, closed}.
 *
 * It knows nothing of threads: every function works in the environment it is given.
 */
#include <ctype.h>

#include "nif.h"

struct nif_atoms nif_atom;

void term_make_atoms(ErlNifEnv *env) {
#define X(name) nif_atom.am_##name = enif_make_atom(env, #name);
    NIF_ATOMS(X)
#undef X
}

term term_error_name(ErlNifEnv *env, int32_t error) {
    char name[32];
    size_t i;
    if (error == WEFT_E_GONE || error == WEFT_E_HANDLE)
        return AM(closed);
    const char *upper = weft_error_name(error);
    for (i = 0; upper[i] && i + 1 < sizeof name; i++)
        name[i] = (char)tolower((unsigned char)upper[i]);
    name[i] = 0;
    return enif_make_atom(env, name);
}

term term_fail(ErlNifEnv *env, term reason) { return enif_make_tuple2(env, AM(error), reason); }
term term_ok(ErlNifEnv *env, term value) { return enif_make_tuple2(env, AM(ok), value); }
term term_error(ErlNifEnv *env, int32_t error) { return term_fail(env, term_error_name(env, error)); }
term term_bool(bool value) { return value ? AM(true) : AM(false); }

bool term_get_bool(term value, bool *out) {
    *out = enif_is_identical(value, AM(true));
    return *out || enif_is_identical(value, AM(false));
}

term term_binary(ErlNifEnv *env, const void *data, size_t len) {
    term result;
    unsigned char *bytes = enif_make_new_binary(env, len, &result);
    if (len)
        memcpy(bytes, data, len);
    return result;
}

term term_text(ErlNifEnv *env, const char *text) { return term_binary(env, text, strlen(text)); }

bool term_get_text(ErlNifEnv *env, term value, char *out, size_t size) {
    ErlNifBinary binary;
    if (!enif_inspect_binary(env, value, &binary) || binary.size >= size || memchr(binary.data, 0, binary.size))
        return false;
    memcpy(out, binary.data, binary.size);
    out[binary.size] = 0;
    return true;
}

void term_put(ErlNifEnv *env, term *map, const char *name, term value) {
    enif_make_map_put(env, *map, enif_make_atom(env, name), value, map);
}

term term_address(ErlNifEnv *env, const weft_addr *addr) {
    term parts[8];
    if (addr->family == 4) {
        for (int i = 0; i < 4; i++)
            parts[i] = enif_make_uint(env, addr->ip[i]);
        return enif_make_tuple2(env, enif_make_tuple_from_array(env, parts, 4), enif_make_uint(env, addr->port));
    }
    if (addr->family != 6)
        return AM(undefined);
    for (int i = 0; i < 8; i++)
        parts[i] = enif_make_uint(env, (unsigned)addr->ip[2 * i] << 8 | addr->ip[2 * i + 1]);
    return enif_make_tuple2(env, enif_make_tuple_from_array(env, parts, 8), enif_make_uint(env, addr->port));
}

/* ---- how a connection ended ---- */

static const char *const causes[] = {
    [WEFT_CAUSE_NONE] = "none",
    [WEFT_CAUSE_LOCAL] = "local",
    [WEFT_CAUSE_PEER] = "peer",
    [WEFT_CAUSE_IDLE] = "idle_timeout",
    [WEFT_CAUSE_HANDSHAKE_TIMEOUT] = "handshake_timeout",
    [WEFT_CAUSE_PROTOCOL] = "protocol",
    [WEFT_CAUSE_RESET] = "reset",
    [WEFT_CAUSE_VERSION] = "version",
    [WEFT_CAUSE_INTERNAL] = "internal",
    [WEFT_CAUSE_CONNECT] = "connect",
};

term term_close(ErlNifEnv *env, const weft_close *close) {
    bool known = close->cause < sizeof causes / sizeof *causes;
    term keys[] = {AM(cause), AM(layer), AM(code), AM(reason), AM(error), AM(frame_type)};
    term values[] = {
        known ? enif_make_atom(env, causes[close->cause]) : enif_make_uint(env, close->cause),
        close->app ? AM(application) : AM(transport),
        enif_make_uint64(env, close->code),
        term_binary(env, close->reason, close->reason_len),
        close->error ? term_error_name(env, close->error) : AM(none),
        enif_make_uint64(env, close->frame_type),
    };
    term map;
    enif_make_map_from_arrays(env, keys, values, sizeof keys / sizeof *keys, &map);
    return map;
}

term term_closed(ErlNifEnv *env, const struct conn *conn) {
    if (conn->close.cause == WEFT_CAUSE_NONE)
        return term_fail(env, AM(closed));
    return term_fail(env, enif_make_tuple2(env, AM(closed), term_close(env, &conn->close)));
}

/* ---- modes ---- */

bool term_get_mode(ErlNifEnv *env, term value, struct mode *mode) {
    int count;
    *mode = (struct mode){MODE_FALSE, 0, false};
    if (enif_is_identical(value, AM(false)))
        return true;
    if (enif_is_identical(value, AM(true)))
        mode->kind = MODE_TRUE;
    else if (enif_is_identical(value, AM(once)))
        mode->kind = MODE_ONCE;
    else if (enif_get_int(env, value, &count) && count >= -32768 && count <= 32767)
        *mode = (struct mode){MODE_COUNT, count, false};
    else
        return false;
    return true;
}

term term_mode(ErlNifEnv *env, const struct mode *mode) {
    switch (mode->kind) {
    case MODE_TRUE: return AM(true);
    case MODE_ONCE: return AM(once);
    case MODE_COUNT: return enif_make_int(env, mode->left);
    default: return AM(false);
    }
}

/* ---- handles ---- */

static term handle_ref(ErlNifEnv *env, const void *object) {
    return enif_make_resource(env, (void *)(uintptr_t)object);
}

term term_conn(ErlNifEnv *env, const struct conn *conn) {
    return enif_make_tuple2(env, AM(weft_conn), handle_ref(env, conn));
}

term term_stream(ErlNifEnv *env, const struct stream *stream) {
    return enif_make_tuple3(env, AM(weft_stream), handle_ref(env, stream), enif_make_uint64(env, stream->id));
}

term term_listener(ErlNifEnv *env, const struct listener *listener) {
    return enif_make_tuple2(env, AM(weft_listener), handle_ref(env, listener));
}
