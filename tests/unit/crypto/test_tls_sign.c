/* Signatures of each kind of private key, read from PEM and from DER: the peer, which verifies them, is content; keys of
 * ECDSA stay decoded, of a server and of a client; others are left to wolfSSL. */
#include "../../../core/crypto/tls_impl.h"

#include <string.h>

#include "tls_pair.h"
#include "unit.h"

#include <wolfssl/wolfcrypt/asn_public.h>

/* Self-signed for localhost until 2126. The first key is as `openssl ecparam -genkey` writes it: SEC 1, with the
 * parameters in front; the others are PKCS #8. */
static const char cert_p256[] = "-----BEGIN CERTIFICATE-----\n"
                                "MIIBlTCCATugAwIBAgIUWk1TvnW9sy21NBm+ixfSBHOQ210wCgYIKoZIzj0EAwIw\n"
                                "FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTE2NDMwN1oYDzIxMjYxMDI4\n"
                                "MTY0MzA3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n"
                                "PQMBBwNCAATTGC0btnhCpFKrHnP00DsvKACf5Ir1hvUrS+Bbw2J2lk4pTGFoo5Jj\n"
                                "95TnZEJTg6Hdc/Ri3tjDx4zeMFY/OOWFo2kwZzAdBgNVHQ4EFgQU9x2pVaONaUGl\n"
                                "ttt0MUxUNO6Of/UwHwYDVR0jBBgwFoAU9x2pVaONaUGlttt0MUxUNO6Of/UwFAYD\n"
                                "VR0RBA0wC4IJbG9jYWxob3N0MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID\n"
                                "SAAwRQIgQRcdYCtG4KSv1+a1Lb4VmfATbeqssHhGxk77mGw8PxACIQDK4KV+nSaL\n"
                                "JFqZ5HfeeXc/qzflShOQwwXEqmB1QMAhiA==\n"
                                "-----END CERTIFICATE-----\n";
static const char key_p256[] = "-----BEGIN EC PARAMETERS-----\n"
                               "BggqhkjOPQMBBw==\n"
                               "-----END EC PARAMETERS-----\n"
                               "-----BEGIN EC PRIVATE KEY-----\n"
                               "MHcCAQEEIANDEpN4EV2ajYbk9RxIkl6lnx9+VuQAqD6O1dxNyPxooAoGCCqGSM49\n"
                               "AwEHoUQDQgAE0xgtG7Z4QqRSqx5z9NA7LygAn+SK9Yb1K0vgW8NidpZOKUxhaKOS\n"
                               "Y/eU52RCU4Oh3XP0Yt7Yw8eM3jBWPzjlhQ==\n"
                               "-----END EC PRIVATE KEY-----\n";

static const char cert_p384[] = "-----BEGIN CERTIFICATE-----\n"
                                "MIIB0zCCAVigAwIBAgIUEdLMipgInoMvF+/MNX+N94CpRwowCgYIKoZIzj0EAwIw\n"
                                "FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTE2NDMwN1oYDzIxMjYxMDI4\n"
                                "MTY0MzA3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwdjAQBgcqhkjOPQIBBgUrgQQA\n"
                                "IgNiAAQ6tYve9LHWYgYerAgG0zrsOGqwDquy+80K5cWf1TtbLN764x4fBl6cWAAz\n"
                                "fWNjMMSDCyBQYP+q1NyEUYn83WmgZ0eYrLhy67lfDykFGo8DGTusnE+SBlaiRy64\n"
                                "LXTUtQqjaTBnMB0GA1UdDgQWBBS92hmuj7dS7J8TsyAl46XdGihkkDAfBgNVHSME\n"
                                "GDAWgBS92hmuj7dS7J8TsyAl46XdGihkkDAUBgNVHREEDTALgglsb2NhbGhvc3Qw\n"
                                "DwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNpADBmAjEAt2e9k1x8gXEz7bxn\n"
                                "ClPh9vDLW0WcnpNkjCjpTCKpBmoybDV1lxGOHzBfTFJPmQSTAjEA4xJeGS94M3X5\n"
                                "ceUp3oYZz2IB8synUXK8EAqzJ6sLCsa36RgkooIsGpYV0saZPanU\n"
                                "-----END CERTIFICATE-----\n";
static const char key_p384[] = "-----BEGIN PRIVATE KEY-----\n"
                               "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDDa9qmEobKXYxK7Cjz0\n"
                               "AszTw/sA4NNMxTXibSQVBYgUwSlpixI1e9nzfxDcjxkTw6GhZANiAAQ6tYve9LHW\n"
                               "YgYerAgG0zrsOGqwDquy+80K5cWf1TtbLN764x4fBl6cWAAzfWNjMMSDCyBQYP+q\n"
                               "1NyEUYn83WmgZ0eYrLhy67lfDykFGo8DGTusnE+SBlaiRy64LXTUtQo=\n"
                               "-----END PRIVATE KEY-----\n";

static const char cert_p521[] = "-----BEGIN CERTIFICATE-----\n"
                                "MIICHDCCAX6gAwIBAgIUDmuEX8p62RiX87catP2/wnOX5lgwCgYIKoZIzj0EAwIw\n"
                                "FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTE2NDMwN1oYDzIxMjYxMDI4\n"
                                "MTY0MzA3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwgZswEAYHKoZIzj0CAQYFK4EE\n"
                                "ACMDgYYABABKkF2cji+54JPMJHxTvT0yk9APdvayj183Z+lV3H1TWvWrdgdJfiRG\n"
                                "QCtNceeo1zcv31v9G55z6rwR+SD9AV2DZwC0gQ0Goepn4Nv07Vw8YOU8tGAfgsUo\n"
                                "94MIK2RD/a4mJU+LtxUgpLFJpVwcl9c5iVI0HvvusLots1FDOLcDslbZeKNpMGcw\n"
                                "HQYDVR0OBBYEFG3OUbYlVF3rx3NPaVyL4bRO6dDTMB8GA1UdIwQYMBaAFG3OUbYl\n"
                                "VF3rx3NPaVyL4bRO6dDTMBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAPBgNVHRMBAf8E\n"
                                "BTADAQH/MAoGCCqGSM49BAMCA4GLADCBhwJBWCMbr7iwTKcWP4S9oUNAvuhHb3fK\n"
                                "tZM9wMaOwpM4CYlmGllxP/YzIOUhuNMn+MbY7Op9sRSfYEKaB//niY+jPKYCQgG3\n"
                                "+ekSuWO5yzIXI/cY5PX77IimAC+VbZ+bD5JhS4iaSH5gj9pbkxeUng6RpL4UniOU\n"
                                "86GCFgIlLeIwgZ4oyNrTtw==\n"
                                "-----END CERTIFICATE-----\n";
static const char key_p521[] = "-----BEGIN PRIVATE KEY-----\n"
                               "MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIBkS4Y5hlju4bxzy7Z\n"
                               "7j5yKmhP3VLWDc+qkw3Q0Q7xLnpwdRnVx9kaj1pUZ2MWpzuAGyBgpnOCuEd0D9X1\n"
                               "jF0iVuahgYkDgYYABABKkF2cji+54JPMJHxTvT0yk9APdvayj183Z+lV3H1TWvWr\n"
                               "dgdJfiRGQCtNceeo1zcv31v9G55z6rwR+SD9AV2DZwC0gQ0Goepn4Nv07Vw8YOU8\n"
                               "tGAfgsUo94MIK2RD/a4mJU+LtxUgpLFJpVwcl9c5iVI0HvvusLots1FDOLcDslbZ\n"
                               "eA==\n"
                               "-----END PRIVATE KEY-----\n";

static const char cert_rsa[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIDITCCAgmgAwIBAgIUUaeupFngL5QA+odtpaf+BLCoZwowDQYJKoZIhvcNAQEL\n"
                               "BQAwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTE2NDMwN1oYDzIxMjYx\n"
                               "MDI4MTY0MzA3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwggEiMA0GCSqGSIb3DQEB\n"
                               "AQUAA4IBDwAwggEKAoIBAQCskftwluwbj4OOfJnOck9SBHaLlYzBfcxxhwq969OR\n"
                               "GmfeycARkf8E4gij5T+8GZNVJ2Dr9HkXpVH/0rZE0MN4FYXneuGzKuM4nk5NJfwT\n"
                               "JPH/O9hC6RKRheWkNiJ9NQ7f8y7ACmMhJxy1ANIEZKGwzeULu4tQpqOukBTwOmeh\n"
                               "0HRGRkwoUazv6hNZichagorbP3KFeApUhwBO1RICnk68X/eq0H/e0xe0cQBBTEh0\n"
                               "TRZAMy5FimJFghCsUeOwPyV//f01FjUYVqRqfLN7gprcvSpIf6QNGebGq9kD8q9X\n"
                               "BdbiC3W8fmcdOV4AmM5LI3EZxhVB8UcEfYUmqu6zD1S5AgMBAAGjaTBnMB0GA1Ud\n"
                               "DgQWBBQfuIasv9lxtOdU115HqMaPMRFJvzAfBgNVHSMEGDAWgBQfuIasv9lxtOdU\n"
                               "115HqMaPMRFJvzAUBgNVHREEDTALgglsb2NhbGhvc3QwDwYDVR0TAQH/BAUwAwEB\n"
                               "/zANBgkqhkiG9w0BAQsFAAOCAQEAVmoTqveydhQFVSAFNSv6bcJUBy8MYHhqhQQe\n"
                               "MjmWBNS54+f71aMFcNhkTSPYgt8OYZ8hNmAw8metsqSuO6GjR49wv15DiEu8PYep\n"
                               "3fsfc/IJhlsBBaS0dvqzgDCCSQ6b3SM9I9w//Ov5hRe5r5UMgesGP59T4Sb91vB0\n"
                               "Q+G/OFiww0sO2HpUI6mvi+JficyLXIl2vk8ZkYQNb3O9oZ9YIjUyMjujrCrphXaT\n"
                               "CQTyYHFJrHOffUSMwMpd/YH8qi9UkkmwyhH0MgjKmG+4OqPj4uf9eahOJqoTUHqN\n"
                               "Sof2Q75Aas+n2tS3uXd69dmbRXOo7tbs0snyndwEhuGhIdm/+Q==\n"
                               "-----END CERTIFICATE-----\n";
static const char key_rsa[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQCskftwluwbj4OO\n"
                              "fJnOck9SBHaLlYzBfcxxhwq969ORGmfeycARkf8E4gij5T+8GZNVJ2Dr9HkXpVH/\n"
                              "0rZE0MN4FYXneuGzKuM4nk5NJfwTJPH/O9hC6RKRheWkNiJ9NQ7f8y7ACmMhJxy1\n"
                              "ANIEZKGwzeULu4tQpqOukBTwOmeh0HRGRkwoUazv6hNZichagorbP3KFeApUhwBO\n"
                              "1RICnk68X/eq0H/e0xe0cQBBTEh0TRZAMy5FimJFghCsUeOwPyV//f01FjUYVqRq\n"
                              "fLN7gprcvSpIf6QNGebGq9kD8q9XBdbiC3W8fmcdOV4AmM5LI3EZxhVB8UcEfYUm\n"
                              "qu6zD1S5AgMBAAECggEAGqkvDHT0o0lnzMKpTIDSilxQKD6BkX8q77sqSK8/b2KB\n"
                              "+6R1vQEuQgXdydxoHVpiLby4t5t8fc+3vGtEZ5tNJ6dDmcCdT/3nPt8OP9MHf7ms\n"
                              "fX80aRnzGXJzSQxoBaoF00mRxm+UYxHU2I345F7bsCIPKeHeoyYrkZOG+Jo9Wn1F\n"
                              "sKhlvVBtC1aDUdrG/4tolDdFaeLiLPbQ0ClOGG3tsSFkamvcO72jblcfKmxqWi71\n"
                              "VfiIqSfUado2FBBS+olV40kesVLo/2dq+Fj06CGor2RCEHodVcGXNoArDkMsWpZi\n"
                              "sbCktR1kXYAZFpEuSqgGZceI+xZbYdi2Du7wGE26ZQKBgQDq5VEHGznKk7Fv9B7u\n"
                              "9MrLROi1idvkSpPyf37NM9HDT+/JNCvnWRfK6c61YRsIC+QHRdAh6MdhgpNYnSyA\n"
                              "gNy4dtAtt0y/REL84MjDWQH2awC31TilevtOZaByIcnYCB7bG2mhzx7bnS39ztrL\n"
                              "6GmHe7/Pc0vHfEL/LXqozkB/FwKBgQC8Eyg7bN1eO3blYMM+4QRudec+z9x4Kjy8\n"
                              "rJ5/n/9wKn7bj+UHLM+sqzehycavdxE1fMEWr6FPdAFn04QtB8goZkY1x2yCIj6G\n"
                              "zRYibB11Q13mGxUWsec/24+Y/D8tLbYG0rWW/8CMHBXUFEEcNGXkg86HExtcLhbG\n"
                              "NCAkIjOsrwKBgHWYvIocPUCH1GtCAkKLVwOQyhgonmeaVpsu7SJ6cOehG2DVt60o\n"
                              "01qI1y3DIa9TlKN3dg2j5j2RC4dvmJn06YuIIAzjGY8f85F6T8hMxUjCpSdjnepq\n"
                              "uWm0QzEgbVa0Kg5zmNyjPsWf2SiZ6Lvw7PQhJhQLmsKSGVB7Sk88gtmdAoGBAKS3\n"
                              "DnRFGvctkyq+/SBzyALKBfXP7CHdtAX2FHZn9ToSLbozov0OtO9foMB0TCteV1cF\n"
                              "5MHunZNNYPHCoK8jcpxXPkRZXOH4BdTfhvQsxfvuPS2LKIQQ2RvnOjNdMCNsNlBx\n"
                              "eBI/+S18Z22vM3r1NQvWmClahYrM3qtF+aRLxAAHAoGBAKZeohUPYTK9ao+B7oEf\n"
                              "BIOUs5CvFrQdRxy4pkMcr/s+vjYdx7pvRcUTFXL5eXnmdt8AnxEukMhp1ixwr//Z\n"
                              "Ajk5SE9u+p6osCGREtyEPqYPN1ZXMYwlfHdBR1ExSKRV7ob9ZC/1BqRBM4Zj3f2z\n"
                              "DIDbTmiVg6wFDx+tJrERVOe9\n"
                              "-----END PRIVATE KEY-----\n";

static const struct kind {
    const char *cert, *key;
    bool kept;
} kinds[] = {
    {cert_p256, key_p256, true},
    {cert_p384, key_p384, true},
    {cert_p521, key_p521, true},
    {cert_rsa, key_rsa, false},
};
#define KINDS ((int)(sizeof kinds / sizeof *kinds))

static struct pair pair;
static struct crypto_error error;

static void begin(void) {
    ck_assert(crypto_init());
    memset(&pair, 0, sizeof pair);
}

static void end(void) { crypto_cleanup(); }

static void certify(struct crypto_tls_config *config, const struct kind *kind, bool der) {
    uint8_t cert[4096], key[4096];
    int cert_len = (int)strlen(kind->cert), key_len = (int)strlen(kind->key);
    memcpy(cert, kind->cert, (size_t)cert_len);
    memcpy(key, kind->key, (size_t)key_len);
    if (der) {
        cert_len = wc_CertPemToDer((const byte *)kind->cert, cert_len, cert, sizeof cert, CERT_TYPE);
        key_len = wc_KeyPemToDer((const byte *)kind->key, key_len, key, sizeof key, NULL);
    }
    ck_assert_msg(cert_len > 0 && key_len > 0 &&
                      crypto_tls_config_certificate(config, der ? CRYPTO_DER : CRYPTO_PEM, cert, (size_t)cert_len, key,
                                                    (size_t)key_len, &error),
                  "%s", error.text);
}

static struct crypto_tls_config *config_of(enum crypto_role role, const struct kind *trusted) {
    struct crypto_tls_config *config = crypto_tls_config_new(role, &error);
    unsigned count;
    ck_assert_msg(config != NULL, "%s", error.text);
    pair_alpn(config, "h3");
    if (trusted)
        ck_assert(crypto_tls_config_trust(config, CRYPTO_PEM, (const uint8_t *)trusted->cert, strlen(trusted->cert),
                                          &count, &error));
    return config;
}

static void shake_hands(void) {
    pair_run(&pair);
    pair_check_complete(&pair);
    pair_close(&pair);
}

static void release(void) {
    crypto_tls_config_unref(pair.client_config);
    crypto_tls_config_unref(pair.server_config);
}

START_TEST(server)
{
    const struct kind *kind = &kinds[_i / 2];
    pair.client_config = config_of(CRYPTO_CLIENT, kind);
    pair.server_config = config_of(CRYPTO_SERVER, NULL);
    certify(pair.server_config, kind, _i % 2);
#ifdef HAVE_PK_CALLBACKS
    ck_assert_int_eq(pair.server_config->first.signer != NULL, kind->kept);
#endif
    shake_hands();
    shake_hands(); /* the key is as it was */
    release();
}
END_TEST

START_TEST(client)
{
    const struct kind *kind = &kinds[_i];
    pair.client_config = config_of(CRYPTO_CLIENT, &kinds[0]);
    pair.server_config = config_of(CRYPTO_SERVER, kind);
    certify(pair.server_config, &kinds[0], false);
    certify(pair.client_config, kind, false);
    crypto_tls_config_verify(pair.server_config, true);
    shake_hands();
    release();
}
END_TEST

/* Each certificate signs with its own key, whichever of them a session began with. */
START_TEST(two_certificates)
{
    const char *names[] = {"other.example"};
    char cert[4096], key[4096];
    pair_make_cert(names, 1, cert, key);
    struct kind made = {cert, key, true};
    const struct kind *order[] = {_i ? &made : &kinds[1], _i ? &kinds[1] : &made};
    pair.server_config = config_of(CRYPTO_SERVER, NULL);
    certify(pair.server_config, order[0], false);
    certify(pair.server_config, order[1], false);
    pair.client_config = config_of(CRYPTO_CLIENT, &kinds[1]);
    shake_hands();
    crypto_tls_config_unref(pair.client_config);
    pair.client_config = config_of(CRYPTO_CLIENT, &made);
    pair.server_name = "other.example";
    shake_hands();
    release();
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("tls_sign");
    TCase *tests = tcase_create("sign");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, server, 0, 2 * KINDS);
    tcase_add_loop_test(tests, client, 0, KINDS);
    tcase_add_loop_test(tests, two_certificates, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
