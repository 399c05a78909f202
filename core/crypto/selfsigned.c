/* selfsigned.c - a certificate out of nothing, for servers that were given none and for tests (RFC 5280).
 *
 * ECDSA on P-256; not a CA, because strict peers refuse a CA as a server's certificate; all names in subjectAltName,
 * where alone they count. It starts a day ago, so that peers with slow clocks take it.
 *
 * The invariant that matters: the private key exists only in the caller's buffer when this returns.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tls_impl.h"

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

#define DER_MAX 4096
#define NAMES_MAX 2048u
#define DAY 86400
#define TAG_SEQUENCE 0x30
#define TAG_UTC_TIME 0x17
#define TAG_GENERALIZED_TIME 0x18
#define TAG_DNS 0x82 /* GeneralName: [2] dNSName, [7] iPAddress */
#define TAG_IP 0x87

/* One GeneralName at out[*at]; false when it does not fit or is no name. */
static bool put_name(uint8_t *out, size_t *at, const char *name) {
    uint8_t address[16];
    size_t address_len = tls_ip_literal(name, address), len = address_len ? address_len : strlen(name);
    if (!len || len > 127 || *at + 2 + len > NAMES_MAX) /* lengths above 127 would need another form */
        return false;
    out[(*at)++] = address_len ? TAG_IP : TAG_DNS;
    out[(*at)++] = (uint8_t)len;
    memcpy(out + *at, address_len ? (const void *)address : name, len);
    *at += len;
    return true;
}

static bool put_names(Cert *cert, const char *const *names, size_t count) {
    uint8_t list[NAMES_MAX];
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        if (!put_name(list, &len, names[i]))
            return false;
    _Static_assert(sizeof cert->altNames >= NAMES_MAX + 4, "wolfSSL leaves too little room for names");
    byte *at = cert->altNames;
    *at++ = TAG_SEQUENCE;
    if (len > 255)
        *at++ = 0x82;
    else if (len > 127)
        *at++ = 0x81;
    if (len > 255)
        *at++ = (byte)(len >> 8);
    *at++ = (byte)len;
    memcpy(at, list, len);
    cert->altNamesSz = (int)(at - cert->altNames) + (int)len;
    return true;
}

/* RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime after. */
static int put_date(byte *out, size_t capacity, time_t when) {
    struct tm parts;
    char text[32];
    if (!gmtime_r(&when, &parts))
        return 0;
    bool utc = parts.tm_year + 1900 < 2050;
    size_t len = strftime(text, sizeof text, utc ? "%y%m%d%H%M%SZ" : "%Y%m%d%H%M%SZ", &parts);
    if (!len || len + 2 > capacity)
        return 0;
    out[0] = utc ? TAG_UTC_TIME : TAG_GENERALIZED_TIME;
    out[1] = (byte)len;
    memcpy(out + 2, text, len);
    return (int)len + 2;
}

static bool describe(Cert *cert, const char *const *names, size_t count, unsigned days) {
    if (wc_InitCert(cert) != 0)
        return false;
    time_t now = (time_t)tls_now_s();
    cert->sigType = CTC_SHA256wECDSA;
    cert->beforeDateSz = put_date(cert->beforeDate, sizeof cert->beforeDate, now - DAY);
    cert->afterDateSz = put_date(cert->afterDate, sizeof cert->afterDate, now + (time_t)days * DAY);
    snprintf(cert->subject.commonName, sizeof cert->subject.commonName, "%.63s", names[0]);
    return cert->beforeDateSz && cert->afterDateSz && put_names(cert, names, count) &&
           wc_SetKeyUsage(cert, "digitalSignature") == 0 && wc_SetExtKeyUsage(cert, "serverAuth,clientAuth") == 0;
}

static bool to_pem(const byte *der, int len, char *pem, size_t capacity, int type) {
    if (len <= 0 || capacity < 2 || capacity > INT_MAX)
        return false;
    int made = wc_DerToPem(der, (word32)len, (byte *)pem, (word32)capacity - 1, type);
    if (made > 0)
        pem[made] = 0;
    return made > 0;
}

static bool sign(Cert *cert, ecc_key *key, WC_RNG *rng, char *pem, size_t capacity) {
    byte der[DER_MAX];
    if (wc_MakeCert(cert, der, sizeof der, NULL, key, rng) <= 0)
        return false;
    return to_pem(der, wc_SignCert(cert->bodySz, cert->sigType, der, sizeof der, NULL, key, rng), pem, capacity,
                  CERT_TYPE);
}

static bool export_key(ecc_key *key, char *pem, size_t capacity) {
    byte der[256];
    word32 len = sizeof der;
    int made = wc_EccPrivateKeyToPKCS8(key, der, &len);
    bool ok = to_pem(der, made > 0 ? made : (int)len, pem, capacity, PKCS8_PRIVATEKEY_TYPE) && made >= 0;
    crypto_wipe(der, sizeof der);
    return ok;
}

bool crypto_selfsigned(const char *const *names, size_t count, unsigned days, char *cert_pem, size_t cert_capacity,
                       char *key_pem, size_t key_capacity, struct crypto_error *error) {
    if (!count || !days || days > 36500)
        return tls_error(error, "a certificate needs a name and 1 to 36500 days");
    Cert cert;
    if (!describe(&cert, names, count, days))
        return tls_error(error, "a name is empty or too long, or there are too many");
    WC_RNG rng;
    if (wc_InitRng(&rng) != 0)
        return tls_error(error, "no randomness");
    ecc_key key;
    bool made = wc_ecc_init(&key) == 0 && wc_ecc_make_key_ex(&rng, 32, &key, ECC_SECP256R1) == 0;
    bool ok = made && sign(&cert, &key, &rng, cert_pem, cert_capacity) && export_key(&key, key_pem, key_capacity);
    wc_ecc_free(&key);
    wc_FreeRng(&rng);
    if (ok)
        return true;
    if (key_capacity)
        crypto_wipe(key_pem, key_capacity);
    return tls_error(error, made ? "the certificate or key does not fit into its buffer" : "the key cannot be made");
}
