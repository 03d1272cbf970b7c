#!/bin/sh
# the fuzz target json over its corpus, see replay.c
exec "${ODTO_BUILDDIR:-.}/tests/fuzz/replay_json" "${ODTO_SRCDIR:-.}/tests/fuzz/corpus/json"
