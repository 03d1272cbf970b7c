/* The terminal broker's parts that are pure: ring and frames, UTF-8, input filter, tokens and tickets with a
 * time of our own, addresses and origins. */
#include "pty.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1024 };

static uint64_t random_next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* ---- the ring ------------------------------------------------------------------------------------ */

/* What stands at an offset of every stream of these tests. */
static char byte_at(uint64_t offset)
{
    return (char)('a' + (offset ^ offset >> 9 ^ offset >> 17) % 26);
}

/* Append up to n bytes; how many there was room for. */
static size_t append(ring *r, size_t n, uint64_t keep)
{
    size_t done = 0;
    char *at;
    for (size_t room; done < n && (room = ring_room(r, n - done, keep, &at)); done += room) {
        ck_assert_uint_le(room, n - done);
        for (size_t i = 0; i < room; i++)
            at[i] = byte_at(r->head + i);
        ring_wrote(r, room);
    }
    return done;
}

static void check_content(const ring *r)
{
    ck_assert_uint_le(r->head - r->tail, r->cap);
    ck_assert_uint_le(r->cap, r->max);
    for (uint64_t o = r->tail; o < r->head;) {
        odto_slice s = ring_at(r, o, r->head);
        ck_assert_uint_gt(s.n, 0);
        size_t same = 0;
        while (same < s.n && s.p[same] == byte_at(o + same))
            same++;
        ck_assert_uint_eq(same, s.n);
        o += s.n;
    }
}

START_TEST(ring_wraps_and_keeps_the_newest)
{
    ring r;
    ck_assert_int_eq(ring_init(&r, 16 * KIB, 16 * KIB, 4), 0);
    for (int i = 0; i < 50; i++) {
        ck_assert_uint_eq(append(&r, 1000, r.head), 1000);
        check_content(&r);
    }
    ck_assert_uint_eq(r.head, 50000);
    ck_assert_uint_eq(r.head - r.tail, 16 * KIB);
    ck_assert_uint_eq(ring_at(&r, r.head, r.head).n, 0);
    ring_free(&r);
}
END_TEST

START_TEST(ring_loses_nothing_that_is_kept)
{
    ring r;
    ck_assert_int_eq(ring_init(&r, 64 * KIB, 16 * KIB, 4), 0);
    ck_assert_uint_eq(append(&r, 100 * KIB, 0), 64 * KIB); /* grown to its maximum, then no room */
    ck_assert_uint_eq(r.cap, 64 * KIB);
    ck_assert_uint_eq(append(&r, 1, 0), 0);
    ck_assert_uint_eq(append(&r, 100, 60), 60);
    ck_assert_uint_eq(r.tail, 60);
    check_content(&r);
    ring_free(&r);
}
END_TEST

START_TEST(ring_grows_only_for_what_is_needed_and_shrinks)
{
    ring r;
    ck_assert_int_eq(ring_init(&r, 64 * KIB, 16 * KIB, 4), 0);
    append(&r, 200 * KIB, UINT64_MAX); /* keep beyond the head is of no use, and harmless */
    ring_free(&r);
    ck_assert_int_eq(ring_init(&r, 64 * KIB, 16 * KIB, 4), 0);
    for (int i = 0; i < 100; i++)
        append(&r, 700, r.head);
    ck_assert_uint_eq(r.cap, 16 * KIB); /* history alone does not make it larger */
    uint64_t keep = r.head;
    append(&r, 40 * KIB, keep);
    ck_assert_uint_eq(r.head - keep, 40 * KIB);
    ring_shrink(&r, keep);
    ck_assert_uint_eq(r.cap, 64 * KIB); /* somebody needs more than fits */
    ring_shrink(&r, r.head - 10);
    ck_assert_uint_eq(r.cap, 16 * KIB);
    ck_assert_uint_eq(r.head - r.tail, 16 * KIB);
    check_content(&r);
    ring_free(&r);
}
END_TEST

START_TEST(ring_starts_anywhere)
{
    ring r;
    uint64_t end;
    ck_assert_int_eq(ring_init(&r, 16 * KIB, 16 * KIB, 4), 0);
    ring_start(&r, (UINT64_C(1) << 40) - 5, 7);
    for (int i = 0; i < 20; i++)
        append(&r, KIB, r.head);
    check_content(&r);
    ck_assert_uint_eq(r.head, (UINT64_C(1) << 40) - 5 + 20 * KIB);
    ck_assert(ring_frame_end(&r, 7, &end));
    ck_assert_uint_eq(end, (UINT64_C(1) << 40) - 5);
    ck_assert(!ring_frame_end(&r, 8, &end));
    ck_assert(ring_cut(&r, false));
    ck_assert_uint_eq(r.seq, 8);
    ring_free(&r);
}
END_TEST

START_TEST(ring_random_walk)
{
    ring r;
    uint64_t seed = (uint64_t)_i * 77 + 1, keep = 0;
    ck_assert_int_eq(ring_init(&r, 128 * KIB, 16 * KIB, 16), 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t tail = r.tail;
        append(&r, random_next(&seed) % 9000, keep);
        ck_assert_uint_le(r.tail, keep > tail ? keep : tail);
        if (random_next(&seed) % 3 == 0)
            keep += random_next(&seed) % (r.head - keep + 1);
        if (random_next(&seed) % 50 == 0)
            ring_shrink(&r, keep);
        ck_assert_uint_le(r.tail, keep);
        if (i % 20 == 0)
            check_content(&r);
    }
    ring_free(&r);
}
END_TEST

static void put(ring *r, const char *text)
{
    for (size_t n = strlen(text), k; n; n -= k, text += k) {
        char *at;
        k = ring_room(r, n, r->head, &at);
        ck_assert_uint_gt(k, 0);
        memcpy(at, text, k);
        ring_wrote(r, k);
    }
}

START_TEST(frames_are_numbered_and_forgotten)
{
    ring r;
    uint64_t end;
    ck_assert_int_eq(ring_init(&r, 16 * KIB, 16 * KIB, 4), 0);
    ck_assert(!ring_cut(&r, false));
    for (uint64_t i = 1; i <= 10; i++) {
        put(&r, "ten bytes.");
        ck_assert(ring_cut(&r, false));
        ck_assert_uint_eq(r.seq, i);
        ck_assert(!ring_cut(&r, true));
    }
    ck_assert(!ring_frame_end(&r, 6, &end));
    ck_assert(!ring_frame_end(&r, 11, &end));
    for (uint64_t f = 7; f <= 10; f++) {
        ck_assert(ring_frame_end(&r, f, &end));
        ck_assert_uint_eq(end, f * 10);
        ck_assert_uint_eq(ring_frame_at(&r, 0, f * 10), f);
        ck_assert_uint_eq(ring_frame_at(&r, 0, f * 10 + 9), f);
    }
    ck_assert_uint_eq(ring_frame_at(&r, 0, 5), 7); /* the oldest that is known */
    ring_free(&r);
}
END_TEST

/* ---- UTF-8 --------------------------------------------------------------------------------------- */

START_TEST(characters_that_are_not_complete)
{
    static const char *const whole[] = {"a", "ö", "€", "😀", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        char text[16] = "xy";
        size_t n = strlen(whole[i]);
        for (size_t k = 1; k <= n; k++) {
            memcpy(text + 2, whole[i], k);
            ck_assert_uint_eq(utf8_partial(text, k + 2), k < n ? k : 0);
            ck_assert_uint_eq(utf8_partial(text + 2, k), k < n ? k : 0);
        }
    }
    /* what no character can begin with is not waited for: overlong, surrogate, beyond the end, stray */
    static const char *const never[] = {"\xc0", "\xe0\x80", "\xed\xa0", "\xf4\x90", "\xf5", "\x80", "\xff"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        ck_assert_uint_eq(utf8_partial(never[i], strlen(never[i])), 0);
    ck_assert_uint_eq(utf8_partial("", 0), 0);
}
END_TEST

static const char *json_of(odto_buf *b, const char *p, size_t n)
{
    odto_buf_clear(b);
    ck_assert(utf8_json(b, p, n));
    odto_buf_put(b, "", 1);
    return b->p;
}

START_TEST(json_text)
{
    odto_buf b = {0};
    ck_assert_str_eq(json_of(&b, "a\"\\\n\r\t\b\f\x1b[m\x7f", 12),
                     "a\\\"\\\\\\n\\r\\t\\b\\f\\u001b[m\\u007f");
    ck_assert_str_eq(json_of(&b, "\0.", 2), "\\u0000.");
    ck_assert_str_eq(json_of(&b, "ö€😀", 9), "ö€😀");
    ck_assert_str_eq(json_of(&b, "\xff.\xc3.\xe2\x82.\xed\xa0\x80", 10),
                     "\xef\xbf\xbd.\xef\xbf\xbd.\xef\xbf\xbd\xef\xbf\xbd."
                     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    ck_assert_str_eq(json_of(&b, "\xf0\x9f", 2), "\xef\xbf\xbd");
    odto_buf_free(&b);
}
END_TEST

/* A text arrives in random pieces and goes out in frames: together they are the text, each alone is valid. */
START_TEST(frames_never_split_a_character)
{
    static const char text[] = "aö€😀\r\n\xed\x9f\xbf.ßß日本語😀😀\x1b[1m…";
    uint64_t seed = (uint64_t)_i + 11;
    odto_buf sent = {0}, json = {0};
    ring r;
    ck_assert_int_eq(ring_init(&r, 16 * KIB, 16 * KIB, 8), 0);
    size_t total = 0, n = sizeof text - 1;
    while (total < 40000) {
        char piece[2] = {text[total++ % n], 0};
        put(&r, piece);
        uint64_t from = r.cut;
        if (random_next(&seed) % 4 || !ring_cut(&r, false))
            continue;
        for (odto_slice s; from < r.cut; from += s.n) {
            s = ring_at(&r, from, r.cut);
            odto_buf_put(&sent, s.p, s.n);
        }
        ck_assert_ptr_null(strstr(json_of(&json, sent.p, sent.n), "\xef\xbf\xbd"));
        odto_buf_clear(&sent);
    }
    ck_assert_uint_le(r.head - r.cut, 3 + 64);
    ring_free(&r);
    odto_buf_free(&sent);
    odto_buf_free(&json);
}
END_TEST

START_TEST(a_character_that_never_comes_is_sent_when_asked)
{
    ring r;
    ck_assert_int_eq(ring_init(&r, 16 * KIB, 16 * KIB, 8), 0);
    put(&r, "ab\xe2\x82");
    ck_assert(ring_cut(&r, false));
    ck_assert_uint_eq(r.cut, 2);
    ck_assert(!ring_cut(&r, false));
    ck_assert(ring_cut(&r, true));
    ck_assert_uint_eq(r.cut, 4);
    ck_assert_uint_eq(r.seq, 2);
    ring_free(&r);
}
END_TEST

/* ---- the filter ------------------------------------------------------------------------------------ */

static const struct {
    const char *in, *out;
    unsigned dropped; /* bits of classes */
} inputs[] = {
    {"q", "q", 0},
    {"jk/\t", "jk/\t", 0},
    {"n", "", 1u << FILTER_NEW},
    {"aN", "a", 1u << FILTER_NEW},
    {"l", "", 1u << FILTER_LAUNCH},
    {"L", "", 1u << FILTER_LAUNCH},
    {"\r", "", 1u << FILTER_ENTER},
    {"\n", "", 1u << FILTER_ENTER},
    {"\003\014\b\177", "\003\014\b\177", 0},
    {"\004", "", 1u << FILTER_CONTROL},
    {"\032\021q", "q", 1u << FILTER_CONTROL},
    {"four", "", 1u << FILTER_PASTE},
    {"äöü", "äöü", 0}, /* three characters */
    {"\033", "\033", 0},
    {"\033\033", "\033\033", 0},
    {"\033[A\033[1;5C\033[5~", "\033[A\033[1;5C\033[5~", 0},
    {"\033OA\033OP", "\033OA\033OP", 0},
    {"\033OM", "", 1u << FILTER_ENTER},
    {"\033Ox", "", 1u << FILTER_CONTROL},
    {"\033[13u", "", 1u << FILTER_CONTROL}, /* Enter in another keyboard protocol */
    {"\033n", "", 1u << FILTER_CONTROL},
    {"\033[I\033[O\033[1;1R\033[?1;2c", "\033[I\033[O\033[1;1R\033[?1;2c", 0},
    {"\033[<0;1;1M", "", 1u << FILTER_MOUSE},
    {"\033[<0;1;1m", "", 1u << FILTER_MOUSE},
    {"\033[<64;1;1M\033[<65;9;9M", "\033[<64;1;1M\033[<65;9;9M", 0},
    {"\033[M !!", "", 1u << FILTER_MOUSE},
    {"\033[M`!!q", "\033[M`!!q", 0},
    {"\033[", "", 1u << FILTER_CONTROL},
    {"\033[1;", "", 1u << FILTER_CONTROL},
    {"\033[12\rn", "", 1u << FILTER_CONTROL},
    {"\033]52;c;bg==\007q", "", 1u << FILTER_CONTROL},
    {"\033P\033\\n", "", 1u << FILTER_CONTROL},
    {"\033]11;rgb:1e1e/1E1e/0000\033\\q", "\033]11;rgb:1e1e/1E1e/0000\033\\q",
     0}, /* the background, asked for */
    {"\033]10;rgb:ff/ff/ff\007", "\033]10;rgb:ff/ff/ff\007", 0},
    {"\033]11;rgb:1e1e/n", "", 1u << FILTER_CONTROL},
    {"\033]11;rgb:1e1e", "", 1u << FILTER_CONTROL},
    {"\033]12;rgb:ff/ff/ff\007", "", 1u << FILTER_CONTROL},
    {"\033[200~rm\r\033[201~q", "q", 1u << FILTER_PASTE},
    {"\033[200~\033[201~", "", 1u << FILTER_PASTE},
};

static unsigned filtered(filter *f, const char *in, odto_buf *out)
{
    odto_buf_clear(out);
    filter_input(f, odto_slice_str(in), out);
    unsigned dropped = f->dropped;
    odto_buf_put(out, "", 1);
    return dropped;
}

START_TEST(filter_by_class)
{
    filter f = {0};
    odto_buf out = {0};
    ck_assert_uint_eq(filtered(&f, inputs[_i].in, &out), inputs[_i].dropped);
    ck_assert_str_eq(out.p, inputs[_i].out);
    odto_buf_free(&out);
}
END_TEST

/* What goes over several messages. */
START_TEST(filter_across_messages)
{
    filter f = {0};
    odto_buf out = {0};
    filtered(&f, "\033[200~begin", &out);
    ck_assert_uint_eq(filtered(&f, "q\r", &out), 1u << FILTER_PASTE);
    ck_assert_str_eq(out.p, "");
    filtered(&f, "still\033[201~q", &out);
    ck_assert_str_eq(out.p, "q");
    static const char end[] = "\033[201~";
    for (size_t cut = 1; cut < sizeof end - 1; cut++) { /* its end may come in two pieces */
        char first[8] = "", second[16];
        memcpy(first, end, cut);
        snprintf(second, sizeof second, "%sjk", end + cut);
        filtered(&f, "\033[200~x", &out);
        filtered(&f, first, &out);
        ck_assert_str_eq(out.p, "");
        filtered(&f, second, &out);
        ck_assert_str_eq(out.p, "jk");
    }
    filtered(&f, "\033", &out); /* Esc, then what would make a sequence of it */
    ck_assert_str_eq(out.p, "\033");
    ck_assert_uint_eq(filtered(&f, "[<0;1;1M", &out), 1u << FILTER_CONTROL);
    ck_assert_str_eq(out.p, "");
    filtered(&f, "q", &out);
    ck_assert_str_eq(out.p, "q");
    odto_buf_free(&out);
}
END_TEST

START_TEST(filter_lets_nothing_new_through)
{
    static const char *const pieces[] = {"\033", "[", "200~",    "201~", "n",    "l", "\r", "q",
                                         "O",    "M", "<0;1;1M", "]",    "\004", "ä", "~",  "1;2"};
    uint64_t seed = (uint64_t)_i * 3 + 5;
    filter f = {0};
    odto_buf out = {0}, in = {0};
    for (int i = 0; i < 2000; i++) {
        odto_buf_clear(&in);
        for (uint64_t k = random_next(&seed) % 6 + 1; k; k--)
            odto_buf_str(&in, pieces[random_next(&seed) % (sizeof pieces / sizeof *pieces)]);
        odto_buf_clear(&out);
        filter_input(&f, odto_slice_of(in.p, in.n), &out);
        ck_assert_uint_le(out.n, in.n);
        for (size_t k = 0; k < out.n; k++)
            ck_assert_ptr_null(strchr("nNlL\r\n\004", out.p[k]));
    }
    odto_buf_free(&out);
    odto_buf_free(&in);
}
END_TEST

START_TEST(notices_at_most_every_five_seconds)
{
    filter f = {0};
    odto_buf out = {0};
    int64_t now = 100 * ODTO_SEC;
    filtered(&f, "n\r", &out);
    ck_assert_str_eq(filter_notice(&f, now), "⚠ Read-only mode: Task creation disabled");
    ck_assert_str_eq(filter_notice(&f, now), "⚠ Read-only mode: Confirming disabled");
    ck_assert_ptr_null(filter_notice(&f, now));
    filtered(&f, "n", &out);
    ck_assert_ptr_null(filter_notice(&f, now + 5 * ODTO_SEC - 1));
    filtered(&f, "n", &out);
    ck_assert_ptr_nonnull(filter_notice(&f, now + 5 * ODTO_SEC));
    odto_buf_free(&out);
}
END_TEST

/* ---- tokens and tickets ------------------------------------------------------------------------------ */

static odto_slice text_of(const char *s)
{
    return odto_slice_str(s);
}

START_TEST(tokens_rotate)
{
    reconnect_token t = {0};
    char one[SECRET_TEXT + 1], two[SECRET_TEXT + 1], three[SECRET_TEXT + 1];
    ck_assert(!token_is(&t, text_of("")));
    ck_assert_int_eq(token_rotate(&t, one), 0);
    ck_assert_uint_eq(strlen(one), SECRET_TEXT);
    ck_assert_uint_eq(strspn(one, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
                      SECRET_TEXT);
    ck_assert(token_is(&t, text_of(one)));
    ck_assert_int_eq(token_rotate(&t, two), 0);
    ck_assert_str_ne(one, two);
    ck_assert(token_is(&t, text_of(one))); /* the answer with the new one may have been lost */
    ck_assert(token_is(&t, text_of(two)));
    token_confirmed(&t);
    ck_assert(!token_is(&t, text_of(one)));
    ck_assert(token_is(&t, text_of(two)));
    ck_assert_int_eq(token_rotate(&t, one), 0);
    ck_assert_int_eq(token_rotate(&t, three), 0);
    ck_assert(!token_is(&t, text_of(two))); /* two before */
    three[0] ^= 1;
    ck_assert(!token_is(&t, text_of(three)));
    ck_assert(!token_is(&t, odto_slice_of(one, SECRET_TEXT - 1)));
}
END_TEST

static int64_t fake_now;

static int64_t now_of(odto_host *h)
{
    (void)h;
    return fake_now;
}

START_TEST(tokens_are_good_for_their_time)
{
    static const odto_host_api api = {.now = now_of};
    odto_host h = {.api = &api};
    pty p = {.host = &h, .set = {.token_ttl = 300 * ODTO_SEC, .grace = 30 * ODTO_SEC}};
    session s = {.pty = &p, .state = SESSION_CONNECTED, .since = 5};
    char text[SECRET_TEXT + 1];
    ck_assert_int_eq(token_rotate(&s.token, text), 0);
    fake_now = 86400 * ODTO_SEC;
    ck_assert(session_token_valid(&s, text_of(text))); /* as long as somebody is there */
    s.state = SESSION_DISCONNECTED;
    s.since = fake_now;
    fake_now = s.since + 300 * ODTO_SEC;
    ck_assert(session_token_valid(&s, text_of(text)));
    fake_now++;
    ck_assert(!session_token_valid(&s, text_of(text)));
    s.state = SESSION_IDLE; /* that state began when the grace was over */
    fake_now = s.since + 270 * ODTO_SEC;
    ck_assert(session_token_valid(&s, text_of(text)));
    fake_now++;
    ck_assert(!session_token_valid(&s, text_of(text)));
    fake_now = s.since;
    ck_assert(!session_token_valid(&s, text_of("no")));
}
END_TEST

START_TEST(tickets_are_good_once_and_in_time)
{
    ticket_table *t = calloc(1, sizeof *t);
    ticket got;
    char text[SECRET_TEXT + 1], late[SECRET_TEXT + 1];
    int64_t now = 7 * ODTO_SEC;
    ck_assert_int_eq(ticket_issue(t, now + TICKET_NS, true, "0198a7c0-0000-7000-8000-000000000001", text), 0);
    ck_assert_int_eq(ticket_issue(t, now + TICKET_NS, false, "", late), 0);
    ck_assert(!ticket_use(t, text_of("x"), now, &got));
    ck_assert(ticket_use(t, text_of(text), now + TICKET_NS, &got));
    ck_assert(got.viewer);
    ck_assert_str_eq(got.session, "0198a7c0-0000-7000-8000-000000000001");
    ck_assert(!ticket_use(t, text_of(text), now, &got));
    ck_assert(!ticket_use(t, text_of(late), now + TICKET_NS + 1, &got));
    ck_assert(!ticket_use(t, text_of(late), now, &got)); /* spent all the same */
    free(t);
}
END_TEST

START_TEST(the_oldest_of_too_many_tickets_goes)
{
    ticket_table *t = calloc(1, sizeof *t);
    static char texts[MAX_TICKETS + 1][SECRET_TEXT + 1];
    ticket got;
    for (int i = 0; i <= MAX_TICKETS; i++)
        ck_assert_int_eq(ticket_issue(t, 1000 + i, false, "", texts[i]), 0);
    ck_assert(!ticket_use(t, text_of(texts[0]), 0, &got));
    for (int i = 1; i <= MAX_TICKETS; i++)
        ck_assert(ticket_use(t, text_of(texts[i]), 0, &got));
    free(t);
}
END_TEST

/* ---- addresses, origins -------------------------------------------------------------------------------- */

START_TEST(netmasks)
{
    netmask m[2];
    ck_assert_int_eq(netmask_parse("10.1.0.0/17", &m[0]), 0);
    ck_assert_int_eq(netmask_parse("2001:db8::/33", &m[1]), 0);
    ck_assert(netmask_has(m, 2, text_of("10.1.127.255")));
    ck_assert(!netmask_has(m, 2, text_of("10.1.128.0")));
    ck_assert(netmask_has(m, 2, text_of("::ffff:10.1.0.9")));
    ck_assert(netmask_has(m, 2, text_of("2001:db8:7fff::1")));
    ck_assert(!netmask_has(m, 2, text_of("2001:db8:8000::1")));
    ck_assert(!netmask_has(m, 2, text_of("10.1.0.1x")));
    static const char *const bad[] = {"",       "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8x",
                                      "::/129", "a/8",         "10.0.0/8",  "::/-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_ne(netmask_parse(bad[i], &m[0]), 0);
    ck_assert(address_is_loopback(text_of("127.9.9.9")));
    ck_assert(address_is_loopback(text_of("::1")));
    ck_assert(address_is_loopback(text_of("::ffff:127.0.0.1")));
    ck_assert(!address_is_loopback(text_of("128.0.0.1")));
}
END_TEST

static const struct {
    const char *peer, *forwarded, *client;
} clients[] = {
    {"9.9.9.9", "1.2.3.4", "9.9.9.9"}, /* not from a proxy of ours: said by anybody */
    {"10.0.0.1", "1.2.3.4", "1.2.3.4"},
    {"10.0.0.1", "", "10.0.0.1"},
    {"10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"}, /* the client wrote the first itself */
    {"10.0.0.1", "6.6.6.6,1.2.3.4 ,\t10.0.0.2", "1.2.3.4"},
    {"10.0.0.1", "1.2.3.4, nonsense", "10.0.0.1"},
    {"10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
    {"10.0.0.1", "1.2.3.4,", "10.0.0.1"},
};

START_TEST(clients_behind_proxies)
{
    netmask own;
    char out[46];
    ck_assert_int_eq(netmask_parse("10.0.0.0/24", &own), 0);
    client_address(&own, 1, text_of(clients[_i].peer), text_of(clients[_i].forwarded), out);
    ck_assert_str_eq(out, clients[_i].client);
}
END_TEST

START_TEST(hosts_and_origins)
{
    static const char *const names[] = {"odto.example.org"}, *const pages[] = {"https://page.example.org"};
    static const char *const yes[] = {"127.0.0.1:9000", "localhost", "LOCALHOST:1", "[::1]:9000",
                                      "odto.example.org:80"};
    static const char *const no[] = {"",     "evil.example",  "odto.example.org.evil", "localhost.evil",
                                     "[::1", "127.0.0.1.evil"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        ck_assert(host_allowed(text_of(yes[i]), names, 1));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        ck_assert(!host_allowed(text_of(no[i]), names, 1));
    odto_slice host = text_of("localhost:9000");
    ck_assert(origin_allowed(text_of("http://localhost:9000"), host, pages, 1));
    ck_assert(origin_allowed(text_of("https://page.example.org"), host, pages, 1));
    ck_assert(!origin_allowed(text_of("http://page.example.org"), host, pages, 1));
    ck_assert(!origin_allowed(text_of("http://localhost:9001"), host, pages, 1));
    ck_assert(!origin_allowed(text_of("http://localhost:9000.evil"), host, pages, 1));
    ck_assert(!origin_allowed(text_of("null"), host, pages, 1));
    ck_assert(!origin_allowed(text_of(""), host, pages, 1));
}
END_TEST

static TCase *ring_case(void)
{
    TCase *t = tcase_create("ring");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, ring_wraps_and_keeps_the_newest);
    tcase_add_test(t, ring_loses_nothing_that_is_kept);
    tcase_add_test(t, ring_grows_only_for_what_is_needed_and_shrinks);
    tcase_add_test(t, ring_starts_anywhere);
    tcase_add_loop_test(t, ring_random_walk, 0, 5);
    tcase_add_test(t, frames_are_numbered_and_forgotten);
    tcase_add_test(t, characters_that_are_not_complete);
    tcase_add_test(t, json_text);
    tcase_add_loop_test(t, frames_never_split_a_character, 0, 5);
    tcase_add_test(t, a_character_that_never_comes_is_sent_when_asked);
    return t;
}

static TCase *filter_case(void)
{
    TCase *t = tcase_create("filter");
    tcase_add_loop_test(t, filter_by_class, 0, (int)(sizeof inputs / sizeof *inputs));
    tcase_add_test(t, filter_across_messages);
    tcase_add_loop_test(t, filter_lets_nothing_new_through, 0, 5);
    tcase_add_test(t, notices_at_most_every_five_seconds);
    return t;
}

static TCase *auth_case(void)
{
    TCase *t = tcase_create("who may do what");
    tcase_add_test(t, tokens_rotate);
    tcase_add_test(t, tokens_are_good_for_their_time);
    tcase_add_test(t, tickets_are_good_once_and_in_time);
    tcase_add_test(t, the_oldest_of_too_many_tickets_goes);
    tcase_add_test(t, netmasks);
    tcase_add_loop_test(t, clients_behind_proxies, 0, (int)(sizeof clients / sizeof *clients));
    tcase_add_test(t, hosts_and_origins);
    return t;
}

int main(void)
{
    Suite *s = suite_create("pty parts");
    suite_add_tcase(s, ring_case());
    suite_add_tcase(s, filter_case());
    suite_add_tcase(s, auth_case());
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
