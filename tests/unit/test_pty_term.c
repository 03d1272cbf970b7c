/* The server-side screen: modes that are followed, snapshots against a fresh libvterm cell by cell, skipping.
 */
#include "term_modes.h"
#include "term_state.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vterm.h>

enum { COLS = 80, ROWS = 24 };

static odto_buf replies;

static void reply(void *arg, const char *p, size_t n)
{
    (void)arg;
    odto_buf_put(&replies, p, n);
}

static term_state *fed(const char *p, size_t n)
{
    term_state *t = term_new(COLS, ROWS, reply, NULL);
    ck_assert_ptr_nonnull(t);
    term_feed(t, p, n);
    return t;
}

static void snapshot(term_state *t, odto_buf *out)
{
    odto_buf_clear(out);
    ck_assert(term_snapshot(t, out));
}

/* ---- a terminal that knows nothing of ours ------------------------------------------------------- */

static VTerm *plain_terminal(const char *p, size_t n)
{
    VTerm *vt = vterm_new(ROWS, COLS);
    vterm_set_utf8(vt, 1);
    VTermScreen *s = vterm_obtain_screen(vt);
    vterm_screen_enable_altscreen(s, 1);
    vterm_screen_reset(s, 1);
    vterm_input_write(vt, p, n);
    return vt;
}

/* What can be seen of a cell: of an erased one only the background. */
static void cell_text(VTerm *vt, int row, int col, char *out, size_t size)
{
    VTermScreenCell c;
    VTermScreen *s = vterm_obtain_screen(vt);
    vterm_screen_get_cell(s, (VTermPos){row, col}, &c);
    vterm_screen_convert_color_to_rgb(s, &c.bg);
    vterm_screen_convert_color_to_rgb(s, &c.fg);
    unsigned bg = (unsigned)c.bg.rgb.red << 16 | (unsigned)c.bg.rgb.green << 8 | c.bg.rgb.blue;
    unsigned fg = (unsigned)c.fg.rgb.red << 16 | (unsigned)c.fg.rgb.green << 8 | c.fg.rgb.blue;
    VTermScreenCell left = {.width = 1};
    if (col)
        vterm_screen_get_cell(s, (VTermPos){row, col - 1}, &left);
    if (c.chars[0] == (uint32_t)-1 && left.width == 2)
        snprintf(out, size, "right half");
    else if (!c.chars[0] || c.chars[0] == (uint32_t)-1)
        snprintf(out, size, "erased on %06x", bg);
    else
        snprintf(out, size, "%x %x w%d %06x on %06x b%u u%u i%u k%u r%u s%u f%u", c.chars[0], c.chars[1],
                 c.width, fg, bg, c.attrs.bold, c.attrs.underline, c.attrs.italic, c.attrs.blink,
                 c.attrs.reverse, c.attrs.strike, 0u);
}

static void assert_same_screen(VTerm *a, VTerm *b, const char *what)
{
    char x[160], y[160];
    for (int row = 0; row < ROWS; row++) {
        for (int col = 0; col < COLS; col++) {
            cell_text(a, row, col, x, sizeof x);
            cell_text(b, row, col, y, sizeof y);
            ck_assert_msg(!strcmp(x, y), "%s: row %d column %d: %s, restored %s", what, row, col, x, y);
        }
    }
    VTermPos p, q;
    vterm_state_get_cursorpos(vterm_obtain_state(a), &p);
    vterm_state_get_cursorpos(vterm_obtain_state(b), &q);
    ck_assert_msg(p.row == q.row && p.col == q.col, "%s: cursor %d,%d, restored %d,%d", what, p.row, p.col,
                  q.row, q.col);
}

/* The stream, and the stream up to a cut restored and continued, must show the same, now and afterwards. */
static void assert_restores(const char *stream, size_t n, size_t cut, const char *then)
{
    odto_buf whole = {0}, restored = {0};
    char what[128];
    term_state *t = fed(stream, cut);
    snapshot(t, &restored);
    size_t from = cut - term_pending(t);
    odto_buf_put(&restored, stream + from, n - from);
    odto_buf_str(&restored, then);
    odto_buf_put(&whole, stream, n);
    odto_buf_str(&whole, then);
    VTerm *a = plain_terminal(whole.p, whole.n), *b = plain_terminal(restored.p, restored.n);
    snprintf(what, sizeof what, "%.24s… cut at %zu", stream[0] == 27 ? stream + 1 : stream, cut);
    assert_same_screen(a, b, what);
    vterm_free(a);
    vterm_free(b);
    term_free(t);
    odto_buf_free(&whole);
    odto_buf_free(&restored);
}

static const char *const streams[] = {
    "plain text\r\nand more\r\n$ ",
    "\033[1;31mred\033[0m \033[4mline\033[24m \033[7mrev\033[m "
    "\033[38;5;123m256\033[48;2;1;2;3mrgb\033[39;49m.",
    "\033[3mi\033[23;5mk\033[25;9ms\033[29;21mdd\033[4:3mcurl\033[m\033[91;102mbright\033[m",
    "\033[44m\033[2J\033[5;10Hblue\033[K\033[10;1H\033[1Kx\033[12;20H\033[10X\033[m\033[20;5Hplain",
    "wide \346\274\242\345\255\227 comb e\314\201 \360\237\230\200 end\r\n",
    "\033[?1049h\033[2J\033[Hfull screen\033[24;1H\033[7mstatus\033[m\033[3;3H",
    "shell$ mc\r\n\033[33mtext\033[?1049h\033[H\033[44;37mpanel\033[K\r\n\033[5;5Hfile\033[m",
    "first\r\n\033[?1049halt\033[?1049lback again\r\n",
    "\033[5;15r\033[15;1Hin the margin\n\n\nscrolled\033[?6h\033[2;2Horigin",
    "\033(0lqqqk\033(B\r\n\033)0\016x\017x",
    "saved\0337 moved\033[10;10H\033[32mgreen",
    "\033[12;30H\0337\033[1;1Hother\033[?1049h\033[4;4H\0337\033[8;8Halt",
    "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
    "1234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "\033[24;80HX",
    "\033[1;80H\033[41mY\033[m",
    "a\033[4hinsert\033[1;1Hb",
    "\033[?7l\033[1;78Habcdef",
    "\033[?5hreverse\033[?25l",
    "\033[1;1H\033[3L\033[2;1H\033[Mtext\033[5;5H\033[3@\033[2P\033[3S\033[T",
    "tab\tstop\ttext\b\b\bback\r\n",
};

/* Then written, to show what can't be seen: pending wrap, saved cursor, margins, charset, pen. */
static const char *const endings[] = {"",         "w", "\033[K", "\0338r", "\r\n\n\nmore", "\033[?1049lout",
                                      "\016x\017"};

START_TEST(snapshots_restore_every_cell)
{
    const char *s = streams[_i];
    size_t n = strlen(s);
    for (size_t e = 0; e < sizeof endings / sizeof *endings; e++) {
        if (strstr(endings[e], "1049l") && !strstr(s, "1049h"))
            continue;
        if (strstr(endings[e], "\0338") &&
            strstr(s, "\033(0")) /* libvterm does not tell what was saved of it */
            continue;
        assert_restores(s, n, n, endings[e]);
    }
    for (size_t cut = 0; cut < n; cut++)
        assert_restores(s, n, cut, "");
}
END_TEST

/* Pseudo-random output, the same each time. */
static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void random_piece(uint32_t *seed, odto_buf *b, bool *alt)
{
    unsigned row = next(seed) % ROWS + 1, col = next(seed) % COLS + 1;
    switch (next(seed) % 12) {
    case 0:
        odto_buf_printf(b, "\033[%u;%uH", row, col);
        break;
    case 1:
        odto_buf_printf(b, "\033[%u;%um", next(seed) % 10, 30 + next(seed) % 8);
        break;
    case 2:
        odto_buf_printf(b, "\033[%um", 40 + next(seed) % 8);
        break;
    case 3:
        odto_buf_printf(b, "\033[%u%c", next(seed) % 3, "JK"[next(seed) % 2]);
        break;
    case 4:
        odto_buf_str(b, "\r\n");
        break;
    case 5:
        odto_buf_printf(b, "\033[%u%c", next(seed) % 5 + 1, "LMPX@ABCDST"[next(seed) % 11]);
        break;
    case 6:
        odto_buf_str(b, "\346\274\242\303\244");
        break;
    case 7:
        odto_buf_str(b, "\033[m");
        break;
    case 8:
        if (next(seed) % 8 == 0) {
            *alt = !*alt;
            odto_buf_str(b, *alt ? "\033[?1049h" : "\033[?1049l");
        }
        break;
    default:
        for (unsigned i = next(seed) % 30; i; i--)
            odto_buf_printf(b, "%c", (char)('!' + next(seed) % 90));
    }
}

START_TEST(snapshots_restore_random_streams)
{
    uint32_t seed = (uint32_t)_i * 7919u + 1;
    odto_buf b = {0};
    bool alt = false;
    for (int k = 0; k < 300; k++)
        random_piece(&seed, &b, &alt);
    for (int k = 0; k < 4; k++)
        assert_restores(b.p, b.n, next(&seed) % b.n, "");
    assert_restores(b.p, b.n, b.n, alt ? "\033[?1049lq" : "q");
    odto_buf_free(&b);
}
END_TEST

START_TEST(a_snapshot_of_a_restored_terminal_is_the_same)
{
    odto_buf one = {0}, two = {0};
    term_state *t = fed(streams[_i], strlen(streams[_i]));
    snapshot(t, &one);
    term_state *u = fed(one.p, one.n);
    snapshot(u, &two);
    ck_assert_str_eq(one.p, two.p);
    ck_assert_uint_eq(one.n, two.n);
    term_free(t);
    term_free(u);
    odto_buf_free(&one);
    odto_buf_free(&two);
}
END_TEST

/* ---- modes ------------------------------------------------------------------------------------------ */

START_TEST(modes_are_restored)
{
    static const char set[] =
        "\033[?1h\033=\033[?2004h\033[?1004h\033[?1002h\033[?1006h\033[?7l\033[4h\033[20h\033[?25l"
        "\033[?12h\033[?1007l\033[4 q\033)0\016\033[3;9r\033[?6h\033]0;the title\033\\";
    odto_buf b = {0};
    term_state *t = fed(set, sizeof set - 1);
    snapshot(t, &b);
    term_modes m;
    modes_reset(&m);
    for (size_t i = 0; i < b.n; i++)
        modes_byte(&m, (unsigned char)b.p[i]);
    ck_assert(m.app_cursor && m.app_keypad && m.paste && m.focus && m.no_wrap && m.insert && m.newline &&
              m.hidden);
    ck_assert(m.blink && m.alt_scroll_off && m.origin);
    ck_assert_int_eq(m.mouse, 1002);
    ck_assert_int_eq(m.encoding, 1006);
    ck_assert_int_eq(m.shape, 4);
    ck_assert_int_eq(m.top, 3);
    ck_assert_int_eq(m.bottom, 9);
    ck_assert_int_eq(m.charset[1], '0');
    ck_assert_uint_eq(m.shift, 1);
    ck_assert_str_eq(m.title, "the title");
    ck_assert_str_eq(term_title(t), "the title");
    static const char unset[] =
        "\033[?1l\033>\033[?2004l\033[?1004l\033[?1002l\033[?1006l\033[?7h\033[4l\033[20l\033[?25h\033[r";
    for (size_t i = 0; i < sizeof unset - 1; i++)
        modes_byte(&m, (unsigned char)unset[i]);
    ck_assert(!m.app_cursor && !m.app_keypad && !m.paste && !m.focus && !m.no_wrap && !m.insert && !m.hidden);
    ck_assert_int_eq(m.mouse + m.encoding + m.top + m.bottom, 0);
    term_free(t);
    odto_buf_free(&b);
}
END_TEST

static size_t pending_after(const char *s)
{
    term_modes m;
    modes_reset(&m);
    for (const char *p = s; *p; p++)
        modes_byte(&m, (unsigned char)*p);
    return m.state == MODES_GROUND ? 0 : m.pending;
}

START_TEST(sequences_under_way_are_known)
{
    ck_assert_uint_eq(pending_after("text"), 0);
    ck_assert_uint_eq(pending_after("text\033"), 1);
    ck_assert_uint_eq(pending_after("text\033[1;3"), 5);
    ck_assert_uint_eq(pending_after("text\033[1;3m"), 0);
    ck_assert_uint_eq(pending_after("\342\202"), 2);
    ck_assert_uint_eq(pending_after("\342\202\254"), 0);
    ck_assert_uint_eq(pending_after("\033]0;title"), 9);
    ck_assert_uint_eq(pending_after("\033]0;title\007"), 0);
    ck_assert_uint_eq(pending_after("\033]0;title\033\\"), 0);
    ck_assert_uint_eq(pending_after("\033[12\030"), 0);
    ck_assert_uint_eq(pending_after("\033[12\033[3"), 3);
    ck_assert_uint_eq(pending_after("\342\033["), 2);
    ck_assert_uint_eq(pending_after("\033P$q"), 4);
}
END_TEST

START_TEST(what_libvterm_lacks_is_done_in_other_words)
{
    odto_buf b = {0};
    static const char stream[] = "ab\033[3b\033[scd\033[uX\033[2;8mdim\033[22;28mn";
    term_state *t = fed(stream, sizeof stream - 1);
    snapshot(t, &b);
    ck_assert_ptr_nonnull(strstr(b.p, "abbbbX"));
    ck_assert_ptr_nonnull(strstr(b.p, "\033[2;8m"));
    term_free(t);
    static const char old[] = "one\r\n\033[?47htwo\033[?47lthree";
    t = fed(old, sizeof old - 1);
    snapshot(t, &b);
    ck_assert_ptr_null(strstr(b.p, "two"));
    ck_assert_ptr_nonnull(strstr(b.p, "three"));
    term_free(t);
    odto_buf_free(&b);
}
END_TEST

START_TEST(queries_are_answered_only_when_asked_for)
{
    term_state *t = fed("\033[6n\033[c", 7);
    ck_assert_uint_eq(replies.n, 0);
    ck_assert(!term_replied(t));
    term_replies(t, true);
    term_feed(t, "\033[6n", 4);
    ck_assert_uint_eq(replies.n, 6);
    ck_assert(term_replied(t) && !term_replied(t));
    odto_buf_free(&replies);
    term_free(t);
}
END_TEST

/* ---- scrollback and skipping -------------------------------------------------------------------------- */

static void many_lines(odto_buf *b, int from, int to)
{
    for (int i = from; i < to; i++)
        odto_buf_printf(b, "\033[3%dmline %d %.*s\r\n", i % 8, i, i % 60,
                        "------------------------------------------------------------");
}

START_TEST(what_is_skipped_makes_no_difference)
{
    odto_buf all = {0}, one = {0}, two = {0};
    many_lines(&all, 0, 3000);
    odto_buf_str(&all, "\033[0;1mend");
    term_state *t = fed(all.p, all.n), *u = term_new(COLS, ROWS, reply, NULL);
    size_t skipped = term_skip(u, all.p, all.n);
    ck_assert_uint_gt(skipped, all.n / 2);
    term_feed(u, all.p + skipped, all.n - skipped);
    snapshot(t, &one);
    snapshot(u, &two);
    ck_assert_str_eq(one.p, two.p);
    ck_assert_ptr_nonnull(strstr(one.p, "line 2990"));
    static const char *const not_plain[] = {"\033[?1049h", "\033[5;10r", "\033[4h", "\016", "\033[1"};
    for (size_t i = 0; i < sizeof not_plain / sizeof *not_plain; i++) {
        term_state *v = fed(not_plain[i], strlen(not_plain[i]));
        ck_assert_uint_eq(term_skip(v, all.p, all.n), 0);
        term_free(v);
    }
    ck_assert_uint_eq(term_skip(u, all.p, 2000), 0); /* all of it can still be seen */
    term_free(t);
    term_free(u);
    odto_buf_free(&all);
    odto_buf_free(&one);
    odto_buf_free(&two);
}
END_TEST

START_TEST(resizes_and_odd_sizes)
{
    uint32_t seed = 5;
    odto_buf b = {0}, s = {0};
    bool alt = false;
    term_state *t = term_new(0, 100000, reply, NULL);
    for (int k = 0; k < 400; k++) {
        odto_buf_clear(&b);
        for (int i = 0; i < 20; i++)
            random_piece(&seed, &b, &alt);
        term_feed(t, b.p, b.n);
        term_resize(t, (int)(next(&seed) % 300), (int)(next(&seed) % 100));
        snapshot(t, &s);
    }
    term_resize(t, COLS, ROWS);
    term_feed(t, "\033c\033[2;3Hok", 10);
    snapshot(t, &s);
    ck_assert_ptr_nonnull(strstr(s.p, "ok"));
    term_free(t);
    odto_buf_free(&b);
    odto_buf_free(&s);
}
END_TEST

/* Saved on a larger screen, restored on a smaller one: libvterm alone leaves the cursor outside. */
static const char *const restores[][2] = {
    {"\0337", "\0338"}, {"\033[s", "\033[u"}, {"\033[?1048h", "\033[?1048l"}, {"\033[?1049h", "\033[?1049l"}};

START_TEST(a_restored_cursor_is_on_the_screen)
{
    term_state *t = fed("", 0);
    odto_buf s = {0};
    term_resize(t, 200, 60);
    term_feed(t, "\033[60;200H", 9);
    term_feed(t, restores[_i][0], strlen(restores[_i][0]));
    term_feed(t, "\033[H", 3);
    term_resize(t, COLS, ROWS);
    term_feed(t, restores[_i][1], strlen(restores[_i][1]));
    snapshot(t, &s);
    odto_buf_put(&s, "", 1);
    ck_assert_ptr_nonnull(strstr(s.p, "\033[24;80H"));
    term_feed(t, "here", 4);
    term_feed(t, "\033[6n", 4);
    snapshot(t, &s);
    odto_buf_put(&s, "", 1);
    ck_assert_ptr_nonnull(strstr(s.p, "ere"));
    term_free(t);
    odto_buf_free(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pty terminal state");
    TCase *t = tcase_create("terminal state");
    int n = (int)(sizeof streams / sizeof *streams);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, snapshots_restore_every_cell, 0, n);
    tcase_add_loop_test(t, a_snapshot_of_a_restored_terminal_is_the_same, 0, n);
    tcase_add_loop_test(t, snapshots_restore_random_streams, 0, 40);
    tcase_add_test(t, modes_are_restored);
    tcase_add_test(t, sequences_under_way_are_known);
    tcase_add_test(t, what_libvterm_lacks_is_done_in_other_words);
    tcase_add_test(t, queries_are_answered_only_when_asked_for);
    tcase_add_test(t, what_is_skipped_makes_no_difference);
    tcase_add_test(t, resizes_and_odd_sizes);
    tcase_add_loop_test(t, a_restored_cursor_is_on_the_screen, 0, (int)(sizeof restores / sizeof *restores));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
