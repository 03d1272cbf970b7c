/* ui_form — the new-task form: fields, validation while typing, submission; see ui.h. */
#include "text.h"
#include "ui.h"

#include <json-c/json.h>
#include <odto/json.h>
#include <stdio.h>
#include <string.h>

#define TYPE_MAX      50
#define PAYLOAD_DEPTH 32

void form_open(ui *u)
{
    u->dialog = DIALOG_FORM;
    u->field = 0;
    u->submit_tried = false;
    u->type.max = TYPE_MAX + 14; /* a few more than allowed, so that the error can be seen */
    u->payload.max = EDIT_MAX - 1;
    edit_set(&u->type, "");
    edit_set(&u->payload, "{}");
    u->ops->submit_reset(u->ctx);
    form_check(u);
}

static void check_type(ui *u)
{
    const char *s = u->type.text;
    u->type_error[0] = '\0';
    if (!u->type.len) {
        snprintf(u->type_error, sizeof u->type_error, "%s", u->submit_tried ? "a type is needed" : "");
        return;
    }
    size_t ok = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    if (s[ok]) {
        snprintf(u->type_error, sizeof u->type_error, "only letters, digits, _ and - (column %zu)", ok + 1);
    } else if (u->type.len > TYPE_MAX) {
        snprintf(u->type_error, sizeof u->type_error, "at most %d characters, these are %zu", TYPE_MAX,
                 u->type.len);
    }
}

static void check_payload(ui *u)
{
    odto_error err = {0};
    json_object *o = NULL;
    u->payload_error[0] = '\0';
    if (!u->payload.text[strspn(u->payload.text, " ")]) {
        return; /* empty counts as {} */
    }
    if (odto_json_parse(odto_slice_of(u->payload.text, u->payload.len), PAYLOAD_DEPTH, &o, &err)) {
        text_clean(u->payload_error, sizeof u->payload_error, err.detail[0] ? err.detail : err.message);
        return;
    }
    if (!json_object_is_type(o, json_type_object)) {
        snprintf(u->payload_error, sizeof u->payload_error, "must be an object: { … }");
    }
    json_object_put(o);
}

void form_check(ui *u)
{
    check_type(u);
    check_payload(u);
}

bool ui_form_valid(const ui *u)
{
    return u->type.len && !u->type_error[0] && !u->payload_error[0];
}

void form_submit(ui *u)
{
    if (u->snap && u->snap->submit.state == SUBMIT_SENDING) {
        return;
    }
    if (u->snap && u->snap->submit.state == SUBMIT_OK) {
        u->dialog = DIALOG_NONE;
        return;
    }
    u->submit_tried = true;
    form_check(u);
    if (!ui_form_valid(u)) {
        u->field = u->type.len && !u->type_error[0] ? 1 : 0;
        return;
    }
    bool empty = !u->payload.text[strspn(u->payload.text, " ")];
    u->ops->submit(u->ctx, u->type.text, empty ? "{}" : u->payload.text);
}

void form_key(ui *u, uint32_t key)
{
    bool sent = u->snap && u->snap->submit.state == SUBMIT_OK;
    if (!sent && edit_key(u->field == 0 ? &u->type : &u->payload, key)) {
        form_check(u);
        return;
    }
    const binding *b = key_lookup(CTX_FORM, key);
    if (b) {
        ui_do(u, b->action, 0);
    }
}
