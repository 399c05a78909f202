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

/* More in flight and larger windows than the library's defaults: for fast paths. */
extern const struct cli_preset perf_presets[];

#endif
