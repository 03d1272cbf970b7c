/* ui_list — filter, order, selection and scrolling of the lists; see ui.h. */
#include "layout.h"
#include "text.h"
#include "ui.h"

#include <stdlib.h>
#include <string.h>

/* One word of the filter: [!][status:|type:|id:]text. */
static bool word_matches(const job *j, const char *word)
{
    bool want = true;
    if (word[0] == '!') {
        want = false;
        word++;
    }
    bool found;
    if (!strncmp(word, "status:", 7)) {
        found = text_contains(j->status_text, word + 7);
    } else if (!strncmp(word, "type:", 5)) {
        found = text_contains(j->type, word + 5);
    } else if (!strncmp(word, "id:", 3)) {
        found = text_contains(j->id, word + 3);
    } else {
        found =
            text_contains(j->id, word) || text_contains(j->type, word) || text_contains(j->status_text, word);
    }
    return !word[0] || found == want;
}

bool job_matches(const job *j, const char *filter)
{
    char word[128];
    while (*filter) {
        filter += strspn(filter, " ");
        size_t n = strcspn(filter, " ");
        size_t keep = n < sizeof word - 1 ? n : sizeof word - 1;
        memcpy(word, filter, keep);
        word[keep] = '\0';
        filter += n;
        if (keep && !word_matches(j, word)) {
            return false;
        }
    }
    return true;
}

typedef struct order_arg {
    const job *items;
    sort_id by;
    bool descending;
} order_arg;

static int cmp64(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare(const void *x, const void *y, void *arg)
{
    const order_arg *o = arg;
    int ix = *(const int *)x, iy = *(const int *)y;
    const job *a = &o->items[ix], *b = &o->items[iy];
    int d = 0;
    switch (o->by) {
    case SORT_STATUS:
        d = (int)a->status - (int)b->status;
        break;
    case SORT_TYPE:
        d = strcmp(a->type, b->type);
        break;
    case SORT_DURATION:
        d = cmp64(a->duration_ms, b->duration_ms);
        break;
    case SORT_ID:
        d = strcmp(a->id, b->id);
        break;
    case SORT_CREATED:
    case SORT_COUNT:
        d = cmp64(a->created_ms, b->created_ms);
        break;
    }
    if (d) {
        return o->descending ? -d : d;
    }
    return ix - iy; /* the server's order: newest first */
}

/* The server sends the usual order already; looking costs a tenth of sorting. */
static bool in_order(const int *order, int n, order_arg *o)
{
    for (int i = 1; i < n; i++) {
        if (compare(&order[i - 1], &order[i], o) > 0) {
            return false;
        }
    }
    return true;
}

static bool room_for(ui *u, int n)
{
    if (n <= u->cap_order) {
        return true;
    }
    int *p = realloc(u->order, (size_t)n * sizeof *p);
    if (!p) {
        return false;
    }
    u->order = p;
    u->cap_order = n;
    return true;
}

int list_newest(const ui *u)
{
    int newest = 0;
    const job *items = u->snap && u->snap->jobs ? u->snap->jobs->items : NULL;
    for (int i = 1; items && i < u->n_order; i++) {
        if (items[u->order[i]].created_ms > items[u->order[newest]].created_ms) {
            newest = i;
        }
    }
    return newest;
}

void list_order(ui *u)
{
    const job_list *l = u->snap ? u->snap->jobs : NULL;
    u->n_order = 0;
    if (l && room_for(u, l->n)) {
        for (int i = 0; i < l->n; i++) {
            if (!u->filter.len || job_matches(&l->items[i], u->filter.text)) {
                u->order[u->n_order++] = i;
            }
        }
        order_arg o = {l->items, u->sort, u->descending};
        if (!in_order(u->order, u->n_order, &o)) {
            qsort_r(u->order, (size_t)u->n_order, sizeof u->order[0], compare, &o);
        }
    }
    list_pos *p = &u->pos[PANEL_JOBS];
    if (u->follow) {
        p->sel = p->top = list_newest(u);
    } else {
        for (int i = 0; u->sel_job[0] && i < u->n_order; i++) {
            if (!strcmp(l->items[u->order[i]].id, u->sel_job)) {
                p->top += i - p->sel; /* the row stays where the eye is */
                p->sel = i;
                break;
            }
        }
    }
    list_keep(u);
}

static void keep(list_pos *p, int n, int rows)
{
    p->sel = p->sel >= n ? n - 1 : p->sel;
    p->sel = p->sel < 0 ? 0 : p->sel;
    p->top = p->top > p->sel ? p->sel : p->top;
    p->top = p->top < p->sel - rows + 1 ? p->sel - rows + 1 : p->top;
    p->top = p->top > n - rows ? n - rows : p->top;
    p->top = p->top < 0 ? 0 : p->top;
}

void list_keep(ui *u)
{
    layout l;
    layout_make(&l, u->w, u->h, u->focus, u->zoom);
    for (panel_id i = 0; i < PANEL_COUNT; i++) {
        keep(&u->pos[i], ui_rows(u, i), layout_rows(&l, i));
    }
    const job *j = ui_selected_job(u);
    memcpy(u->sel_job, j ? j->id : "", j ? sizeof u->sel_job : 1);
}

void list_move(list_pos *p, int n, int rows, int by)
{
    int64_t to = (int64_t)p->sel + by;
    p->sel = to < 0 ? 0 : to >= n ? n - 1 : (int)to;
    keep(p, n, rows);
}
