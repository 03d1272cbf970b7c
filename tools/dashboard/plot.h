/* plot — figures as pictures made of characters: sparkline, braille area plot, gauge.
 *
 * Pure drawing into a grid. Values are non-negative; the newest stands at the right. In ASCII the grid
 * turns dots and blocks into a ramp of characters. */
#ifndef DASH_PLOT_H
#define DASH_PLOT_H

#include "grid.h"

/* One row of eighth blocks, one value a column, scaled to the largest of those shown. */
void plot_spark(grid *g, int x, int y, int w, role r, const float *v, int n);
/* Filled area plot of two dots a column and four a row, scaled to `top` (> 0); colour rises with height. */
void plot_area(grid *g, rect r, const float *v, int n, float top);
/* A horizontal bar of w columns filled to `part` (0..1). */
void plot_gauge(grid *g, int x, int y, int w, role r, double part);
/* The smallest of 1, 2, 5, 10, 20, 50 … that is not below v. */
float plot_top(float v);

#endif
