/* svg — a grid as an SVG picture (SVG 1.1), for documentation. Pure. */
#ifndef DASH_SVG_H
#define DASH_SVG_H

#include "grid.h"
#include "style.h"

/* Appends the picture; the caller checks out->failed. */
void svg_write(const grid *g, theme t, odto_buf *out);

#endif
