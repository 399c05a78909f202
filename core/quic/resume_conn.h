/* resume_conn.h - where saved windows are kept, and who may use them (RFC 9959 section 3.1 and 3.2).
 *
 * A server keeps them with its clients: inside the token of a NEW_TOKEN frame, sealed by the fleet's secret and bound
 * to the client's address, of which there is a new one whenever what the path carries has changed much. A client keeps
 * its own with the session it resumes.
 *
 * One saved window is good for one jump. Each endpoint remembers for each address when a saved window was last used
 * there, and what was saved before that is not used any more: not a token that comes again, and not others that
 * connections side by side were given. A token counts only where it was issued, for only there is this known.
 */
#ifndef QUIC_RESUME_CONN_H
#define QUIC_RESUME_CONN_H

#include "quic/conn.h"
#include "quic/resume.h"

/* A path has a controller: a machine is put before it, if one can be. */
void quic_resume_start(struct quic_conn *conn, struct quic_path *path);
/* The endpoint goes. */
void quic_resume_clear(struct quic_endpoint *endpoint);

/* Server: what stands at the end of a token. */
void quic_resume_write_token(const struct quic_endpoint *endpoint, const struct quic_resume_saved *saved,
                             struct base_writer *out);
/* The rest of a token for this address and version, which was issued at this wall clock time. */
void quic_resume_read_token(struct quic_conn *conn, uint64_t issued, struct base_reader *in, base_time now);

#define QUIC_RESUME_SESSION_MAX 80u
/* Client: a transport parameter that is never sent, among those a session remembers; nothing when nothing is known. */
void quic_resume_write_session(struct quic_conn *conn, struct base_writer *out);
/* The parameters of a session. */
void quic_resume_read_session(struct quic_conn *conn, const uint8_t *params, size_t len, base_time now);

#endif
