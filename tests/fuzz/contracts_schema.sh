#!/bin/sh
# the fuzz target schema over its corpus, see replay.c
exec "${ODTO_BUILDDIR:-.}/tests/fuzz/replay_schema" "${ODTO_SRCDIR:-.}/tests/fuzz/corpus/schema"
