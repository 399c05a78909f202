/* version.c - which QUIC version a connection speaks (RFC 9368; RFC 9369 sections 4 and 5; RFC 9000 section 6).
 *
 * There are two ways to another version than the client's first. Compatible: the server reads the client's
 * version_information and answers in a version it likes better; the client notices by the long headers. Incompatible: a
 * Version Negotiation packet tells what the server speaks, and the client begins again. Both are judged when the peer's
 * version_information comes: it is authenticated with the handshake, so a version that an attacker talked us into does
 * not last.
 *
 * Which versions are spoken at all is an option (`versions`). Versions we do not know, reserved ones (0x?a?a?a?a) among
 * them, are never chosen, and never matter to a choice.
 *
 * Invariant: conn->version changes at most once within an attempt, and not after version_settled.
 */
#include "quic/walk.h"

#define VERSIONS 2u

static const uint32_t versions_known[VERSIONS] = {QUIC_VERSION_1, QUIC_VERSION_2}; /* as the options count them */

/* ---- what the options say ---- */

bool quic_version_spoken(const struct options *options, uint32_t version) {
    for (unsigned i = 0; i < VERSIONS; i++)
        if (versions_known[i] == version)
            return options->versions == 0 || options->versions == i + 1;
    return false;
}

uint32_t quic_version_first(const struct options *options, const uint8_t *session, size_t session_len) {
    if (session_len >= 4 && quic_version_spoken(options, base_load_u32(session)))
        return base_load_u32(session); /* tickets are of one version (RFC 9369 5), and this one the server speaks */
    uint32_t version = versions_known[options->version];
    return quic_version_spoken(options, version) ? version : versions_known[options->versions - 1];
}

unsigned quic_version_list(const struct options *options, uint32_t first, uint32_t out[QUIC_VERSION_LIST_MAX]) {
    unsigned count = 0;
    if (quic_version_spoken(options, first))
        out[count++] = first;
    for (unsigned i = 0; i < VERSIONS; i++)
        if (versions_known[i] != first && quic_version_spoken(options, versions_known[i]))
            out[count++] = versions_known[i];
    return count;
}

uint32_t quic_version_reserved(const struct base_random *random) {
    return ((uint32_t)base_random_u64(random) & UINT32_C(0xf0f0f0f0)) | UINT32_C(0x0a0a0a0a);
}

/* ---- version_information ---- */

void quic_version_inform(struct quic_conn *conn, struct quic_params *params) {
    const struct options *options = &conn->config->options;
    uint32_t first = conn->role == CRYPTO_CLIENT ? conn->first_version : conn->version;
    /* A client's list is in the order of its wishes; many servers change to the first that they speak too. */
    if (conn->role == CRYPTO_CLIENT && options->version_preference)
        first = versions_known[options->version_preference - 1];
    params->chosen_version = conn->version;
    params->available_count = (uint8_t)quic_version_list(options, first, params->available_versions);
    if (options->grease)
        params->available_versions[params->available_count++] = quic_version_reserved(&conn->endpoint->random);
}

static bool listed(const struct quic_params *params, uint32_t version) {
    for (unsigned i = 0; i < params->available_count; i++)
        if (params->available_versions[i] == version)
            return true;
    return false;
}

/* RFC 9368 section 4: after a Version Negotiation packet, would we have come to the same version with what the server
 * says now? */
static const char *check_restart(const struct quic_conn *conn, const struct quic_params *params) {
    uint32_t mine[QUIC_VERSION_LIST_MAX];
    if (!params->chosen_version) /* section 8: a server that speaks version 1 alone may not know of this parameter */
        return conn->version == QUIC_VERSION_1 ? NULL : "version_information is missing after version negotiation";
    if (!params->available_count)
        return "version_information lists no version after version negotiation";
    unsigned count = quic_version_list(&conn->config->options, conn->first_version, mine);
    for (unsigned i = 0; i < count; i++)
        if (listed(params, mine[i]) || mine[i] == conn->version)
            return mine[i] == conn->version ? NULL
                                            : "version downgrade: the server speaks a version we would have preferred";
    return "no version in common";
}

const char *quic_version_check(const struct quic_conn *conn, const struct quic_params *params) {
    const char *restart = conn->version_restarted ? check_restart(conn, params) : NULL;
    if (restart)
        return restart;
    if (!params->chosen_version)
        return conn->version == conn->original_version ? NULL
                                                       : "version_information is missing though the version changed";
    return params->chosen_version == conn->version ? NULL : "the chosen version is not the version in use";
}

/* ---- compatible version negotiation ---- */

/* What a server changes to, or the version in use. */
static uint32_t preferred(const struct quic_conn *conn, const struct quic_params *params) {
    const struct options *options = &conn->config->options;
    if (!options->version_preference)
        return conn->version;
    uint32_t version = versions_known[options->version_preference - 1];
    return quic_version_spoken(options, version) && listed(params, version) ? version : conn->version;
}

bool quic_version_upgrade(struct quic_conn *conn, const struct quic_params *params) {
    uint32_t version = preferred(conn, params);
    conn->version_settled = true;
    if (version == conn->version)
        return true;
    conn->version = version;
    conn->original_keys = conn->keys[CRYPTO_INITIAL]; /* the client does not know yet: RFC 9369 4.1 */
    conn->keys[CRYPTO_INITIAL] = (struct quic_keys){0};
    return quic_handshake_initial_keys(conn, &conn->initial_dcid);
}

bool quic_version_may_change(const struct quic_conn *conn, uint32_t version) {
    return conn->role == CRYPTO_CLIENT && !conn->version_settled && version != conn->version &&
           quic_version_spoken(&conn->config->options, version);
}

/* ---- incompatible version negotiation ---- */

/* The version we like best of those the packet lists; 0: none. */
static uint32_t best_of(const struct quic_conn *conn, const struct quic_header *header) {
    uint32_t mine[QUIC_VERSION_LIST_MAX];
    unsigned count = quic_version_list(&conn->config->options, conn->first_version, mine);
    for (unsigned i = 0; i < count; i++)
        for (size_t k = 0; k < quic_header_version_count(header); k++)
            if (quic_header_version_at(header, k) == mine[i])
                return mine[i];
    return 0;
}

/* Everything the first attempt left behind goes; what the application opened and wrote stays. */
static bool restart(struct quic_conn *conn, uint32_t version) {
    struct base_mem *mem = conn->endpoint->mem;
    struct quic_cid dcid = {.len = 8};
    base_random_fill(&conn->endpoint->random, dcid.id, dcid.len);
    conn->version = conn->original_version = version;
    conn->version_restarted = true;
    quic_recovery_on_retry(&conn->recovery); /* the same there: what was sent is forgotten */
    quic_early_abandon(conn);
    quic_handshake_free_space(conn, QUIC_INITIAL);
    for (unsigned space = 0; space < QUIC_SPACES; space++) /* to the server it is another connection: numbers from 0 */
        quic_sent_clear(&conn->recovery.spaces[space], mem);
    base_free(mem, conn->token, conn->token_len); /* it was of the other version (RFC 9369 5) */
    conn->token = NULL;
    conn->token_len = 0;
    conn->original_dcid = dcid;
    quic_remote_cids_set_initial(&conn->remote_cids, &dcid);
    quic_local_cids_init(&conn->local_cids); /* what still comes for the first attempt is not for us */
    return quic_endpoint_issue_cid(conn->endpoint, conn) && quic_handshake_initial_keys(conn, &dcid) &&
           quic_handshake_reopen(conn);
}

void quic_version_negotiate(struct quic_conn *conn, const struct quic_header *header, base_time now) {
    struct quic_remote_cid *remote = quic_remote_cids_of_path(&conn->remote_cids, 0);
    if (conn->role != CRYPTO_CLIENT || conn->first_flight_received || conn->retried || conn->version_restarted ||
        !remote || !quic_cid_equal(&header->scid, &remote->cid))
        return; /* RFC 9000 6.2, RFC 9368 4: only in answer to the first flight, and once */
    for (size_t i = 0; i < quic_header_version_count(header); i++)
        if (quic_header_version_at(header, i) == conn->version)
            return; /* our own version is listed, so this answers nothing we sent */
    uint32_t version = best_of(conn, header);
    if (!version) {
        struct quic_close close = {.cause = QUIC_CAUSE_VERSION, .code = QUIC_VERSION_NEGOTIATION_ERROR};
        quic_close_silent(conn, &close, now);
        return;
    }
    if (!restart(conn, version))
        quic_conn_fail(conn, QUIC_INTERNAL_ERROR, 0, "out of memory", now);
    quic_conn_mark_dirty(conn);
}
