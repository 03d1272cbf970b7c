/* test_base.c — libodto: errors, slices, buffers, uuids, times, algorithms (odto/base.h). */
#include <odto/base.h>
#include <check.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static odto_slice S(const char *s)
{
    return odto_slice_str(s);
}

START_TEST(error_text_has_all_parts)
{
    odto_error err;
    char text[1500];
    ck_assert_int_eq(odto_fail(&err, -EINVAL, "bad %d", 7), -EINVAL);
    ck_assert_int_eq(err.code, -EINVAL);
    ck_assert_str_eq(odto_error_text(&err, text, sizeof text), "bad 7");
    odto_error_detail(&err, "it is %s", "blue");
    odto_error_hint(&err, "paint it");
    odto_error_where(&err, "odto.ini", 3, 9);
    ck_assert_str_eq(odto_error_text(&err, text, sizeof text), "odto.ini:3:9: bad 7: it is blue. paint it");
    odto_error_where(&err, "odto.ini", 3, 0);
    ck_assert_str_eq(err.where, "odto.ini:3");
    odto_error_where(&err, "odto.ini", 0, 0);
    ck_assert_str_eq(err.where, "odto.ini");
    /* a new failure forgets the old one's parts */
    odto_fail(&err, -ENOENT, "gone");
    ck_assert_str_eq(odto_error_text(&err, text, sizeof text), "gone");
}
END_TEST

START_TEST(error_may_be_null_and_is_cut)
{
    odto_error err;
    char longer[1000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    ck_assert_int_eq(odto_fail(NULL, -EIO, "%s", longer), -EIO);
    odto_error_detail(NULL, "x");
    odto_error_hint(NULL, "x");
    odto_error_where(NULL, "x", 1, 1);
    odto_fail(&err, -EIO, "%s", longer);
    ck_assert_uint_eq(strlen(err.message), sizeof err.message - 1);
    char small[8];
    ck_assert_uint_eq(strlen(odto_error_text(&err, small, sizeof small)), 7);
}
END_TEST

START_TEST(slices)
{
    ck_assert(odto_slice_eq(S("abc"), "abc"));
    ck_assert(!odto_slice_eq(S("abc"), "ab"));
    ck_assert(odto_slice_eq(S(NULL), ""));
    char *copy = odto_slice_dup(odto_slice_of("abcdef", 3));
    ck_assert_str_eq(copy, "abc");
    free(copy);
    copy = odto_slice_dup(odto_slice_of(NULL, 0));
    ck_assert_str_eq(copy, "");
    free(copy);
}
END_TEST

/* ---- buffer -------------------------------------------------------------------------------- */

START_TEST(buffer_grows_and_ends_with_nul)
{
    odto_buf b = {0};
    char expected[2001];
    for (int i = 0; i < 1000; i++) {
        ck_assert(odto_buf_put(&b, "ab", 2));
        memcpy(expected + (size_t)i * 2, "ab", 3);
    }
    ck_assert_uint_eq(b.n, 2000);
    ck_assert_str_eq(b.p, expected);
    odto_buf_clear(&b);
    ck_assert_str_eq(b.p, "");
    ck_assert(odto_buf_printf(&b, "%s-%d", "x", 5) && odto_buf_int(&b, INT64_MIN) && odto_buf_int(&b, 0));
    ck_assert_str_eq(b.p, "x-5-92233720368547758080");
    odto_buf_free(&b);
}
END_TEST

START_TEST(buffer_over_its_bound_is_unchanged)
{
    odto_buf b = {.max = 10};
    ck_assert(odto_buf_str(&b, "12345678"));
    ck_assert(!odto_buf_str(&b, "abc"));
    ck_assert(b.failed);
    ck_assert_str_eq(b.p, "12345678");
    ck_assert(!odto_buf_str(&b, "a")); /* the failure stays, though this one would fit */
    odto_buf_clear(&b);
    ck_assert(odto_buf_printf(&b, "%d", 1234567890));
    ck_assert(!odto_buf_printf(&b, "%d", 1));
    ck_assert_str_eq(b.p, "1234567890");
    odto_buf_clear(&b);
    ck_assert(odto_buf_str(&b, "1234"));
    ck_assert(!odto_buf_jsonz(&b, "12345")); /* seven bytes with the quotes */
    ck_assert_str_eq(b.p, "1234");
    odto_buf_clear(&b);
    ck_assert(odto_buf_jsonz(&b, "12345678"));
    ck_assert_str_eq(b.p, "\"12345678\"");
    odto_buf_free(&b);
}
END_TEST

START_TEST(buffer_writes_json_strings)
{
    static const struct {
        const char *in;
        size_t n;
        const char *out;
    } cases[] = {
        {"", 0, "\"\""},
        {"plain text that is longer than one vector", 41, "\"plain text that is longer than one vector\""},
        {"a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\""},
        {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1f\0", 3, "\"\\u0001\\u001f\\u0000\""},
        {"\x7f h\xc3\xa9 \xf0\x9f\x90\xb2", 10, "\"\x7f h\xc3\xa9 \xf0\x9f\x90\xb2\""},
        {"a\xff\xc3", 3, "\"a\xef\xbf\xbd\xef\xbf\xbd\""},               /* invalid */
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a surrogate */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        odto_buf b = {0};
        ck_assert(odto_buf_json(&b, odto_slice_of(cases[i].in, cases[i].n)));
        ck_assert_str_eq(b.p, cases[i].out);
        odto_buf_free(&b);
    }
}
END_TEST

/* ---- uuid ---------------------------------------------------------------------------------- */

START_TEST(uuid_text)
{
    static const char *const good[] = {
        "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "01234567-89ab-cdef-0123-456789abcdef", "01234567-89AB-CDEF-0123-456789ABCDEF"};
    static const char *const bad[] = {"",
                                      "01234567-89ab-cdef-0123-456789abcde",
                                      "01234567-89ab-cdef-0123-456789abcdef0",
                                      "01234567-89ab-cdef-0123-456789abcdeg",
                                      "0123456789abcdef0123456789abcdef0000",
                                      "{01234567-89ab-cdef-0123-456789abcde}",
                                      "urn:uuid:01234567-89ab-cdef-0123-456789abcdef",
                                      "01234567_89ab-cdef-0123-456789abcdef",
                                      "0123456:-89ab-cdef-0123-456789abcdef",
                                      "0123456/-89ab-cdef-0123-456789abcdef",
                                      "0123456@-89ab-cdef-0123-456789abcdef",
                                      "0123456`-89ab-cdef-0123-456789abcdef",
                                      " 1234567-89ab-cdef-0123-456789abcdef",
                                      "01234567-89ab-cdef-0123-456789abcd\xc3\xa9"};
    odto_uuid u = {{1}}, v = {{1}};
    char text[ODTO_UUID_LEN + 1];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_int_eq(odto_uuid_parse(S(good[i]), &u), 0);
        odto_uuid_format(&u, text);
        ck_assert_int_eq(strcasecmp(text, good[i]), 0);
        ck_assert_int_eq(odto_uuid_parse(S(text), &v), 0);
        ck_assert(odto_uuid_eq(&u, &v));
        ck_assert(odto_uuid_is_nil(&u) == (i == 0));
    }
    ck_assert_str_eq(text, "01234567-89ab-cdef-0123-456789abcdef"); /* lower case */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(odto_uuid_parse(S(bad[i]), &u) == -EINVAL, "%s", bad[i]);
        ck_assert(odto_uuid_eq(&u, &v)); /* untouched */
    }
    ck_assert_int_eq(odto_uuid_parse(odto_slice_of(NULL, 0), &u), -EINVAL);
}
END_TEST

START_TEST(uuid_v7_is_ordered_and_timely)
{
    enum { N = 20000 };
    static odto_uuid ids[N];
    int64_t before = odto_unix_ms();
    for (int i = 0; i < N; i++)
        odto_uuid_v7(&ids[i]);
    int64_t after = odto_unix_ms();
    for (int i = 0; i < N; i++) {
        ck_assert_uint_eq(ids[i].b[6] >> 4, 7);
        ck_assert_uint_eq(ids[i].b[8] >> 6, 2);
        if (i)
            ck_assert_int_lt(memcmp(ids[i - 1].b, ids[i].b, 16), 0);
    }
    int64_t first = 0, last = 0;
    for (int i = 0; i < 6; i++) {
        first = first << 8 | ids[0].b[i];
        last = last << 8 | ids[N - 1].b[i];
    }
    ck_assert_int_ge(first, before);
    ck_assert_int_le(first, after);
    /* 4096 or so ids a millisecond may run ahead of the clock, by a bounded time */
    ck_assert_int_le(last, after + N / 2048 + 1);
}
END_TEST

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(odto_uuid));
}

START_TEST(uuid_v4_and_derived_ids_differ)
{
    enum { N = 5000 };
    static odto_uuid ids[4 * N];
    for (int i = 0; i < N; i++) {
        odto_uuid_v4(&ids[4 * i]);
        ck_assert_uint_eq(ids[4 * i].b[6] >> 4, 4);
        odto_uuid_derive(&ids[4 * i], &ids[4 * i + 1]);
        ck_assert_uint_eq(ids[4 * i + 1].b[6] >> 4, 8);
        ck_assert_uint_eq(ids[4 * i + 1].b[8] >> 6, 2);
        odto_uuid_v7(&ids[4 * i + 2]);
        odto_uuid_derive(&ids[4 * i + 2], &ids[4 * i + 3]);
        ck_assert_uint_eq(ids[4 * i + 3].b[6] >> 4, 7);
        ck_assert_int_eq(memcmp(ids[4 * i + 2].b, ids[4 * i + 3].b, 6), 0); /* the time */
    }
    qsort(ids, 4 * N, sizeof ids[0], by_bytes);
    for (int i = 1; i < 4 * N; i++)
        ck_assert(!odto_uuid_eq(&ids[i - 1], &ids[i]));
}
END_TEST

START_TEST(derived_ids_never_change)
{
    /* event ids of earlier runs stand in databases: these pairs are for ever */
    static const char *const pairs[][2] = {
        {"00000000-0000-0000-0000-000000000000", "a706dd2f-4d19-8e6f-9aba-8d5fce9fe1fb"},
        {"f47ac10b-58cc-4372-a567-0e02b2c3d479", "6f65b12d-0dc3-8fc3-bba6-6e21b3423468"},
        {"01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-7b97-970e-619574ffa4dc"},
    };
    for (size_t i = 0; i < 3; i++) {
        odto_uuid job, event;
        char text[ODTO_UUID_LEN + 1];
        odto_uuid_parse(S(pairs[i][0]), &job);
        odto_uuid_derive(&job, &event);
        odto_uuid_format(&event, text);
        ck_assert_str_eq(text, pairs[i][1]);
    }
}
END_TEST

/* ---- time ---------------------------------------------------------------------------------- */

START_TEST(times_that_are)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1969-12-31T23:59:59.999Z", -1},
        {"2025-01-01T00:00:00.5Z", INT64_C(1735689600500)},
        {"2025-01-01T00:00:00.123456789Z", INT64_C(1735689600123)},
        {"2025-01-01T02:00:00+02:00", INT64_C(1735689600000)},
        {"2024-12-31T18:30:00-05:30", INT64_C(1735689600000)},
        {"2025-01-01T00:00:00-00:00", INT64_C(1735689600000)},
        {"2024-02-29T12:00:00Z", INT64_C(1709208000000)},
        {"2000-02-29T00:00:00Z", INT64_C(951782400000)},
        {"2016-12-31T23:59:60Z", INT64_C(1483228800000)},
        {"2016-12-31T15:59:60-08:00", INT64_C(1483228800000)},
        {"2017-01-01T05:29:60.9+05:30", INT64_C(1483228800900)},
        {"0000-01-01T00:00:00Z", INT64_C(-62167219200000)},
        {"9999-12-31T23:59:59.999Z", INT64_C(253402300799999)},
        {"2025-01-01T00:00:00+23:59", INT64_C(1735603260000)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ms = 42;
        ck_assert_msg(odto_time_parse(S(cases[i].text), &ms) == 0, "%s", cases[i].text);
        ck_assert_msg(ms == cases[i].ms, "%s is %lld", cases[i].text, (long long)ms);
    }
}
END_TEST

START_TEST(times_that_are_not)
{
    static const char *const cases[] = {
        "",
        "2025-01-01",
        "2025-01-01T00:00:00",
        "2025-01-01 00:00:00Z",
        "2025-01-01T00:00Z",
        "2025-1-1T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2025-04-31T00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-00-01T00:00:00Z",
        "2025-01-00T00:00:00Z",
        "2025-01-32T00:00:00Z",
        "2025-01-01T24:00:00Z",
        "2025-01-01T00:60:00Z",
        "2025-01-01T00:00:61Z",
        "2025-01-01T00:00:60Z",
        "2025-01-01T23:58:60Z",
        "2025-01-01T22:59:60Z",
        "2016-12-31T23:59:60+01:00",
        "2025-01-01T00:00:00.Z",
        "2025-01-01T00:00:00,5Z",
        "2025-01-01T00:00:00+24:00",
        "2025-01-01T00:00:00+00:60",
        "2025-01-01T00:00:00+0000",
        "2025-01-01T00:00:00+00",
        "2025-01-01T00:00:00 Z",
        "2025-01-01T00:00:00ZZ",
        "2025-01-01T00:00:00Z ",
        " 2025-01-01T00:00:00Z",
        "2025-01-01T00:00:00\xe2\x88\x92"
        "01:00",
        "20250101T000000Z",
        "+2025-01-01T00:00:00Z",
        "2025-01-01T00:00:00.5",
        "2025-01-01T-1:00:00Z",
        "2\xd9\xa0"
        "25-01-01T00:00:00Z",
        "2025-W01-1T00:00:00Z",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ms = 42;
        ck_assert_msg(odto_time_parse(S(cases[i]), &ms) == -EINVAL, "%s", cases[i]);
        ck_assert_int_eq(ms, 42);
    }
}
END_TEST

START_TEST(times_go_round)
{
    char text[25], seconds[21];
    for (int64_t ms = INT64_C(-62167219200000); ms <= INT64_C(253402300799999);
         ms += INT64_C(86399999 * 37)) {
        int64_t back;
        odto_time_format(ms, text);
        ck_assert_int_eq(odto_time_parse(S(text), &back), 0);
        ck_assert_int_eq(back, ms);
    }
    odto_time_format(INT64_C(1735689600007), text);
    ck_assert_str_eq(text, "2025-01-01T00:00:00.007Z");
    odto_time_format_sec(INT64_C(1735689600999), seconds);
    ck_assert_str_eq(seconds, "2025-01-01T00:00:00Z");
    odto_time_format(INT64_MAX, text); /* there is no year 292278994 in RFC 3339 */
    ck_assert_str_eq(text, "9999-12-31T23:59:59.999Z");
    odto_time_format(INT64_MIN, text);
    ck_assert_str_eq(text, "0000-01-01T00:00:00.000Z");
}
END_TEST

START_TEST(durations_and_sizes)
{
    static const struct {
        const char *text;
        int rc;
        int64_t v;
    } durations[] = {
        {"250ms", 0, 250 * ODTO_MS},
        {"1.5s", 0, 1500 * ODTO_MS},
        {"5m", 0, 300 * ODTO_SEC},
        {"2h", 0, 7200 * ODTO_SEC},
        {"1d", 0, 86400 * ODTO_SEC},
        {"30", 0, 30 * ODTO_SEC},
        {"0", 0, 0},
        {"0.25", 0, 250 * ODTO_MS},
        {"10us", 0, 10000},
        {"7ns", 0, 7},
        {"0.5d", 0, 43200 * ODTO_SEC},
        {"1.000000001s", 0, ODTO_SEC + 1},
        {"", -EINVAL, 0},
        {"-1s", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {"1.s", -EINVAL, 0},
        {".5s", -EINVAL, 0},
        {"1x", -EINVAL, 0},
        {"1sec", -EINVAL, 0},
        {"0.5ns", -EINVAL, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"200000d", -ERANGE, 0},
    };
    static const struct {
        const char *text;
        int rc;
        int64_t v;
    } sizes[] = {
        {"0", 0, 0},         {"64k", 0, 65536},           {"64K", 0, 65536},  {"64KiB", 0, 65536},
        {"1m", 0, 1 << 20},  {"2g", 0, INT64_C(2) << 30}, {"1.5k", 0, 1536},  {"12b", 0, 12},
        {"1.5", -EINVAL, 0}, {"-1", -EINVAL, 0},          {"1t", -EINVAL, 0}, {"9999999999999g", -ERANGE, 0},
        {"", -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        int64_t v = 0;
        ck_assert_msg(odto_duration_parse(S(durations[i].text), &v) == durations[i].rc, "%s",
                      durations[i].text);
        ck_assert_msg(v == durations[i].v, "%s is %lld", durations[i].text, (long long)v);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int64_t v = 0;
        ck_assert_msg(odto_size_parse(S(sizes[i].text), &v) == sizes[i].rc, "%s", sizes[i].text);
        ck_assert_msg(v == sizes[i].v, "%s is %lld", sizes[i].text, (long long)v);
    }
}
END_TEST

START_TEST(clocks_run)
{
    int64_t a = odto_now_ns(), b = odto_now_ns();
    ck_assert_int_ge(b, a);
    ck_assert_int_gt(odto_unix_ms(), INT64_C(1700000000000));
}
END_TEST

/* ---- algorithms ---------------------------------------------------------------------------- */

START_TEST(crc32c_vectors)
{
    /* RFC 3720, B.4 */
    unsigned char block[32];
    memset(block, 0, sizeof block);
    ck_assert_uint_eq(odto_crc32c(0, block, 32), 0x8A9136AA);
    memset(block, 0xFF, sizeof block);
    ck_assert_uint_eq(odto_crc32c(0, block, 32), 0x62A8AB43);
    for (unsigned char i = 0; i < 32; i++)
        block[i] = i;
    ck_assert_uint_eq(odto_crc32c(0, block, 32), 0x46DD794E);
    ck_assert_uint_eq(odto_crc32c(0, "123456789", 9), 0xE3069283);
    ck_assert_uint_eq(odto_crc32c(0, "", 0), 0);
    /* piece by piece */
    ck_assert_uint_eq(odto_crc32c(odto_crc32c(0, "1234", 4), "56789", 5), 0xE3069283);
}
END_TEST

START_TEST(hashes_spread)
{
    enum { N = 4096 };
    unsigned buckets[64] = {0};
    char key[16];
    for (int i = 0; i < N; i++) {
        int n = snprintf(key, sizeof key, "job-%d", i);
        uint64_t h = odto_hash64(key, (size_t)n);
        ck_assert_uint_eq(h, odto_hash64(key, (size_t)n));
        buckets[h & 63]++;
    }
    for (int i = 0; i < 64; i++)
        ck_assert(buckets[i] > N / 64 / 2 && buckets[i] < N / 64 * 2);
    /* every length is read to its end */
    char text[40];
    memset(text, 'a', sizeof text);
    for (size_t n = 1; n < sizeof text; n++) {
        uint64_t h = odto_hash64(text, n);
        ck_assert(h != odto_hash64(text, n - 1));
        for (size_t i = 0; i < n; i++) {
            text[i] = 'b';
            ck_assert_msg(h != odto_hash64(text, n), "length %zu byte %zu", n, i);
            text[i] = 'a';
        }
    }
    ck_assert(odto_random64() != odto_random64());
}
END_TEST

START_TEST(base64_vectors)
{
    /* RFC 4648, 10 */
    static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    static const char *const padded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    static const char *const bare[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
    char out[16];
    for (size_t i = 0; i < 7; i++) {
        odto_base64(plain[i], i, out);
        ck_assert_str_eq(out, padded[i]);
        odto_base64url(plain[i], i, out);
        ck_assert_str_eq(out, bare[i]);
    }
    odto_base64("\xfb\xff\xfe", 3, out);
    ck_assert_str_eq(out, "+//+");
    odto_base64url("\xfb\xff\xfe", 3, out);
    ck_assert_str_eq(out, "-__-");
}
END_TEST

START_TEST(utf8)
{
    static const char *const good[] = {"",
                                       "plain ascii of more than eight bytes",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "12345678\xc3\xa9"
                                       "12345678"};
    static const char *const bad[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xc3",
        "\xc3(",        "\xe0\x9f\xbf",     "\xe2\x82",         "\xed\xa0\x80",
        "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xff",         "\xf0\x9f\x90",     "12345678\xc3"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(odto_utf8_valid(S(good[i])), "good %zu", i);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!odto_utf8_valid(S(bad[i])), "bad %zu", i);
    ck_assert(odto_utf8_valid(odto_slice_of("a\0b", 3)));
    ck_assert(odto_utf8_valid(odto_slice_of(NULL, 0)));
}
END_TEST

START_TEST(secrets_and_suggestions)
{
    static const char *const names[] = {"listen", "max_body", "database", "routes", "x"};
    ck_assert(odto_equal_secret(S("token"), S("token")));
    ck_assert(!odto_equal_secret(S("token"), S("tokem")));
    ck_assert(!odto_equal_secret(S("token"), S("toke")));
    ck_assert(odto_equal_secret(S(""), odto_slice_of(NULL, 0)));
    ck_assert_str_eq(odto_nearest("lissten", names, 5), "listen");
    ck_assert_str_eq(odto_nearest("maxbody", names, 5), "max_body");
    ck_assert_str_eq(odto_nearest("DATABASE", names, 5), "database");
    ck_assert_str_eq(odto_nearest("routse", names, 5), "routes");
    ck_assert_ptr_null(odto_nearest("telemetry", names, 5));
    ck_assert_ptr_null(odto_nearest("y", names, 5)); /* nothing in common */
    ck_assert_ptr_null(odto_nearest("listen", names, 0));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base");
    TCase *t = tcase_create("base");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, error_text_has_all_parts);
    tcase_add_test(t, error_may_be_null_and_is_cut);
    tcase_add_test(t, slices);
    tcase_add_test(t, buffer_grows_and_ends_with_nul);
    tcase_add_test(t, buffer_over_its_bound_is_unchanged);
    tcase_add_test(t, buffer_writes_json_strings);
    tcase_add_test(t, uuid_text);
    tcase_add_test(t, uuid_v7_is_ordered_and_timely);
    tcase_add_test(t, uuid_v4_and_derived_ids_differ);
    tcase_add_test(t, derived_ids_never_change);
    tcase_add_test(t, times_that_are);
    tcase_add_test(t, times_that_are_not);
    tcase_add_test(t, times_go_round);
    tcase_add_test(t, durations_and_sizes);
    tcase_add_test(t, clocks_run);
    tcase_add_test(t, crc32c_vectors);
    tcase_add_test(t, hashes_spread);
    tcase_add_test(t, base64_vectors);
    tcase_add_test(t, utf8);
    tcase_add_test(t, secrets_and_suggestions);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
