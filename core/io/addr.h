/* addr.h - addresses between the core's form, the system's and text. */
#ifndef IO_ADDR_H
#define IO_ADDR_H

#include <sys/socket.h>

#include "quic/types.h"

#define IO_ADDR_TEXT 64u /* "[", 39 of IPv6, "%", 15 of interface, "]:", 5 of port, NUL: exactly the longest */

/* The length of what was written; 0 for family 0. */
socklen_t io_addr_to_sockaddr(const struct quic_addr *addr, struct sockaddr_storage *out);
/* For an IPv6 socket that speaks IPv4 too: family 4 becomes IPv4-mapped IPv6 (RFC 4291 2.5.5.2). */
socklen_t io_addr_to_mapped(const struct quic_addr *addr, struct sockaddr_storage *out);
/* IPv4-mapped IPv6 becomes IPv4. False for other families. */
bool io_addr_from_sockaddr(const struct sockaddr *in, struct quic_addr *addr);
/* The 16 bytes of an IPv6 address, and the interface it was met on; the scope is kept for link-local addresses only. */
void io_addr_from_v6(const uint8_t ip[16], uint32_t scope, struct quic_addr *addr);
/* All bytes 0: any address of its family. */
bool io_addr_is_any(const struct quic_addr *addr);
/* "192.0.2.1:443", "[2001:db8::1]:443", "[fe80::1%eth0]:443"; "none" for family 0. */
void io_addr_format(const struct quic_addr *addr, char out[IO_ADDR_TEXT]);
/* A literal, with or without port ("1.2.3.4", "::1", "[::1]:443", "1.2.3.4:443"); `port` is used when the text has
 * none. False (and *addr untouched) when it is no literal. */
bool io_addr_parse(const char *text, uint16_t port, struct quic_addr *addr);

#endif
