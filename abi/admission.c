/* admission.c - what a server's application says about clients that come back: tickets (RFC 8446 4.6.1, 8), address
 * tokens (RFC 9000 8.1).
 *
 * Knows how the questions of crypto/ and quic/ look in weft.h's words. Does not know what a ticket or token holds, nor
 * what becomes of the answer: a ticket that is refused costs a full handshake, a token's verdict goes through the same
 * limits as everything else (quic/accept.c).
 *
 * The invariant that matters: the application runs in the midst of things here, so every call between enter and leave
 * gives WEFT_E_STATE, and what it is shown is good until it returns.
 */
#include "abi.h"

static struct abi_config *config_of(const struct quic_admission *core) {
    return BASE_CONTAINER(core, struct abi_config, admission.core);
}

/* ---- tokens ---- */

static const uint32_t kinds[] = {[QUIC_TOKEN_NONE] = WEFT_TOKEN_NONE,
                                 [QUIC_TOKEN_OTHER] = WEFT_TOKEN_OTHER,
                                 [QUIC_TOKEN_RETRY] = WEFT_TOKEN_RETRY,
                                 [QUIC_TOKEN_NEW] = WEFT_TOKEN_NEW};

static const enum quic_admit verdicts[] = {[WEFT_VERDICT_DEFAULT] = QUIC_ADMIT_DEFAULT,
                                           [WEFT_VERDICT_ACCEPT] = QUIC_ADMIT_PROVEN,
                                           [WEFT_VERDICT_REFUSE] = QUIC_ADMIT_REFUSE,
                                           [WEFT_VERDICT_RETRY] = QUIC_ADMIT_RETRY,
                                           [WEFT_VERDICT_DROP] = QUIC_ADMIT_DROP};

static enum quic_admit on_judge(const struct quic_admission *core, enum quic_token_kind kind,
                                const struct quic_addr *remote, const uint8_t *token, size_t len) {
    const weft_admission *admission = &config_of(core)->admission.table;
    weft_client client = {.size = sizeof client, .kind = kinds[kind], .data = {token, len}};
    abi_addr_out(remote, &client.remote);
    abi_enter();
    uint32_t verdict = admission->judge_token(admission->user, &client);
    abi_leave();
    /* A number that is none is a mistake: the client is turned away rather than let in. */
    return verdict < sizeof verdicts / sizeof *verdicts ? verdicts[verdict] : QUIC_ADMIT_REFUSE;
}

static size_t on_make(const struct quic_admission *core, const struct quic_addr *remote, uint8_t *out,
                      size_t capacity) {
    const weft_admission *admission = &config_of(core)->admission.table;
    weft_client client = {.size = sizeof client};
    abi_addr_out(remote, &client.remote);
    abi_enter();
    size_t len = admission->make_token(admission->user, &client, out, capacity);
    abi_leave();
    return len <= capacity ? len : 0;
}

/* ---- tickets ---- */

static void ticket_client(void *session_user, weft_client *client) {
    const struct quic_conn *conn = (const struct quic_conn *)session_user;
    abi_addr_out(&conn->paths[conn->recovery.active]->remote, &client->remote);
    client->server_name = conn->tls ? crypto_tls_server_name(conn->tls) : NULL;
}

static bool on_ticket_judge(void *user, void *session_user, const uint8_t *data, size_t len) {
    const weft_admission *admission = &((const struct abi_config *)user)->admission.table;
    weft_client client = {.size = sizeof client, .data = {data, len}};
    ticket_client(session_user, &client);
    abi_enter();
    uint32_t verdict = admission->judge_ticket(admission->user, &client);
    abi_leave();
    return verdict == WEFT_VERDICT_DEFAULT || verdict == WEFT_VERDICT_ACCEPT;
}

static size_t on_ticket_fill(void *user, void *session_user, uint8_t *out, size_t capacity) {
    const weft_admission *admission = &((const struct abi_config *)user)->admission.table;
    weft_client client = {.size = sizeof client};
    ticket_client(session_user, &client);
    abi_enter();
    size_t len = admission->fill_ticket(admission->user, &client, out, capacity);
    abi_leave();
    return len <= capacity ? len : 0;
}

/* ---- setting ---- */

int32_t weft_config_set_admission(weft_config config, const weft_admission *admission) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    weft_admission table;
    error = abi_table_params(&table, admission, sizeof table);
    if (error)
        return abi_config_end(own, abi_config_fail(own, error, "%s", abi_table_why(error)));
    if (own->core.role != CRYPTO_SERVER)
        return abi_config_end(own, abi_config_fail(own, WEFT_E_TLS, "only a server admits clients"));
    own->admission.table = table;
    own->admission.core = (struct quic_admission){.judge = table.judge_token ? on_judge : NULL,
                                                  .make = table.make_token ? on_make : NULL};
    own->core.admission = table.judge_token || table.make_token ? &own->admission.core : NULL;
    crypto_tls_config_ticket_hooks(own->core.tls, table.judge_ticket ? on_ticket_judge : NULL,
                                   table.fill_ticket ? on_ticket_fill : NULL, own);
    return abi_config_end(own, WEFT_OK);
}
