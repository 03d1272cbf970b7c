/* store_suite.h — the tests every jobs store passes (store_suite.c), as a case for the suite of its program.
 */
#ifndef STORE_SUITE_H
#define STORE_SUITE_H

#include "store_fixture.h"

#include <check.h>

TCase *store_suite_case(void);

#endif
