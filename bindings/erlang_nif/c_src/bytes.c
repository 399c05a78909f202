/* bytes.c - received bytes as binaries.
 *
 * A slice of a large datagram stays where the core has it: a resource refers to the core's buffer, and the binary to
 * the resource. That costs the same for every size, but such a binary is memory the VM's garbage collector does not
 * count. So it is counted here, and beyond a cap (application variable buffer_cap) everything is copied. Small slices,
 * which is what datagrams of the Internet's size carry, are gathered into one binary of the VM's: one message for what
 * a turn has brought, and memory the collector knows.
 *
 * The invariant that matters: a buffer goes back on its engine's thread, and the engine's memory outlives its buffers
 * (engine->live).
 */
#include "nif.h"

#define KEEP_LEAST 4096u /* fewer bytes are copied */

struct bytes {
    struct engine *engine; /* kept */
    weft_buffer buffer;
    size_t len;
};

static void run_release(struct engine *engine, struct command *command) {
    weft_buffer_release((weft_buffer){command->number});
    atomic_fetch_sub(&engine->live, 1);
}

void bytes_dtor(ErlNifEnv *env, void *object) {
    struct bytes *bytes = (struct bytes *)object;
    (void)env;
    COUNT(handles, -1);
    if (!bytes->engine)
        return;
    COUNT(buffers, -1);
    COUNT(buffer_bytes, -(long long)bytes->len);
    struct command *command = command_new(run_release, NULL, 0);
    if (command) { /* without memory for it the buffer stays until its engine ends */
        command->number = bytes->buffer.id;
        command_push_returned(bytes->engine, command);
    }
    enif_release_resource(bytes->engine);
}

static bool keep(struct engine *engine, ErlNifEnv *env, const weft_slice *slice, term *out) {
    struct bytes *bytes;
    const uint8_t *data;
    long long held = atomic_load_explicit(&nif_count.buffer_bytes, memory_order_relaxed);
    if (held + (long long)slice->len > atomic_load_explicit(&nif_count.buffer_cap, memory_order_relaxed)) {
        COUNT(buffer_refusals, 1);
        return false;
    }
    bytes = (struct bytes *)resource_new(RESOURCE_BYTES, sizeof *bytes);
    if (!bytes)
        return false;
    if (weft_buffer_retain(slice, &bytes->buffer, &data) != WEFT_OK) {
        enif_release_resource(bytes);
        return false;
    }
    bytes->engine = engine;
    bytes->len = slice->len;
    enif_keep_resource(engine);
    atomic_fetch_add(&engine->live, 1);
    COUNT(buffers, 1);
    COUNT(buffer_bytes, (long long)slice->len);
    *out = enif_make_resource_binary(env, bytes, data, slice->len);
    enif_release_resource(bytes);
    return true;
}

term bytes_take(struct engine *engine, ErlNifEnv *env, const weft_slice *slices, size_t count, size_t len) {
    term result;
    if (count == 1 && len >= KEEP_LEAST && keep(engine, env, slices, &result))
        return result;
    unsigned char *to = enif_make_new_binary(env, len, &result);
    for (size_t i = 0; i < count; i++) {
        memcpy(to, slices[i].data, slices[i].len);
        to += slices[i].len;
    }
    return result;
}
