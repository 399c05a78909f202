/* main.c - `weft`: finds the command that is meant.
 *
 * SIGPIPE is ignored for all of them: a reader of our output that goes away is an error of that write, not the end of
 * a server.
 */
#include <signal.h>
#include <string.h>

#include "cli.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *text;
} commands[] = {
    {"serve", serve_main, "serve the files of a directory over QUIC"},
    {"get", get_main, "fetch files over QUIC"},
    {"perf", perf_main, "measure throughput, latency and CPU time between two machines"},
    {"ping", ping_main, "measure handshakes and round trips"},
    {"qlog", qlog_main, "draw what a connection did, from its qlog"},
    {"cid", cid_main, "read and make connection IDs of a fleet behind a load balancer"},
    {"options", options_main, "list the library's options, for --set"},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void help(FILE *out) {
    fputs("usage: weft COMMAND [ARGUMENTS]\n"
          "\n"
          "QUIC (RFC 9000) from the command line.\n"
          "\n",
          out);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "    %-10s %s\n", commands[i].name, commands[i].text);
    fputs("\n"
          "`weft COMMAND --help` tells what a command takes; `weft --version` which weft this is.\n"
          "\n"
          "Try it: in one terminal\n"
          "    weft serve --root . --listen [::1]:4433\n"
          "which prints the fingerprint of a certificate it has just made; in another\n"
          "    weft get --pin FINGERPRINT https://[::1]:4433/README.md\n"
          "\n"
          "Exit codes of all commands: 0 all went well, 1 something failed, 2 the command line was not understood,\n"
          "3 no connection came about, 4 the peer's certificate was refused, 130 interrupted.\n"
          "SSLKEYLOGFILE, if set, names a file to which TLS secrets are appended, for reading captures.\n"
          "QLOGDIR, if set, names a directory for qlogs, one file a connection; see `weft qlog --help`.\n",
          out);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        help(stderr);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || (!strcmp(word, "help") && argc == 2)) {
        help(stdout);
        return CLI_OK;
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("weft %s\n", weft_version_text());
        return CLI_OK;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (!strcmp(word, "help") && !strcmp(argv[2], commands[i].name)) {
            char option[] = "--help";
            char *arguments[] = {argv[2], option, NULL};
            return commands[i].run(2, arguments);
        }
        if (!strcmp(word, commands[i].name)) {
            cli_name_command(word);
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "weft: there is no command '%s'; `weft --help` lists them\n",
            !strcmp(word, "help") ? argv[2] : word);
    return CLI_USAGE;
}
