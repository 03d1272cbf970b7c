/* What keys, clicks and snapshots do to the ui; and random ones, which must never break it. */
#include "dash_fixture.h"
#include "layout.h"
#include "view.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void has(fixture *f, const char *part)
{
    const char *text = fixture_text(f);
    ck_assert_msg(strstr(text, part) != NULL, "the picture lacks '%s':\n%s", part, text);
}

static void lacks(fixture *f, const char *part)
{
    const char *text = fixture_text(f);
    ck_assert_msg(strstr(text, part) == NULL, "the picture has '%s':\n%s", part, text);
}

START_TEST(both_cases)
{
    static const char keys[] = "nNuU?";
    for (const char *k = keys; *k; k++) {
        fixture *f = fixture_new(5, true, 256);
        ui_key(&f->ui, (uint32_t)*k);
        ck_assert_int_ne(f->ui.dialog, DIALOG_NONE);
        fixture_free(f);
    }
    fixture *f = fixture_new(5, true, 256);
    fixture_keys(f, "rRqQ");
    ck_assert_int_eq(f->refreshes, 2);
    ck_assert_int_eq(f->quits, 2);
    fixture_free(f);
}
END_TEST

START_TEST(selection_stays_on_its_job)
{
    fixture *f = fixture_new(30, true, 256);
    ck_assert(f->ui.follow);
    fixture_keys(f, "jjj");
    char id[40];
    snprintf(id, sizeof id, "%s", ui_selected_job(&f->ui)->id);
    snapshot *s = snapshot_clone(f->ui.snap);
    job_list *l = job_list_new(33);
    l->n = 33;
    memcpy(&l->items[3], s->jobs->items, 30 * sizeof l->items[0]);
    for (int i = 0; i < 3; i++) {
        l->items[i] = s->jobs->items[0];
        snprintf(l->items[i].id, sizeof l->items[i].id, "new-%d", i);
        l->items[i].created_ms += 1000 * (3 - i);
    }
    snapshot_set_jobs(s, l);
    ui_set_snapshot(&f->ui, s);
    ck_assert_str_eq(ui_selected_job(&f->ui)->id, id);
    ck_assert_int_eq(f->ui.pos[PANEL_JOBS].sel, 6);
    fixture_keys(f, "f"); /* follow: the newest */
    ck_assert_str_eq(ui_selected_job(&f->ui)->id, "new-0");
    fixture_free(f);
}
END_TEST

START_TEST(follow_means_the_newest_in_every_order)
{
    fixture *f = fixture_new(30, true, 256);
    const char *newest = f->ui.snap->jobs->items[0].id;
    for (int k = 0; k < 2 * SORT_COUNT; k++) {
        fixture_keys(f, k % 2 ? "s" : "o");
        ck_assert(f->ui.follow);
        ck_assert_str_eq(ui_selected_job(&f->ui)->id, newest);
    }
    fixture_free(f);
}
END_TEST

START_TEST(filter_words)
{
    job j = {.id = "0198", .type = "email.send", .status_text = "FAILED"};
    ck_assert(job_matches(&j, ""));
    ck_assert(job_matches(&j, "EMAIL failed"));
    ck_assert(!job_matches(&j, "email completed"));
    ck_assert(job_matches(&j, "!completed"));
    ck_assert(!job_matches(&j, "!failed"));
    ck_assert(job_matches(&j, "status:fail type:send id:01"));
    ck_assert(!job_matches(&j, "type:failed"));
    ck_assert(job_matches(&j, "!"));
    ck_assert(job_matches(&j, "  "));
}
END_TEST

START_TEST(filter_narrows_and_esc_drops_it)
{
    fixture *f = fixture_new(40, true, 256);
    fixture_keys(f, "/status:failed");
    ck_assert_int_lt(f->ui.n_order, 40);
    ck_assert_int_gt(f->ui.n_order, 0);
    fixture_keys(f, "\n");
    ck_assert(!f->ui.filtering);
    for (int i = 0; i < f->ui.n_order; i++) {
        ck_assert_int_eq(ui_job_at(&f->ui, i)->status, JOB_FAILED);
    }
    ui_key(&f->ui, DKEY_ESC);
    ck_assert_int_eq(f->ui.n_order, 40);
    fixture_keys(f, "/nothing-matches-this");
    has(f, "no job matches the filter");
    ui_key(&f->ui, DKEY_ESC);
    ck_assert_int_eq(f->ui.n_order, 40);
    fixture_free(f);
}
END_TEST

START_TEST(sorting)
{
    fixture *f = fixture_new(40, true, 256);
    for (int k = 0; k < SORT_COUNT; k++) {
        fixture_keys(f, "s");
        fixture_keys(f, k % 2 ? "o" : "");
        for (int i = 1; i < f->ui.n_order; i++) {
            const job *a = ui_job_at(&f->ui, i - 1), *b = ui_job_at(&f->ui, i);
            int d = f->ui.sort == SORT_TYPE     ? strcmp(a->type, b->type)
                    : f->ui.sort == SORT_ID     ? strcmp(a->id, b->id)
                    : f->ui.sort == SORT_STATUS ? (int)a->status - (int)b->status
                    : f->ui.sort == SORT_DURATION
                        ? (a->duration_ms > b->duration_ms) - (a->duration_ms < b->duration_ms)
                        : (a->created_ms > b->created_ms) - (a->created_ms < b->created_ms);
            ck_assert_int_le(f->ui.descending ? -d : d, 0);
        }
    }
    fixture_free(f);
}
END_TEST

START_TEST(form_validates_and_submits)
{
    fixture *f = fixture_new(5, true, 256);
    fixture_keys(f, "n\n");
    ck_assert_int_eq(f->submits, 0);
    has(f, "a type is needed");
    fixture_keys(f, "bad type");
    has(f, "only letters");
    ck_assert(!ui_form_valid(&f->ui));
    ui_key(&f->ui, DKEY_CTRL('u'));
    fixture_keys(f, "echo-1_x");
    has(f, "valid");
    fixture_keys(f, "\t");
    ui_key(&f->ui, DKEY_BACKSPACE);
    fixture_keys(f, "\n");
    ck_assert_int_eq(f->submits, 0);
    ui_key(&f->ui, DKEY_CTRL('u'));
    fixture_keys(f, "[1]");
    has(f, "must be an object");
    ui_key(&f->ui, DKEY_CTRL('u'));
    ui_paste(&f->ui, "{\"a\":\n 1}\033[2J");
    fixture_keys(f, "\n");
    ck_assert_int_eq(f->submits, 0); /* what is left of the escape sequence is not JSON */
    for (int i = 0; i < 3; i++) {
        ui_key(&f->ui, DKEY_BACKSPACE);
    }
    fixture_keys(f, "\n");
    ck_assert_int_eq(f->submits, 1);
    ck_assert_str_eq(f->type, "echo-1_x");
    ck_assert_str_eq(f->payload, "{\"a\":  1}");
    fixture_free(f);
}
END_TEST

START_TEST(form_type_has_fifty_characters)
{
    fixture *f = fixture_new(5, true, 256);
    fixture_keys(f, "n");
    for (int i = 0; i < 50; i++) {
        ui_key(&f->ui, 'a');
    }
    ck_assert(ui_form_valid(&f->ui));
    ui_key(&f->ui, 'a');
    ck_assert(!ui_form_valid(&f->ui));
    has(f, "at most 50");
    fixture_free(f);
}
END_TEST

START_TEST(submit_errors_are_shown)
{
    fixture *f = fixture_new(5, true, 256);
    fixture_keys(f, "necho\n");
    ck_assert_int_eq(f->submits, 1);
    ck_assert_str_eq(f->payload, "{}");
    snapshot *s = snapshot_clone(f->ui.snap);
    s->submit.state = SUBMIT_SENDING;
    ui_set_snapshot(&f->ui, s);
    fixture_keys(f, "\n");
    ck_assert_int_eq(f->submits, 1); /* not twice while one is on its way */
    s = snapshot_clone(f->ui.snap);
    s->submit.state = SUBMIT_FAILED;
    snprintf(s->submit.error, sizeof s->submit.error, "HTTP 400: Invalid job data");
    ui_set_snapshot(&f->ui, s);
    has(f, "HTTP 400: Invalid job data");
    s = snapshot_clone(f->ui.snap);
    s->submit.state = SUBMIT_OK;
    snprintf(s->submit.job_id, sizeof s->submit.job_id, "0198-done");
    ui_set_snapshot(&f->ui, s);
    has(f, "0198-done");
    fixture_keys(f, "\n");
    ck_assert_int_eq(f->ui.dialog, DIALOG_NONE);
    fixture_free(f);
}
END_TEST

START_TEST(read_only_changes_nothing)
{
    fixture *f = fixture_new(5, true, 256);
    f->caps.read_only = true;
    fixture_keys(f, "n");
    ck_assert_int_eq(f->ui.dialog, DIALOG_NONE);
    has(f, "read-only");
    fixture_keys(f, "l");
    ui_key(&f->ui, DKEY_CTRL('q'));
    ck_assert_int_eq(f->ui.screen, SCREEN_DASH);
    ck_assert_int_eq(f->ui.dialog, DIALOG_NONE);
    fixture_keys(f, ":new\n");
    ck_assert_int_eq(f->ui.dialog, DIALOG_NONE);
    fixture_keys(f, "p");
    checks_line(&f->ui.checks, "{\"name\":\"x\",\"verdict\":\"FAIL\",\"install\":\"rm -rf /\"}");
    fixture_keys(f, "\ny");
    ck_assert_int_eq(f->installs, 0);
    for (int y = 0; y < 2 * f->ui.h; y++) { /* clicks: each row twice */
        view_draw(&f->ui, &f->grid);
        ui_mouse(&f->ui, &f->grid, 5, y / 2, false, false);
    }
    fixture_keys(f, "y");
    ck_assert_int_eq(f->installs, 0);
    ck_assert_int_eq(f->launches + f->shutdowns + f->submits, 0);
    has(f, "READ-ONLY");
    fixture_free(f);
}
END_TEST

START_TEST(nothing_running_leads_to_the_launcher)
{
    fixture *f = fixture_new(5, true, 256);
    snapshot *s = snapshot_new();
    s->first_round = true;
    for (int i = 0; i < SRC_COUNT; i++) {
        s->src[i].failures = 1;
    }
    f->ui.screen = SCREEN_SPLASH;
    ui_set_snapshot(&f->ui, s);
    ck_assert_int_eq(f->ui.screen, SCREEN_LAUNCHER);
    fixture_keys(f, "l");
    ck_assert_int_eq(f->launches, 1);
    ck_assert(f->ui.launch.running);
    fixture_keys(f, "l");
    ck_assert_int_eq(f->launches, 1);
    ui_key(&f->ui, DKEY_ESC);
    has(f, "Cancel the launch?");
    fixture_keys(f, "y");
    ck_assert_int_eq(f->cancels, 1);
    launch_ended(&f->ui.launch, -15, FIX_NOW);
    has(f, "cancelled");
    launch_begin(&f->ui.launch, LAUNCH_LOCAL, FIX_NOW);
    launch_line(&f->ui.launch, "{\"step\":\"ready\",\"status\":\"complete\",\"message\":\"ok\"}", FIX_NOW);
    launch_ended(&f->ui.launch, 0, FIX_NOW);
    ui_set_snapshot(&f->ui, fixture_snapshot(3));
    ck_assert_int_eq(f->ui.screen, SCREEN_DASH);
    fixture_free(f);
}
END_TEST

START_TEST(server_mode_has_no_launcher)
{
    fixture *f = fixture_new(5, true, 256);
    f->ui.can_launch = false;
    snapshot *s = snapshot_new();
    s->first_round = true;
    for (int i = 0; i < SRC_COUNT; i++) {
        s->src[i].failures = 1;
    }
    f->ui.screen = SCREEN_SPLASH;
    ui_set_snapshot(&f->ui, s);
    ck_assert_int_eq(f->ui.screen, SCREEN_DASH);
    fixture_keys(f, "lp");
    ck_assert_int_eq(f->ui.screen, SCREEN_DASH);
    ck_assert_int_eq(f->checks, 0);
    fixture_free(f);
}
END_TEST

START_TEST(alerts_tell_their_attempts)
{
    fixture *f = fixture_new(5, true, 256);
    for (int n = 1; n <= 4; n++) {
        snapshot *s = snapshot_clone(f->ui.snap);
        snapshot_set_alerts(s, NULL);
        s->src[SRC_ALERTS].failures = n;
        snprintf(s->src[SRC_ALERTS].error, sizeof s->src[SRC_ALERTS].error, "HTTP 502: away");
        ui_set_snapshot(&f->ui, s);
        char want[64];
        snprintf(want, sizeof want, n < 3 ? "attempt %d" : "Unavailable, attempt %d", n);
        has(f, want);
        has(f, "HTTP 502: away");
    }
    snapshot *s = snapshot_clone(f->ui.snap);
    snapshot_set_alerts(s, alert_list_new(0));
    s->src[SRC_ALERTS].failures = 0;
    ui_set_snapshot(&f->ui, s);
    has(f, "✓ No active alerts");
    fixture_free(f);
}
END_TEST

START_TEST(too_small_keeps_q)
{
    fixture *f = fixture_new(5, true, 256);
    ui_resize(&f->ui, 40, 10);
    has(f, "too small");
    has(f, "q quits");
    fixture_keys(f, "nx");
    ck_assert_int_eq(f->ui.dialog, DIALOG_NONE);
    fixture_keys(f, "q");
    ck_assert_int_eq(f->quits, 1);
    for (int w = 1; w < 8; w++) {
        ui_resize(&f->ui, w, w);
        fixture_text(f);
    }
    fixture_free(f);
}
END_TEST

START_TEST(pause_holds_the_picture)
{
    fixture *f = fixture_new(5, true, 256);
    fixture_keys(f, " ");
    has(f, "PAUSED");
    snapshot *s = fixture_snapshot(5);
    s->stats.total = 77777;
    ui_set_snapshot(&f->ui, s);
    lacks(f, "77 777");
    fixture_keys(f, " ");
    has(f, "77 777");
    fixture_free(f);
}
END_TEST

START_TEST(pages_are_shown_or_opened)
{
    fixture *f = fixture_new(5, true, 256);
    fixture_keys(f, "uj\n");
    ck_assert_str_eq(f->copied, "http://localhost:3000/docs");
    ck_assert_int_eq(f->opens, 0);
    f->caps.remote = false;
    fixture_keys(f, "\n");
    ck_assert_int_eq(f->opens, 1);
    ck_assert_str_eq(f->url, "http://localhost:3000/docs");
    f->no_clipboard = true;
    fixture_keys(f, "c");
    has(f, "no clipboard");
    fixture_free(f);
}
END_TEST

START_TEST(shutdown_asks)
{
    fixture *f = fixture_new(5, true, 256);
    ui_key(&f->ui, DKEY_CTRL('q'));
    has(f, "Shut down?");
    fixture_keys(f, "n");
    ck_assert_int_eq(f->shutdowns, 0);
    ui_key(&f->ui, DKEY_CTRL('q'));
    fixture_keys(f, "y");
    ck_assert_int_eq(f->shutdowns, 1);
    fixture_free(f);
}
END_TEST

START_TEST(detail_and_copy)
{
    fixture *f = fixture_new(5, true, 256);
    fixture_keys(f, "j\n");
    ck_assert_str_eq(f->detail, f->ui.snap->jobs->items[1].id);
    fixture_keys(f, "c");
    ck_assert_str_eq(f->copied, f->ui.snap->jobs->items[1].id);
    ui_key(&f->ui, DKEY_ESC);
    ck_assert_str_eq(f->detail, "");
    fixture_free(f);
}
END_TEST

START_TEST(a_click_selects_and_opens)
{
    fixture *f = fixture_new(20, true, 256);
    view_draw(&f->ui, &f->grid);
    ui_mouse(&f->ui, &f->grid, 5, 13, false, false);
    ck_assert_int_eq(f->ui.pos[PANEL_JOBS].sel, 2);
    view_draw(&f->ui, &f->grid);
    ui_mouse(&f->ui, &f->grid, 5, 13, false, false);
    ck_assert_int_eq(f->ui.dialog, DIALOG_DETAIL);
    ui_key(&f->ui, DKEY_ESC);
    view_draw(&f->ui, &f->grid);
    ui_mouse(&f->ui, &f->grid, 2, 23, false, false); /* the first hint of the footer */
    ck_assert_int_eq(f->ui.dialog, DIALOG_FORM);
    fixture_free(f);
}
END_TEST

START_TEST(time_stands_still_when_nothing_moves)
{
    fixture *f = fixture_new(20, true, 256);
    f->caps.motion = true;
    f->ui.screen = SCREEN_DASH;
    ck_assert_int_eq(ui_next_tick(&f->ui), -1);
    ck_assert(!ui_tick(&f->ui, FIX_NOW + 5000));
    ui_notice(&f->ui, ROLE_OK, "something");
    ck_assert_int_gt(ui_next_tick(&f->ui), 0);
    ck_assert(ui_tick(&f->ui, FIX_NOW + 20000));
    ck_assert_int_eq(ui_next_tick(&f->ui), -1);
    fixture_free(f);
}
END_TEST

START_TEST(splash_goes_by_itself_or_by_any_key)
{
    fixture *f = fixture_new(5, true, 256);
    f->caps.motion = true;
    f->ui.screen = SCREEN_SPLASH;
    f->ui.splash_over = false;
    ck_assert_int_gt(ui_next_tick(&f->ui), 0);
    ui_tick(&f->ui, FIX_NOW + 100);
    ck_assert_int_eq(f->ui.screen, SCREEN_SPLASH);
    ui_tick(&f->ui, FIX_NOW + 600);
    ck_assert_int_eq(f->ui.screen, SCREEN_DASH);
    f->ui.screen = SCREEN_SPLASH;
    fixture_keys(f, "n");
    ck_assert_int_eq(f->ui.screen, SCREEN_DASH);
    ck_assert_int_eq(f->ui.dialog, DIALOG_NONE);
    fixture_free(f);
}
END_TEST

/* ---- random keys, clicks, snapshots and sizes ---------------------------------------------- */

static uint32_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s >> 16);
}

static snapshot *random_snapshot(uint64_t *seed)
{
    snapshot *s = next_random(seed) % 8 ? fixture_snapshot((int)(next_random(seed) % 60)) : snapshot_new();
    s->first_round = true;
    for (int i = 0; i < SRC_COUNT; i++) {
        s->src[i].failures = next_random(seed) % 3 ? 0 : (int)(next_random(seed) % 6);
        snprintf(s->src[i].error, sizeof s->src[i].error, "error %u", next_random(seed) % 9);
    }
    if (s->jobs && s->jobs->n && next_random(seed) % 2) {
        snapshot_set_detail(s, fixture_detail(&s->jobs->items[0]));
    }
    s->submit.state = (submit_state)(next_random(seed) % 4);
    return s;
}

static uint32_t random_key(uint64_t *seed)
{
    static const uint32_t special[] = {
        DKEY_TAB,  DKEY_ENTER, DKEY_ESC,  DKEY_BACKSPACE, DKEY_UP,     DKEY_DOWN,    DKEY_LEFT, DKEY_RIGHT,
        DKEY_PGUP, DKEY_PGDN,  DKEY_HOME, DKEY_END,       DKEY_DELETE, DKEY_BACKTAB, 0x1F6A8,   0x65E5};
    uint32_t r = next_random(seed) % 10;
    return r < 5   ? 0x20 + next_random(seed) % 0x5F
           : r < 9 ? special[next_random(seed) % 16]
                   : next_random(seed) % 32;
}

START_TEST(random_input)
{
    uint64_t seed = 0x9E3779B97F4A7C15u * (uint64_t)(_i + 1);
    fixture *f = fixture_new(30, _i % 2, 256);
    f->caps.motion = _i % 3 == 0;
    f->caps.remote = _i % 2;
    int64_t now = FIX_NOW;
    for (int i = 0; i < 4000; i++) {
        uint32_t what = next_random(&seed) % 40;
        if (what == 0) {
            ui_set_snapshot(&f->ui, random_snapshot(&seed));
        } else if (what == 1) {
            ui_resize(&f->ui, 1 + (int)(next_random(&seed) % 180), 1 + (int)(next_random(&seed) % 60));
        } else if (what == 2) {
            ui_mouse(&f->ui, &f->grid, (int)(next_random(&seed) % 180), (int)(next_random(&seed) % 60),
                     next_random(&seed) % 4 == 0, next_random(&seed) % 4 == 1);
        } else if (what == 3) {
            ui_paste(&f->ui, "pasted \033[31m text \xff\xfe {\"a\":1}");
        } else if (what == 4) {
            launch_line(&f->ui.launch, "{\"step\":\"pods\",\"status\":\"starting\",\"message\":\"m\"}", now);
            checks_line(&f->ui.checks, "{\"name\":\"n\",\"verdict\":\"WARN\",\"install\":\"x\"}");
        } else {
            ui_key(&f->ui, random_key(&seed));
        }
        now += next_random(&seed) % 700;
        ui_tick(&f->ui, now);
        ui_next_tick(&f->ui);
        ck_assert_int_eq(view_draw(&f->ui, &f->grid), 0);
        ck_assert_int_lt(f->grid.cursor_x, f->grid.w);
        ck_assert_int_lt(f->grid.cursor_y, f->grid.h);
    }
    fixture_free(f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dashboard ui");
    TCase *t = tcase_create("ui");
    tcase_add_test(t, both_cases);
    tcase_add_test(t, selection_stays_on_its_job);
    tcase_add_test(t, follow_means_the_newest_in_every_order);
    tcase_add_test(t, filter_words);
    tcase_add_test(t, filter_narrows_and_esc_drops_it);
    tcase_add_test(t, sorting);
    tcase_add_test(t, form_validates_and_submits);
    tcase_add_test(t, form_type_has_fifty_characters);
    tcase_add_test(t, submit_errors_are_shown);
    tcase_add_test(t, read_only_changes_nothing);
    tcase_add_test(t, nothing_running_leads_to_the_launcher);
    tcase_add_test(t, server_mode_has_no_launcher);
    tcase_add_test(t, alerts_tell_their_attempts);
    tcase_add_test(t, too_small_keeps_q);
    tcase_add_test(t, pause_holds_the_picture);
    tcase_add_test(t, pages_are_shown_or_opened);
    tcase_add_test(t, shutdown_asks);
    tcase_add_test(t, detail_and_copy);
    tcase_add_test(t, a_click_selects_and_opens);
    tcase_add_test(t, time_stands_still_when_nothing_moves);
    tcase_add_test(t, splash_goes_by_itself_or_by_any_key);
    tcase_add_loop_test(t, random_input, 0, 12);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
