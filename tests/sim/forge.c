/* forge.c - see forge.h. Key updates are not followed: packets are of the phase 0. */
#include "forge.h"

#include "crypto/protect.h"

size_t sim_forge(struct quic_conn *conn, uint64_t number, const uint8_t *frames, size_t len, uint8_t *packet) {
    struct base_writer w = base_writer_of(packet, 1200);
    const struct quic_remote_cid *cid = quic_remote_cids_of_path(&conn->remote_cids, conn->recovery.active);
    quic_header_write_short(&w, &cid->cid, 4, false, false);
    size_t pn_offset = (size_t)(w.pos - packet);
    base_write_u32(&w, (uint32_t)number);
    base_write_bytes(&w, frames, len);
    base_write_space(&w, CRYPTO_TAG_SIZE);
    struct crypto_seal_item item = {.packet = packet,
                                    .number = number,
                                    .len = (uint32_t)(w.pos - packet),
                                    .pn_offset = (uint16_t)pn_offset,
                                    .pn_len = 4};
    const struct quic_keys *keys = &conn->keys[CRYPTO_APPLICATION];
    if (w.bad || !quic_keyphase_unpack(conn) || !crypto_seal(keys->tx, keys->tx_mask, &item, 1))
        return 0;
    return item.len;
}
