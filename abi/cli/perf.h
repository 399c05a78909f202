/* perf.h - the performance protocol (draft-banks-quic-performance-00, ALPN "perf"), as both sides know it.
 *
 * A client opens a bidirectional stream; its first 8 bytes say, big-endian, how many bytes it wants back. What follows
 * them is upload, and is thrown away. The server sends that many bytes, of no meaning, and ends the stream.
 */
#ifndef CLI_PERF_H
#define CLI_PERF_H

#include "cli.h"

#define PERF_ALPN "perf"
#define PERF_HEADER 8u
#define PERF_PIECE (256u * 1024) /* bytes lent to the library at a time */
#define PERF_SMALL 4096u         /* up to here copying is cheaper than lending */
#define PERF_BAD_REQUEST 1u      /* application error: a stream that ends before its header does */

/* Sends up to `left` bytes of a static buffer, WEFT_FIN with the last; left is not 0. How many were taken, or
 * WEFT_E_*. */
int64_t perf_send(weft_stream stream, uint64_t left);

/* How a request begins that wants `download` bytes. */
void perf_header(uint64_t download, uint8_t header[PERF_HEADER]);

/* --- perf_handshakes.c --- */
struct perf_handshakes {
    const char *host;
    uint16_t port;
    weft_config config;
    const struct cli_client *client;
    uint64_t count, at_once;
    uint64_t download, upload; /* what each asks for; 0, 0: nothing */
    bool json, quiet;
};
/* Makes them, and reports. The exit code. */
int perf_handshakes_run(const struct perf_handshakes *wanted);

/* More in flight and larger windows than the library's defaults: for fast paths. */
extern const struct cli_preset perf_presets[];

#endif
