/* protect.h - packet protection (RFC 9001 section 5.3 and 5.4) over batches of packets, in place.
 *
 * Sending: a train of finished packets is sealed and masked in one call. Receiving: the headers of a batch that share
 * keys are unmasked in one call; the caller expands the packet numbers (it knows the largest received) and opens
 * each packet in place. Header protection of a batch is one run of the block cipher over all samples.
 *
 * Nothing is allocated here and nothing is copied. Keys may be packed: it takes one key schedule a call and key, and
 * what is made for it is wiped.
 */
#ifndef CRYPTO_PROTECT_H
#define CRYPTO_PROTECT_H

#include "keys.h"

/* A packet to seal: header bytes, then the packet number, then plaintext, then CRYPTO_TAG_SIZE bytes of room. */
struct crypto_seal_item {
    uint8_t *packet;    /* first byte of the header */
    uint64_t number;    /* full packet number */
    uint32_t len;       /* header + packet number + plaintext + tag */
    uint16_t pn_offset; /* of the packet number in the packet */
    uint8_t pn_len;     /* 1..4; (len - pn_offset) must be >= 4 + CRYPTO_SAMPLE_SIZE */
};

/* Seals and masks every item. False only when the cipher itself fails (then nothing may be sent). */
bool crypto_seal(struct crypto_key *key, struct crypto_mask_key *mask, const struct crypto_seal_item *items,
                 size_t count);

/* A packet to open. The caller sets packet, len and pn_offset; unmask sets first, pn_len and truncated. */
struct crypto_open_item {
    uint8_t *packet;
    uint32_t len;       /* up to and including the tag */
    uint16_t pn_offset; /* where the (masked) packet number starts */
    uint8_t pn_len;     /* out */
    uint8_t first;      /* out: the first byte, unmasked */
    uint32_t truncated; /* out: the packet number as sent */
};

/* Removes header protection from each item, in place (first byte and packet number are written back). Every item must
 * have len >= pn_offset + 4 + CRYPTO_SAMPLE_SIZE: the caller has checked. */
bool crypto_unmask(struct crypto_mask_key *mask, struct crypto_open_item *items, size_t count);

/* Opens one unmasked packet in place with its full packet number. On success returns the plaintext's length; the
 * plaintext starts at packet + pn_offset + pn_len. -1 when it is not authentic: the content is then undefined. */
int32_t crypto_open(struct crypto_key *key, const struct crypto_open_item *item, uint64_t number);

/* The Retry integrity tag (RFC 9001 5.8) over the pseudo-packet: odcid length, odcid, Retry packet without tag. */
bool crypto_retry_tag(enum crypto_version version, const uint8_t *odcid, size_t odcid_len, const uint8_t *retry,
                      size_t retry_len, uint8_t tag[CRYPTO_TAG_SIZE]);

#endif
