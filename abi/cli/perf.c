/* perf.c - `weft perf`: which side, and what both sides have alike.
 *
 * All bytes come from one static buffer, small enough to stay in a core's cache, and are lent to the library instead of
 * being copied. The token of each piece is its length, so that counting what has arrived needs no bookkeeping.
 */
#include <string.h>

#include "perf.h"

const struct cli_preset perf_presets[] = {{"stream_send_buffer", 8 * 1024 * 1024},
                                          {"initial_max_data", 16 * 1024 * 1024},
                                          {"initial_max_stream_data_bidi_local", 4 * 1024 * 1024},
                                          {"initial_max_stream_data_bidi_remote", 4 * 1024 * 1024},
                                          {"initial_max_streams_bidi", 1000},
                                          {NULL, 0}};

void perf_header(uint64_t download, uint8_t header[PERF_HEADER]) {
    for (uint32_t i = 0; i < PERF_HEADER; i++)
        header[i] = (uint8_t)(download >> (56 - 8 * i));
}

int64_t perf_send(weft_stream stream, uint64_t left) {
    static const uint8_t zeros[PERF_PIECE];
    uint64_t sent = 0;
    while (sent < left) {
        size_t len = left - sent < PERF_PIECE ? (size_t)(left - sent) : PERF_PIECE;
        uint32_t flags = len == left - sent ? WEFT_FIN : 0;
        int64_t taken = len <= PERF_SMALL ? weft_stream_write(stream, zeros, len, flags)
                                          : weft_stream_write_ref(stream, zeros, len, len, flags);
        if (taken < 0)
            return taken;
        sent += (uint64_t)taken;
        if ((uint64_t)taken < len)
            break; /* full: WRITABLE follows */
    }
    return (int64_t)sent;
}

int perf_main(int argc, char **argv) {
    static const struct cli_usage usage = {
        "perf", "server | client ...",
        "Measures what a path and two machines can do, with the protocol of draft-banks-quic-performance.\n"
        "\n"
        "    weft perf server            answers on one machine\n"
        "    weft perf client HOST:PORT  asks on the other, and reports\n"
        "\n"
        "`weft perf server --help` and `weft perf client --help` have the rest.",
        "Exit codes: as for the two.\n"};
    static const struct cli_group none[] = {{NULL, NULL, NULL}};
    if (argc > 1 && !strcmp(argv[1], "server"))
        return perf_server_main(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "client"))
        return perf_client_main(argc - 1, argv + 1);
    int code = cli_parse(&usage, none, &argc, argv);
    if (code != CLI_GO_ON)
        return code;
    cli_error("server or client? `weft perf --help` tells");
    return CLI_USAGE;
}
