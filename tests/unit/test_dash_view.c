/* Goldens of the dashboard's picture: every scene at several sizes, UTF-8 or ASCII, colour or monochrome.
 * A golden holds the characters and, below them, how each cell looks. ODTO_UPDATE_GOLDENS=1 writes them anew.
 */
#include "dash_fixture.h"
#include "style.h"
#include "text.h"
#include "view.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef void scene_fn(fixture *f);

static void scene_dashboard(fixture *f)
{
    fixture_keys(f, "jj");
}

static void scene_detail(fixture *f)
{
    snapshot *s = snapshot_clone(f->ui.snap);
    snapshot_set_detail(s, fixture_detail(&s->jobs->items[3]));
    ui_set_snapshot(&f->ui, s);
    fixture_keys(f, "jjj\n");
}

static void scene_alert(fixture *f)
{
    fixture_keys(f, "2\n");
}

static void scene_plugins(fixture *f)
{
    fixture_keys(f, "3j");
}

static void scene_queues_zoomed(fixture *f)
{
    fixture_keys(f, "4z");
}

static void scene_filter(fixture *f)
{
    fixture_keys(f, "/email !failed");
}

static void scene_form(fixture *f)
{
    fixture_keys(f, "nsend mail\t");
    ui_key(&f->ui, DKEY_BACKSPACE);
    fixture_keys(f, "\"a\": 1,");
}

static void scene_sent(fixture *f)
{
    fixture_keys(f, "necho");
    snapshot *s = snapshot_clone(f->ui.snap);
    s->submit.state = SUBMIT_OK;
    snprintf(s->submit.job_id, sizeof s->submit.job_id, "0198a7c0-0000-7000-8000-00000000abcd");
    ui_set_snapshot(&f->ui, s);
}

static void scene_pages(fixture *f)
{
    fixture_keys(f, "ujj\n");
    f->ui.notice[0] = '\0';
}

static void scene_help(fixture *f)
{
    fixture_keys(f, "?");
}

static void scene_palette(fixture *f)
{
    fixture_keys(f, ":re");
}

static void scene_shutdown(fixture *f)
{
    ui_key(&f->ui, DKEY_CTRL('q'));
}

static void scene_splash(fixture *f)
{
    f->ui.screen = SCREEN_SPLASH;
}

static void scene_stale(fixture *f)
{
    snapshot *s = snapshot_clone(f->ui.snap);
    for (int i = 0; i < SRC_COUNT; i++) {
        s->src[i].ok_ms = FIX_NOW - 12000;
        s->src[i].failures = 6;
        snprintf(s->src[i].error, sizeof s->src[i].error, "cannot connect to localhost:3000");
    }
    ui_set_snapshot(&f->ui, s);
}

static void scene_waiting(fixture *f)
{
    ui_set_snapshot(&f->ui, snapshot_new());
}

static void scene_launcher(fixture *f)
{
    static const char *const lines[] = {
        "{\"step\":\"prereqs\",\"status\":\"starting\",\"message\":\"looking\"}",
        "{\"step\":\"prereqs\",\"status\":\"complete\",\"message\":\"docker, kind, kubectl\"}",
        "{\"step\":\"cluster\",\"status\":\"skipped\",\"message\":\"the cluster odto is there\"}",
        "{\"step\":\"images\",\"status\":\"starting\",\"message\":\"building the image\"}",
        "STEP 3/9: RUN make \033[31mred\033[0m",
        "{\"step\":\"images\",\"status\":\"error\",\"message\":\"docker ended with 1\",\"remedy\":\"read the "
        "log\"}"};
    f->ui.screen = SCREEN_LAUNCHER;
    launch_begin(&f->ui.launch, LAUNCH_CLUSTER, FIX_NOW - 90000);
    f->ui.kind = LAUNCH_CLUSTER;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        launch_line(&f->ui.launch, lines[i], FIX_NOW - 90000 + (int64_t)i * 7000);
    }
    launch_ended(&f->ui.launch, 1, FIX_NOW - 50000);
}

static void scene_prerequisites(fixture *f)
{
    f->ui.screen = SCREEN_PREREQ;
    checks_begin(&f->ui.checks);
    checks_line(&f->ui.checks,
                "{\"section\":\"platform\",\"name\":\"system\",\"verdict\":\"OK\",\"detail\":\"Debian 12\"}");
    checks_line(&f->ui.checks,
                "{\"section\":\"programs\",\"name\":\"odto-host\",\"verdict\":\"OK\",\"detail\":\"0.1.0\"}");
    checks_line(&f->ui.checks,
                "{\"section\":\"programs\",\"name\":\"kind\",\"verdict\":\"WARN\",\"detail\":\"not found\","
                "\"hint\":\"see its page\",\"install\":\"sudo apt-get install -y kind\"}");
    checks_line(&f->ui.checks, "{\"section\":\"ports\",\"name\":\"3000 gateway\",\"verdict\":\"FAIL\","
                               "\"detail\":\"in use by nginx (pid 12)\"}");
    checks_ended(&f->ui.checks, 1);
    fixture_keys(f, "jj");
}

/* ---- comparison ---------------------------------------------------------------------------- */

/* One character a cell: in colour the role, in monochrome the attributes. */
static char look_of(const cell *c, int colors)
{
    static const char roles[] = ".ds-FTKaorwWXlmhi";
    style s = style_of((role)c->role, c->attr, colors, THEME_DARK);
    if (!colors) {
        return s.reverse ? (s.bold ? 'R' : 'r') : s.underline ? (s.bold ? 'U' : 'u') : s.bold ? 'b' : '.';
    }
    return c->attr & ATTR_SELECTED ? '=' : roles[c->role];
}

static void picture(fixture *f, odto_buf *out)
{
    ck_assert_int_eq(view_draw(&f->ui, &f->grid), 0);
    grid_to_text(&f->grid, out);
    odto_buf_printf(out, "cursor %d,%d\n", f->grid.cursor_x, f->grid.cursor_y);
    for (int y = 0; y < f->grid.h; y++) {
        for (int x = 0; x < f->grid.w; x++) {
            char c = look_of(grid_at(&f->grid, x, y), f->caps.colors);
            odto_buf_put(out, &c, 1);
        }
        odto_buf_put(out, "\n", 1);
    }
}

static void compare(const char *name, const odto_buf *got)
{
    char path[600];
    const char *src = getenv("ODTO_SRCDIR");
    snprintf(path, sizeof path, "%s/tests/golden/dashboard/%s.txt", src ? src : ".", name);
    const char *update = getenv("ODTO_UPDATE_GOLDENS");
    if (update && update[0]) {
        FILE *f = fopen(path, "we");
        ck_assert_msg(f != NULL, "%s can't be written", path);
        fwrite(got->p, 1, got->n, f);
        fclose(f);
        return;
    }
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "%s is missing: run with ODTO_UPDATE_GOLDENS=1 and look at it", path);
    static char want[1 << 18];
    size_t n = fread(want, 1, sizeof want - 1, f);
    fclose(f);
    want[n] = '\0';
    if (n != got->n || memcmp(want, got->p, n) != 0) {
        size_t at = 0;
        while (at < n && at < got->n && want[at] == got->p[at]) {
            at++;
        }
        int line = 1;
        for (size_t i = 0; i < at; i++) {
            line += want[i] == '\n';
        }
        ck_abort_msg("%s differs from line %d on; the picture is now:\n%s", path, line, got->p);
    }
}

typedef struct variant {
    int w, h;
    bool utf8;
    int colors;
} variant;

static void check_scene(const char *name, scene_fn *scene, const variant *v)
{
    char file[128];
    odto_buf b = {0};
    fixture *f = fixture_new(40, v->utf8, v->colors);
    ui_resize(&f->ui, v->w, v->h);
    scene(f);
    picture(f, &b);
    ck_assert(!b.failed);
    snprintf(file, sizeof file, "%s-%dx%d-%s-%s", name, v->w, v->h, v->utf8 ? "utf8" : "ascii",
             v->colors ? "color" : "mono");
    compare(file, &b);
    odto_buf_free(&b);
    fixture_free(f);
}

static const variant matrix[] = {
    {80, 24, true, 256},  {80, 24, true, 0},  {80, 24, false, 256},  {80, 24, false, 0},
    {120, 40, true, 256}, {120, 40, true, 0}, {120, 40, false, 256}, {120, 40, false, 0},
    {60, 16, true, 256},  {60, 16, true, 0},  {60, 16, false, 256},  {60, 16, false, 0},
    {40, 10, true, 256},  {40, 10, true, 0},  {40, 10, false, 256},  {40, 10, false, 0}};

START_TEST(dashboard_matrix)
{
    check_scene("dashboard", scene_dashboard, &matrix[_i]);
}
END_TEST

static const struct {
    const char *name;
    scene_fn *fn;
} scenes[] = {{"detail", scene_detail},     {"alert", scene_alert},
              {"plugins", scene_plugins},   {"queues", scene_queues_zoomed},
              {"filter", scene_filter},     {"form", scene_form},
              {"sent", scene_sent},         {"pages", scene_pages},
              {"help", scene_help},         {"palette", scene_palette},
              {"shutdown", scene_shutdown}, {"splash", scene_splash},
              {"stale", scene_stale},       {"waiting", scene_waiting},
              {"launcher", scene_launcher}, {"prerequisites", scene_prerequisites}};
#define SCENES ((int)(sizeof scenes / sizeof scenes[0]))

START_TEST(scene_in_colour)
{
    check_scene(scenes[_i].name, scenes[_i].fn, &(variant){80, 24, true, 256});
}
END_TEST

START_TEST(scene_in_ascii)
{
    check_scene(scenes[_i].name, scenes[_i].fn, &(variant){60, 16, false, 0});
}
END_TEST

/* Without UTF-8 no byte above 0x7F reaches the terminal, at any size. */
START_TEST(ascii_is_ascii)
{
    fixture *f = fixture_new(20, false, 0);
    for (int w = 1; w < 150; w += 7) {
        ui_resize(&f->ui, w, 1 + w / 4);
        scenes[_i].fn(f);
        ck_assert_int_eq(view_draw(&f->ui, &f->grid), 0);
        for (int i = 0; i < f->grid.w * f->grid.h; i++) {
            ck_assert_uint_lt(f->grid.cells[i].ch, 0x7F);
            ck_assert_uint_ge(f->grid.cells[i].ch, 0x20);
        }
        f->ui.dialog = DIALOG_NONE;
    }
    fixture_free(f);
}
END_TEST

/* Hostile text in every field never leaves a control character in the grid. */
START_TEST(no_control_characters)
{
    fixture *f = fixture_new(5, true, 256);
    snapshot *s = snapshot_clone(f->ui.snap);
    job_list *l = job_list_new(1);
    l->n = 1;
    text_clean(l->items[0].id, sizeof l->items[0].id, "\033]0;owned\a\033[2J");
    text_clean(l->items[0].type, sizeof l->items[0].type,
               "a\xc2\x9b"
               "31m\r\n\xe2\x80\xae"
               "b\xff");
    snapshot_set_jobs(s, l);
    ui_set_snapshot(&f->ui, s);
    ck_assert_int_eq(view_draw(&f->ui, &f->grid), 0);
    for (int i = 0; i < f->grid.w * f->grid.h; i++) {
        uint32_t c = f->grid.cells[i].ch;
        ck_assert(c == 0 || (c >= 0x20 && !(c >= 0x7F && c < 0xA0) && c != 0x202E));
    }
    fixture_free(f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dashboard view");
    TCase *t = tcase_create("goldens");
    tcase_add_loop_test(t, dashboard_matrix, 0, (int)(sizeof matrix / sizeof matrix[0]));
    tcase_add_loop_test(t, scene_in_colour, 0, SCENES);
    tcase_add_loop_test(t, scene_in_ascii, 0, SCENES);
    tcase_add_loop_test(t, ascii_is_ascii, 0, SCENES);
    tcase_add_test(t, no_control_characters);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
